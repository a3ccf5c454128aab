"""The core of placement: nothing is given twice, nobody gets what does not fit, no large ask waits for ever."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.placement import PATIENCE_S, Ask, Gpu, Placed, Room, Waits, Why, place, place_all

GIB = 1024


def host(name="gpu-1", count=4, memory_gib=80, **fields):
    gpus = tuple(Gpu(index, memory_gib * GIB, "H100") for index in range(count))
    return Room(name, **{"slots": 10, "gpus": gpus, **fields})


def rooms(*found):
    return {room.name: room for room in found}


def decided(ask, *found):
    return place(ask, rooms(*found))[0]


def test_an_ask_gets_the_lowest_free_gpus_of_a_host_and_no_others():
    assert decided(Ask(gpus=2), host(taken=frozenset({0, 2}))) == Placed("gpu-1", (1, 3))


def test_what_needs_no_gpu_leaves_the_hosts_that_have_some_to_others():
    assert decided(Ask(), host("a"), Room("b", slots=1)) == Placed("b")
    assert decided(Ask(), host("a"), Room("b", slots=1, busy=1)) == Placed("a")


def test_the_host_that_is_filled_best_and_the_smallest_card_that_will_do_are_taken():
    assert decided(Ask(gpus=2), host("a", 8), host("b", 2)) == Placed("b", (0, 1))
    mixed = Room("a", slots=9, gpus=(Gpu(0, 80 * GIB), Gpu(1, 24 * GIB)))
    assert decided(Ask(gpus=1), mixed) == Placed("a", (1,))
    assert decided(Ask(gpus=1, memory_gib=40), mixed) == Placed("a", (0,))


@pytest.mark.parametrize(
    ("called", "really_mib", "fits"),
    [(80, 81559, True), (40, 40536, True), (24, 23034, True), (16, 15360, True), (80, 40536, False), (24, 0, False)],
)
def test_a_card_is_taken_for_what_it_is_called(called, really_mib, fits):
    found = decided(Ask(gpus=1, memory_gib=called), Room("a", slots=1, gpus=(Gpu(0, really_mib),)))
    assert isinstance(found, Placed) is fits


@pytest.mark.parametrize(
    ("ask", "found", "why"),
    [
        (Ask(gpus=1), [Room("a", slots=1)], Waits(Why.NO_GPUS, "a")),
        (Ask(gpus=8), [Room("a", slots=1), host("b")], Waits(Why.TOO_FEW, "b", 4)),
        (Ask(gpus=4), [host("a", taken=frozenset({0, 1})), host("b", 2)], Waits(Why.GPUS_BUSY, "a", 2)),
        (Ask(gpus=1), [host(cuda=False)], Waits(Why.NO_CUDA, "gpu-1")),
        (Ask(labels=frozenset({"fast"})), [host()], Waits(Why.LABELS, "gpu-1")),
        (Ask(environment=True), [host(ready=False)], Waits(Why.ENVIRONMENT, "gpu-1")),
        (Ask(), [host(reachable=False)], Waits(Why.UNREACHABLE, "gpu-1")),
        (Ask(), [host(slots=2, busy=2)], Waits(Why.SLOTS, "gpu-1")),
        (Ask(host="elsewhere"), [host()], Waits(Why.NO_HOST)),
        (Ask(), [], Waits(Why.NO_HOST)),
    ],
)  # fmt: skip
def test_who_waits_is_told_of_the_host_that_is_nearest_to_taking_it(ask, found, why):
    assert decided(ask, *found) == why


def test_a_small_ask_passes_a_large_one_only_until_that_has_waited_long_enough():
    busy = rooms(host(taken=frozenset({0, 1})))
    large, small = Ask(gpus=4, waited_s=PATIENCE_S - 1), Ask(gpus=1)
    assert place_all([large, small], busy)[0][1] == Placed("gpu-1", (2,))
    large = replace(large, waited_s=PATIENCE_S)
    assert place_all([large, small], busy)[0] == [
        Waits(Why.GPUS_BUSY, "gpu-1", 2),
        Waits(Why.GPUS_KEPT, "gpu-1", 2),
    ]


def test_gpus_are_kept_on_one_host_alone_the_nearest():
    two = rooms(host("a", taken=frozenset({0, 1, 2})), host("b", taken=frozenset({0})))
    large = Ask(gpus=4, waited_s=PATIENCE_S)
    assert place_all([large, Ask(gpus=1)], two)[0][1] == Placed("a", (3,))


def test_who_waits_for_a_slot_alone_keeps_no_more_gpus_than_it_needs():
    full = rooms(host("a", slots=1, busy=1), host("b", 1))
    _decisions, after = place_all([Ask(gpus=2, waited_s=PATIENCE_S)], full)
    assert (after["a"].kept, after["b"].kept) == ({0, 1}, frozenset())


def test_gpus_are_not_kept_for_who_can_never_get_enough():
    _decisions, after = place_all([Ask(gpus=8, waited_s=PATIENCE_S * 9)], rooms(host()))
    assert after["gpu-1"].kept == frozenset()


CARDS = st.lists(st.sampled_from([0, 15, 24, 80]), max_size=6)
WORDS = st.frozensets(st.sampled_from(["fast", "lab"]), max_size=2)
ASKS = st.lists(
    st.builds(
        Ask,
        gpus=st.integers(0, 5),
        memory_gib=st.sampled_from([0, 16, 80]),
        labels=WORDS,
        host=st.sampled_from(["", "", "h0", "h1"]),
        waited_s=st.sampled_from([0.0, PATIENCE_S]),
    ),
    max_size=25,
)


@st.composite
def any_rooms(draw):
    found = []
    for number in range(draw(st.integers(0, 3))):
        cards = tuple(Gpu(index, memory * GIB) for index, memory in enumerate(draw(CARDS)))
        slots = draw(st.integers(1, 5))
        taken = draw(st.sets(st.sampled_from([card.index for card in cards]))) if cards else set()
        found.append(
            Room(
                f"h{number}",
                slots,
                draw(st.integers(0, slots)),
                cards,
                taken=frozenset(taken),
                labels=draw(WORDS),
                reachable=draw(st.booleans()),
            )
        )
    return rooms(*found)


@given(ASKS, any_rooms())
def test_nothing_is_given_twice_and_only_what_is_there_and_fits(asks, before):
    decisions, after = place_all(asks, before)
    given_out = {(name, index) for name, room in before.items() for index in room.taken}
    busy = {name: room.busy for name, room in before.items()}
    for ask, decision in zip(asks, decisions, strict=True):
        if isinstance(decision, Waits):
            continue
        room = before[decision.host]
        assert len(decision.gpus) == ask.gpus
        assert ask.host in ("", room.name)
        assert ask.labels <= room.labels
        assert room.reachable
        by_index = {gpu.index: gpu for gpu in room.gpus}
        for index in decision.gpus:
            assert by_index[index].memory_mib >= ask.memory_gib * GIB * 0.9
            assert (decision.host, index) not in given_out
            given_out.add((decision.host, index))
        busy[decision.host] += 1
    for name, room in after.items():
        assert busy[name] == room.busy <= max(room.slots, before[name].busy)


@given(ASKS, any_rooms())
def test_what_was_refused_once_is_refused_until_something_comes_free(asks, before):
    """Dispatch relies on it: it looks at no other stage of that shape in the same transaction."""
    decisions, after = place_all(asks, before)
    for ask, decision in zip(asks, decisions, strict=True):
        if isinstance(decision, Waits):
            assert isinstance(place(replace(ask, waited_s=0.0), after)[0], Waits)


@given(st.data(), st.integers(2, 4), st.integers(1, 4))
def test_a_large_ask_is_placed_however_many_small_ones_keep_coming(data, size, longest):
    """Time goes in steps of a minute. Small asks come all the time and run for up to `longest` minutes."""
    room = host(count=4)
    running: list[tuple[int, frozenset[int]]] = []
    patience = int(PATIENCE_S // 60)
    for now in range(patience + longest + 2):
        running = [(until, gpus) for until, gpus in running if until > now]
        taken = frozenset().union(*(gpus for _until, gpus in running))
        current = rooms(replace(room, taken=taken, busy=len(running)))
        asks = [Ask(gpus=size, waited_s=60.0 * now), *[Ask(gpus=1)] * data.draw(st.integers(1, 5))]
        if now == 0:
            asks = asks[1:] + [Ask(gpus=1)] * 4  # they were there first, and fill the host
        decisions, _after = place_all(asks, current)
        if now and isinstance(decisions[0], Placed):
            return
        for decision in decisions:
            if isinstance(decision, Placed):
                running.append((now + data.draw(st.integers(1, longest)), frozenset(decision.gpus)))
    raise AssertionError("it waited for ever")
