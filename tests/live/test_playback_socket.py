"""`/ws/monitoring/{job}/playback/`: every step once, in the time it took, to whoever may see it."""

import asyncio
import os
import re
import threading
import time
import urllib.request
from collections.abc import Sequence
from html import unescape
from typing import Any

import orjson
import psutil
import pytest
from django.db import connections

from monitoring import selectors
from monitoring.services.sync import open_segment
from pipelines.consumers import playback as playback_socket
from pipelines.live import playback
from pipelines.live.outbox import MOST_WAITING
from platform_site import valkey
from platform_site.common import tokens
from platform_site.common.models import ApiToken, User
from platform_site.common.roles import Role
from platform_site.common.sockets import Access

from .conftest import Lines, Run, open_databases, person
from .test_job_socket import live, points


def at(run: Run, query: str = "") -> str:
    return f"/ws/monitoring/{run.id}/playback/?format=json{query}"


def record(run: Run, steps: Sequence[int], spacing_s: float, **more: Any) -> None:
    """Steps as a trainer logs them, this far apart."""
    with run.path.open("ab") as file:
        for step in steps:
            body = {"v": 1, "step": step, "time": 1000 + step * spacing_s, "metrics": {"loss": 1 / step, **more}}
            file.write(orjson.dumps(body) + b"\n")
    run.sync()


def steps_of(messages: Sequence[Any]) -> list[int]:
    return [step for name, step, _ in points(list(messages)) if name == "loss"]


def is_end(message: Any) -> bool:
    return message["type"] == "end"


def test_meta_comes_first_then_every_step_once_then_the_end(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 601), 0.001)
    seen, code = lines.program(at(run, "&speed=10"), alice).close_code()
    assert seen[0] == {"type": "meta", "start_step": 1, "end_step": 600, "total_steps": 600, "speed": 10.0}
    assert steps_of(seen) == [*range(1, 601)]
    assert seen[-2:] == [{"type": "progress", "step": 600, "fraction": 1.0}, {"type": "end"}]
    assert code == 1000


def test_a_part_of_the_run_is_played_alone(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 100), 0.001)
    seen, _ = lines.program(at(run, "&start_step=40&end_step=44"), alice).close_code()
    assert seen[0] == {"type": "meta", "start_step": 40, "end_step": 44, "total_steps": 5, "speed": 1.0}
    assert steps_of(seen) == [40, 41, 42, 43, 44]


def test_a_range_without_steps_ends_at_once(run: Run, lines: Lines, alice: User) -> None:
    seen, code = lines.program(at(run), alice).close_code()
    assert [message["type"] for message in seen] == ["meta", "end"]
    assert (seen[0]["total_steps"], seen[0]["start_step"], code) == (0, None, 1000)


def test_values_that_are_no_numbers_and_attempts_that_overlap_are_played_as_they_count(
    run: Run, lines: Lines, alice: User
) -> None:
    record(run, range(1, 11), 0.001, odd="NaN")
    second = run.path.with_name("second_metrics.jsonl")
    open_segment(run.id, attempt=2, path=str(second), resumed_from=6)
    run.path = second
    record(run, range(7, 13), 0.001)
    seen, _ = lines.program(at(run), alice).close_code()
    assert steps_of(seen) == [*range(1, 13)]
    assert [p for p in points(seen) if p[0] == "odd"] == [("odd", step, "NaN") for step in range(1, 7)]


def test_the_pace_is_that_of_the_recorded_times(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 31), 0.1)
    line = lines.program(at(run, "&speed=2"), alice)
    line.next()
    began = time.monotonic()
    seen = line.until(is_end)
    took = time.monotonic() - began
    # Never ahead of the recorded times. How exactly it keeps them is measured over 10,000 steps below.
    assert 29 * 0.1 / 2 - 0.1 <= took < 5
    steps = [step for message in seen if message["type"] == "metrics" for step, _ in message["points"]["loss"]]
    assert steps == list(range(1, 31))


