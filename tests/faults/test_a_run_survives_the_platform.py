"""The platform dies, forgets and comes back in the middle of a real training. The run must not notice.

Each test is one fault of the list that the project promises to survive, on real processes.
"""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import redis

from platform_site import valkey

from .training_platform import TrainingPlatform

pytestmark = pytest.mark.timeout(400)


def test_every_platform_process_killed_in_mid_run(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 3)
    before = {process.pid for process in platform.runs(uuid)}

    platform.kill_everything()
    assert {process.pid for process in platform.runs(uuid)} == before
    time.sleep(1)
    assert platform.up().returncode == 0

    job = platform.until(uuid)
    assert job["status"] == "completed", job["error_message"]
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    platform.assert_sound(uuid)


def test_the_run_ends_while_the_platform_is_down(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 2)
    platform.kill_everything()
    exit_file = platform.data / "runs" / uuid / "attempt-1" / "exit.json"
    deadline = time.monotonic() + 120
    while not exit_file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    ended = exit_file.stat().st_mtime
    time.sleep(3)
    assert platform.up().returncode == 0

    job = platform.until(uuid, timeout_s=60)
    platform.assert_sound(uuid)
    completed = time.mktime(time.strptime(job["completed_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(completed - ended) < 2, "the end is the run's own, not the moment it was noticed"


def test_redis_forgets_everything_with_work_queued(platform: TrainingPlatform) -> None:
    first, second = platform.start(), platform.start()
    platform.until(first, "running", "starting")
    with redis.Redis(unix_socket_path=str(valkey.socket_path(platform.data))) as client:
        client.flushall()

    for uuid in (first, second):
        platform.until(uuid)
        platform.assert_sound(uuid)


def test_redis_is_restarted(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    psutil.Process(platform.state.children["valkey"].pid).kill()
    second = platform.start()

    for run in (uuid, second):
        platform.until(run)
        platform.assert_sound(run)


def test_a_worker_killed_in_mid_run_leaves_it_alone(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 2)
    before = {process.pid for process in platform.runs(uuid)}
    psutil.Process(platform.state.children["worker"].pid).send_signal(signal.SIGKILL)

    job = platform.until(uuid)
    assert before
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    platform.assert_sound(uuid)


def test_a_frozen_worker_that_wakes_starts_nothing_twice(platform: TrainingPlatform) -> None:
    worker = psutil.Process(platform.state.children["worker"].pid)
    worker.suspend()
    try:
        uuid = platform.start()
        time.sleep(4)
    finally:
        worker.resume()

    job = platform.until(uuid)
    assert [attempt["number"] for attempt in job["attempts"]] == [1]
    platform.assert_sound(uuid)


def test_the_trainer_is_killed_as_when_memory_runs_out(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 2)
    for process in platform.runs(uuid):
        process.kill()

    job = platform.until(uuid)
    assert job["status"] == "failed"
    assert "signal 9" in job["error_message"]
    assert "ran out of memory: use a smaller micro batch" in job["error_message"]
    assert job["final_metrics"]["train/loss"]
    platform.assert_sound(uuid, "failed")


def test_cancel_ends_a_real_training_and_keeps_its_metrics(platform: TrainingPlatform) -> None:
    uuid = platform.start()
    platform.until_step(uuid, 2)

    platform.api("POST", f"jobs/{uuid}/cancel/")

    platform.until(uuid, timeout_s=40)
    platform.assert_sound(uuid, "cancelled")
    assert platform.call("POST", f"jobs/{uuid}/cancel/")[0] in (202, 409)


def test_the_web_process_killed_during_a_post_leaves_all_or_nothing(platform: TrainingPlatform) -> None:
    body = {"recipe": "tiny-sft", "name": "posted twice"}
    key = {"Idempotency-Key": "one and the same"}
    web = psutil.Process(platform.state.children["web"].pid)
    platform.token()
    with ThreadPoolExecutor() as pool:
        posted = pool.submit(platform.call, "POST", "jobs/", body, **key)
        web.kill()
        # Cut off, or answered just before: both are fine, and the client cannot tell which of its effects are there.
        assert posted.result()[0] in (0, 201)
    platform.wait(platform.ready, 60, "the web process to be back")

    again = platform.api("POST", "jobs/", body, **key)

    assert platform.api("GET", "jobs/?search=posted%20twice")["count"] == 1
    platform.until(again["uuid"])
    platform.assert_sound(again["uuid"])
