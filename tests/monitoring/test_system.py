"""The machine beside a run, from the runner's file into a bounded number of rows, and the forecast of its disk."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from monitoring import system, system_selectors
from monitoring.models import SystemLog
from monitoring.services.system import sync_system
from platform_runtime.machine import Record
from platform_runtime.system import SystemSample
from platform_site.common import roles
from platform_site.common.models import User

from .conftest import Run
from .places import make_run

__all__ = ["make_run"]

HOUR = 3600.0
GIB = 2.0**30


def sample(n: int, **values: float) -> SystemSample:
    return SystemSample(n, 1_700_000_000.0 + 5 * n, {"cpu_percent": float(n % 100), **values})


class TestForecast:
    def test_a_steady_fill_ends_when_the_line_says(self) -> None:
        free = [(60.0 * i, 300 * GIB - i * GIB) for i in range(30)]
        assert system.full_in_s(free) == pytest.approx(60.0 * 271, rel=1e-6)

    def test_checkpoints_make_steps_and_the_forecast_is_their_mean(self) -> None:
        # 10 GiB each 10 minutes, 180 GiB left: three hours.
        free = [(30.0 * i, 180 * GIB - 10 * GIB * (i // 20) + 30 * GIB) for i in range(61)]
        assert free[-1][1] == 180 * GIB
        found = system.full_in_s(free)
        assert found == pytest.approx(3 * HOUR, rel=0.15)

    @pytest.mark.parametrize(
        "free",
        [
            [],
            [(0.0, 9.0), (5.0, 8.0), (10.0, 7.0)],
            [(5.0 * i, 9 * GIB) for i in range(60)],
            [(5.0 * i, 9 * GIB + i) for i in range(60)],
            [(7.0, 9.0 - i) for i in range(9)],
            [(5.0 * i, 900 * GIB - i) for i in range(60)],
        ],
        ids=["nothing", "too few", "level", "growing", "no time", "in years"],
    )
    def test_where_nothing_is_to_be_feared_there_is_none(self, free: list[tuple[float, float]]) -> None:
        assert system.full_in_s(free) is None

    def test_noise_is_no_trend(self) -> None:
        wobble = random.Random(4)
        free = [(5.0 * i, 90 * GIB + wobble.gauss(0, 1) * GIB) for i in range(60)]
        assert system.full_in_s(free) is None

    def test_what_was_measured_for_half_a_minute_tells_of_no_day(self) -> None:
        # What a run writes as it starts: 100 MiB in 5 s, 2,300 GiB left. A line through it ends in 32 h.
        free = [(5.0 * i, 2_300 * GIB - i * 0.1 * GIB) for i in range(60)]
        assert system.full_in_s(free[:7]) == pytest.approx(32 * HOUR, rel=0.01)
        assert [system.forecast(free[:count]) for count in (7, 30, 59)] == [None, None, None]
        assert system.forecast(free) == pytest.approx(32 * HOUR, rel=0.01), "five minutes, and either half says so"

    def test_what_is_full_soon_is_told_at_once(self) -> None:
        free = [(5.0 * i, 20 * GIB - i * GIB) for i in range(7)]
        assert system.forecast(free) == pytest.approx(70.0)
        assert system.forecast([*free[:2]]) is None

    def test_one_large_checkpoint_is_no_trend(self) -> None:
        free = [(5.0 * i, 900 * GIB - (30 * GIB if i >= 40 else 0)) for i in range(60)]
        assert system.full_in_s(free) is not None
        assert system.forecast(free) is None

    def test_only_the_recent_past_counts(self) -> None:
        past = [(5.0 * i, 9_000 * GIB - i * 30 * GIB) for i in range(100)]
        level = [(500.0 + 5 * i, 5_000 * GIB) for i in range(system.RECENT)]
        assert system.full_in_s(past + level) is None


def test_neighbours_join_to_means_of_use_and_extremes_of_space() -> None:
    rows = system.rows_of(
        [
            SystemSample(1, 0.0, {"cpu_percent": 10.0, "memory_used_bytes": 5.0, "disk_free_bytes": 9.0}),
            SystemSample(2, 5.0, {"cpu_percent": 20.0, "memory_used_bytes": 7.0, "disk_free_bytes": 8.0}),
            SystemSample(3, 10.0, {"cpu_percent": 60.0, "memory_used_bytes": 6.0, "disk_free_bytes": 8.5}),
        ],
        5.0,
    )
    assert sorted(rows) == [0, 1, 2]
    assert system.gathered(rows.values(), 4) == {
        0: system.Row(0, 3, 10.0, {"cpu_percent": 30.0, "memory_used_bytes": 7.0, "disk_free_bytes": 8.0})
    }


class Machine:
    """A runner's file, and the platform that reads it."""

    def __init__(self, run: Run) -> None:
        self.id, self.transport = run.stream_id, run.transport
        self.path = run.attempt().with_name("u_system.jsonl")
        self.record = Record(str(self.path), most_bytes=40_000)
        self.segment = run.segment()

    def sync(self) -> bool:
        SystemLog.objects.update(looked_at=None)
        self.segment.refresh_from_db()
        return sync_system(self.segment, str(self.path), self.transport)

    @property
    def found(self) -> system_selectors.Machine:
        found = system_selectors.machine(self.id)
        assert found is not None
        return found