def test_10_000_steps_at_10x_keep_their_pace_in_flat_memory(run: Run, lines: Lines, alice: User) -> None:
    more = {f"metric/{i}": i + 0.5 for i in range(24)}
    record(run, range(1, 10_001), 0.01, **more)
    line = lines.program(at(run, "&speed=10"), alice)
    line.next()
    me, began, seen = psutil.Process(os.getpid()), time.monotonic(), 0
    late, sizes = [], []
    while not is_end(message := line.next()):
        if message["type"] == "metrics":
            seen += len(message["points"]["loss"])
            late.append(time.monotonic() - began - message["points"]["loss"][-1][0] * 0.01 / 10)
            sizes.append(me.memory_info().rss)
    took = time.monotonic() - began
    assert seen == 10_000
    # What else the machine does only adds to it.
    assert 0.95 <= took / (9_999 * 0.01 / 10) < 1.2
    assert sorted(late)[len(late) // 2] < 0.5
    half = len(sizes) // 2
    assert max(sizes[half:]) - max(sizes[: half // 2]) < 24 << 20


def test_pause_resume_speed_and_seek(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 1_001), 0.1)
    line = lines.program(at(run, "&speed=10"), alice)

    def say(**action: Any) -> None:
        line.connection.send(orjson.dumps(action).decode())

    seen = line.until(lambda m: m["type"] == "metrics" and m["points"]["loss"][-1][0] >= 20)
    say(action="pause")
    seen += line.during(0.3)
    assert line.during(0.5) == []
    say(action="resume")
    seen += line.until(lambda m: m["type"] == "metrics" and m["points"]["loss"][-1][0] >= 40)
    steps = steps_of(seen)
    assert steps == [*range(1, steps[-1] + 1)]
    say(action="seek", step=900)
    after = line.until(lambda m: m.get("reset"))
    assert after[-1] == {"type": "progress", "step": 900, "fraction": round(899 / 999, 6), "reset": True}
    say(action="speed", speed=0.1)
    say(action="seek", step=500)
    line.until(lambda m: m.get("reset") and m["step"] == 500)
    slow = steps_of(line.during(1.5))
    assert slow[0] == 500
    assert len(slow) <= 4
    say(action="speed", speed=10)
    say(action="seek", step=10**9)
    seen, code = line.close_code()
    assert steps_of([message for message in seen if message["type"] == "metrics"])[-1] == 1_000
    assert code == 1000


def test_a_seek_while_paused_stays_paused(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 101), 0.1)
    line = lines.program(at(run), alice)
    line.until(lambda m: m["type"] == "metrics")
    line.connection.send('{"action":"pause"}')
    line.connection.send('{"action":"seek","step":50}')
    line.until(lambda m: m.get("reset"))
    assert line.during(0.4) == []
    line.connection.send('{"action":"resume"}')
    assert steps_of(line.until(lambda m: m["type"] == "metrics")) == [50]


@pytest.mark.parametrize(
    "query",
    [
        "&speed=0.09",
        "&speed=10.1",
        "&speed=nan",
        "&speed=fast",
        "&start_step=-1",
        "&start_step=x",
        "&end_step=99999999999999999999",
        "&start_step=5&end_step=4",
        "&points=7",
        "&speed=1&speed=2",
    ],
)
def test_bad_input_in_the_address_is_told_and_closed(run: Run, lines: Lines, alice: User, query: str) -> None:
    seen, code = lines.program(at(run, query), alice).close_code()
    assert (code, [message["type"] for message in seen]) == (4400, ["error"])
    assert seen[0]["message"]


@pytest.mark.parametrize(
    "text",
    [
        "pause",
        '{"action":"stop"}',
        '{"action":"pause","step":3}',
        '{"action":"seek"}',
        '{"action":"seek","step":"3"}',
        '{"action":"seek","step":-1}',
        '{"action":"seek","step":true}',
        '{"action":"speed","speed":11}',
        '{"action":"speed","speed":null}',
        '["pause"]',
        '{"action":"pause"}' + " " * 300,
        b"pause",
    ],
)
def test_what_is_no_action_is_told_and_closed(run: Run, lines: Lines, alice: User, text: str | bytes) -> None:
    record(run, range(1, 101), 1)
    line = lines.program(at(run), alice)
    line.next()
    line.connection.send(text)
    seen, code = line.close_code()
    assert (code, seen[-1]["code"]) == (4400, "bad_input")


@pytest.mark.parametrize("job", ["123e4567-e89b-42d3-a456-426614174000", "nothing"])
def test_unknown_runs_are_4404(lines: Lines, alice: User, job: str) -> None:
    seen, code = lines.program(f"/ws/monitoring/{job}/playback/", alice).close_code()
    assert (code, seen[0]["type"]) == (4404, "error")


def test_without_a_right_it_is_4403(run: Run, lines: Lines) -> None:
    for line in (lines.program(at(run)), lines.program(at(run), person("nobody", None))):
        seen, code = line.close_code()
        assert (code, seen[0]["code"]) == (4403, "forbidden")


def test_a_revoked_token_a_lost_role_and_a_logout_end_it(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 1_001), 1)
    bob, carol = person("bob"), person("carol")
    program = lines.program(at(run), alice)
    viewer = lines.page(at(run), bob)
    page = lines.page(at(run), carol)
    for line in (program, viewer, page):
        line.until(lambda m: m["type"] == "metrics")
    tokens.revoke(ApiToken.objects.get(user=alice))
    bob.groups.clear()
    lines.log_out(carol)
    for line in (program, viewer, page):
        seen, code = line.close_code()
        assert (code, seen[-1]["code"]) == (4403, "forbidden")