@pytest.fixture
def machine(run: Run) -> Machine:
    return Machine(run)


def test_each_sample_is_taken_in_once(machine: Machine) -> None:
    assert not machine.sync()
    machine.record.add(sample(1))
    assert machine.sync()
    assert not machine.sync()
    with machine.path.open("ab") as file:
        file.write(sample(2).to_line() + b"garbage\n" + sample(3).to_line()[:-9])
    assert machine.sync()
    with machine.path.open("ab") as file:
        file.write(sample(3).to_line()[-9:])
    assert machine.sync()
    assert [(time, values["cpu_percent"]) for time, values in machine.found.samples] == [
        (1_700_000_005.0, 1.0),
        (1_700_000_010.0, 2.0),
        (1_700_000_015.0, 3.0),
    ]


def test_a_file_that_was_thinned_out_doubles_nothing_and_loses_nothing(machine: Machine) -> None:
    for n in range(1, 1_201):
        machine.record.add(sample(n))
        if n % 50 == 0:
            assert machine.sync()
    assert machine.path.stat().st_size < 41_000
    assert [values["cpu_percent"] for _, values in machine.found.samples] == [float(n % 100) for n in range(1, 1_201)]


def test_a_long_run_is_kept_in_a_bounded_number_of_rows(machine: Machine) -> None:
    for n in range(1, 6_001):
        with machine.path.open("ab") as file:
            file.write(sample(n, disk_free_bytes=1e12 - n).to_line())
        if n % 1_500 == 0:
            machine.sync()
    found = machine.found
    assert system.MOST_ROWS / 2 <= len(found.samples) <= system.MOST_ROWS
    assert found.width_s == 40.0
    assert found.last["disk_free_bytes"] == 1e12 - 6_000
    assert sum(values["cpu_percent"] for _, values in found.samples) / len(found.samples) == pytest.approx(49.5, abs=1)
    times = [time for time, _ in found.samples]
    assert times == sorted(times)


def test_a_look_follows_the_one_before_only_after_a_while(
    machine: Machine, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    machine.record.add(sample(1))
    assert machine.sync()
    machine.record.add(sample(2))
    machine.segment.refresh_from_db()
    with django_assert_max_num_queries(1):
        assert not sync_system(machine.segment, str(machine.path), machine.transport)


def test_a_folder_in_the_file_s_place_is_nothing(machine: Machine) -> None:
    machine.path.mkdir()
    assert not machine.sync()


def test_the_api_tells_samples_and_forecast(machine: Machine, client: Client) -> None:
    alice = User.objects.create_user("alice", password="wonderland")
    roles.grant(alice, roles.Role.VIEWER)
    client.force_login(alice)
    url = f"/api/v1/monitoring/{machine.id}/system/"
    assert client.get(url).json() == {
        "job": str(machine.id),
        "attempt": None,
        "width_s": None,
        "samples": [],
        "disk_full_in_s": None,
    }
    for n in range(1, 21):
        machine.record.add(sample(n, disk_free_bytes=1000.0 - 10 * n))
    machine.sync()
    told = client.get(url).json()
    assert (told["attempt"], told["width_s"], len(told["samples"])) == (1, 5.0, 20)
    assert told["disk_full_in_s"] == pytest.approx(400.0)
    assert client.get(url, {"attempt": 2}).json()["samples"] == []
    assert client.get(url, {"attempt": "x"}).status_code == 400
    assert client.get(url, {"nope": 1}).status_code == 400