def test_a_right_that_was_lost_while_redis_was_away_ends_it_too(
    run: Run, lines: Lines, alice: User, valkey_server: valkey.Server
) -> None:
    record(run, range(1, 1_001), 1)
    line = lines.program(at(run), alice)
    line.until(lambda m: m["type"] == "metrics")
    valkey_server.stop()
    try:
        tokens.revoke(ApiToken.objects.get(user=alice))
        # It plays on: nothing of it comes over Redis.
        line.until(lambda m: m["type"] == "metrics")
    finally:
        valkey_server.start()
    assert line.close_code()[1] == 4403


def test_a_page_gets_points_for_its_script_and_its_place_in_words(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 4), 0.001)
    page = lines.page(f"/ws/monitoring/{run.id}/playback/?speed=10", alice)
    seen = "".join(page.until(lambda html: "&quot;end&quot;" in html))
    feeds = re.findall(r'<playback-feed id="playback-feed" message="([^"]*)" points="([^"]*)">', seen)
    told = [(orjson.loads(unescape(message)), orjson.loads(unescape(line))) for message, line in feeds]
    assert told[0][0]["type"] == "meta"
    assert [step for _, line in told for step, _ in line.get("loss", [])] == [1, 2, 3]
    assert '<span id="playback-position" class="num">Step 3 of 3</span>' in seen
    # It stays, so that its reader may go back.
    page.connection.send('{"action":"seek","step":2}')
    again = "".join(page.until(lambda html: "&quot;end&quot;" in html))
    assert "&quot;reset&quot;" in again


def test_a_chunk_of_rows_ends_between_steps(run: Run) -> None:
    record(run, range(1, 9), 1)
    second = run.path.with_name("second_metrics.jsonl")
    open_segment(run.id, attempt=2, path=str(second), resumed_from=4)
    run.path = second
    record(run, range(5, 9), 1)
    tape = playback.Tape(selectors.segments(run.id), 1, 8, 8, chunk=4)
    told, step = [], 1
    while rows := playback._chunk(tape, step):
        told += [row.step for row in rows]
        step = rows[-1].step + 1
    assert told == [*range(1, 9)]


def test_a_reader_that_takes_nothing_holds_up_its_own_playback_in_bounded_memory(run: Run, alice: User) -> None:
    record(run, range(1, 5_001), 0.001)
    asyncio.run(_slow_reader(run, alice))


async def _slow_reader(run: Run, alice: User) -> None:
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    reads, sent = asyncio.Event(), []

    async def send(message: dict[str, Any]) -> None:
        await reads.wait()
        if message["type"] == "websocket.send":
            sent.append(orjson.loads(message["text"]))

    scope = {
        "type": "websocket",
        "headers": [],
        "query_string": b"format=json&speed=1",
        "access": Access(user=alice, role=Role.VIEWER),
        "url_route": {"kwargs": {"job": str(run.id)}},
    }
    reads.set()
    serving = asyncio.create_task(playback_socket(scope, said.get, send))
    async with asyncio.timeout(10):
        while len(sent) < 3:
            await asyncio.sleep(0.01)
    reads.clear()
    await asyncio.sleep(1.5)
    before = len(sent)
    reads.set()
    await asyncio.sleep(0.03)
    # Not all that it should have got meanwhile, but what had found room.
    assert len(sent) - before <= MOST_WAITING + 3
    async with asyncio.timeout(20):
        while not any(message["type"] == "end" for message in sent):
            await asyncio.sleep(0.01)
    said.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(serving, 5)
    assert steps_of(sent) == [*range(1, 5_001)]


def test_100_sockets_hold_no_database_connection_and_others_are_answered(run: Run, lines: Lines, alice: User) -> None:
    record(run, range(1, 2_001), 0.2)
    _, key = tokens.issue(alice, scope="read", days=1)
    url = f"{lines.server.origin}/api/v1/monitoring/{run.id}/metrics/?names=loss"
    request = urllib.request.Request(url, headers={"Authorization": f"Token {key}"})

    def answer() -> float:
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.status == 200
            response.read()
        return time.perf_counter() - began

    before = sorted(answer() for _ in range(15))
    opened = [lines.program(at(run, "&speed=2"), alice) for _ in range(50)]
    opened += [lines.program(live(run), alice) for _ in range(50)]
    stopping = threading.Event()

    def read(line: Any) -> None:
        while not stopping.is_set():
            line.during(0.2)

    readers = [threading.Thread(target=read, args=(line,)) for line in opened]
    for reader in readers:
        reader.start()
    try:
        during = sorted(answer() for _ in range(15))
        connections.close_all()
        # Chunks are read now and then; in between nobody holds a connection.
        free = [open_databases() for _ in range(40) if not time.sleep(0.05)]
    finally:
        stopping.set()
        for reader in readers:
            reader.join()
    assert during[7] < max(5 * before[7], 0.5), f"median {before[7]:.4f} s before, {during[7]:.4f} s with 100 sockets"
    assert min(free) == 0
    lines.close()
    end = time.monotonic() + 5
    while open_databases() and time.monotonic() < end:
        time.sleep(0.1)
    assert open_databases() == 0
