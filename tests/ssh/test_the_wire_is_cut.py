"""Faults 19 to 22 and their like: the connection to a host ends, or goes silent, in the middle of something."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from environments.models import Host
from environments.transports import Unreachable, connection, for_host, ssh
from pipelines.models import Attempt
from pipelines.services import cancel, dispatch, launch
from pipelines.services.integrity_runs import orphans
from pipelines.states import Outcome, StageStatus
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, hands
from tests.pipelines.test_a_run_from_queue_to_end import carriers

from . import sshd
from .hosts import MakeHost

__all__ = ["hands"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(make_host: MakeHost, account: sshd.Account, proxy: sshd.Proxy, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return make_host(port=proxy.port, root=f"{account.home}/{tmp_path.name}")


def test_one_connection_serves_all_threads(machine: Host, proxy: sshd.Proxy) -> None:
    path = f"{machine.root}/file"
    for_host(machine).write(path, b"x" * 1000)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(len(for_host(machine).read(path)) for _ in range(20)))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1000] * 240
    assert proxy.connections == 1


def test_a_connection_that_was_cut_while_nobody_used_it_costs_nobody_an_error(machine: Host, proxy: sshd.Proxy) -> None:
    path = f"{machine.root}/file"
    for_host(machine).write(path, b"content")
    for _ in range(3):
        proxy.cut()
        assert for_host(machine).read(path) == b"content"


def test_a_cut_in_the_middle_of_a_read_resumes_at_the_offset(machine: Host, proxy: sshd.Proxy) -> None:
    content, path = bytes(range(256)) * 20_000, f"{machine.root}/metrics"
    for_host(machine).write(path, content)
    read, cuts = b"", 0
    while len(read) < len(content):
        if cuts < 3:
            proxy.cut_after(200_000)
            cuts += 1
        try:
            read += for_host(machine).read(path, len(read), 400_000)
        except Unreachable:
            continue
    assert read == content
    assert proxy.connections >= 3


def test_a_cut_while_a_dataset_is_sent_goes_on_from_what_arrived(machine: Host, proxy: sshd.Proxy) -> None:
    path = f"{machine.root}/data/set"
    for_host(machine).add_part(path, 0, b"a" * 100_000)
    proxy.cut()
    assert for_host(machine).part_size(path) == 100_000


def test_a_half_open_connection_is_noticed_in_bounded_time_and_made_anew(machine: Host, proxy: sshd.Proxy) -> None:
    path = f"{machine.root}/file"
    transport = for_host(machine)
    transport.write(path, b"content")
    proxy.mute()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer in time"):
        transport.stat(path)
    assert time.monotonic() - began < ssh.QUICK_S + 2
    proxy.restore()
    assert transport.read(path) == b"content"


def test_what_may_not_be_done_twice_is_not_tried_again_and_counts_as_unknown(machine: Host, proxy: sshd.Proxy) -> None:
    transport = for_host(machine)
    transport.write(f"{machine.root}/file", b"")
    cut = threading.Timer(0.5, proxy.cut)
    cut.start()
    with pytest.raises(Unreachable):
        transport.run(["/bin/sh", "-c", "echo once >> runs; sleep 2"], env={}, cwd=machine.root)
    time.sleep(0.5)
    assert Path(machine.root, "runs").read_text() == "once\n"


def test_a_cut_in_the_middle_of_a_launch_is_unknown_and_looked_at_before_anything_is_tried_again(
    hands: Hands, proxy: sshd.Proxy
) -> None:
    """The runner had started, and nobody heard of it."""
    stage = hands.script("open('began', 'a').write('x'); import time; time.sleep(30)")
    dispatch.dispatch()
    attempt = hands.attempt(stage)
    runner = for_host(hands.host)
    runner.write(f"{hands.host.root}/warm", b"")
    claim = Path(attempt.folder, "claim")

    def cut_once_claimed() -> None:
        while not claim.exists():
            time.sleep(0.001)
        proxy.refuse()

    cutter = threading.Thread(target=cut_once_claimed)
    cutter.start()
    launch.launch(attempt.id)
    cutter.join()
    hands.look()
    hands.host.refresh_from_db()
    assert hands.status(stage) == "starting"
    assert hands.host.unreachable_since is not None

    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    Host.objects.update(retry_at=None)
    hands.until(stage, StageStatus.RUNNING)
    assert Attempt.objects.filter(stage=stage).count() == 1
    assert len(carriers(attempt)) == 1
    assert (Path(attempt.folder) / "began").read_text() == "x"


def test_a_cut_before_the_runner_started_is_followed_by_one_start(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script("open('began', 'a').write('x')")
    dispatch.dispatch()
    attempt = hands.attempt(stage)
    proxy.refuse()
    assert not launch.launch(attempt.id)
    hands.look()
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    Host.objects.update(retry_at=None)
    hands.look()
    launch.launch(attempt.id)
    assert hands.until(stage) == "completed"
    assert Path(attempt.folder, "began").read_text() == "x"


def test_a_host_that_does_not_answer_gets_no_new_work_and_what_waits_says_so(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script("import time; time.sleep(30)")
    hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    proxy.refuse()
    hands.look()
    other = hands.script("pass", name="other")
    dispatch.dispatch()
    assert hands.status(other) == "queued"
    assert other.waiting_for.startswith("host far, silent since 20")
    assert hands.status(stage) == "running"
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)


def test_an_idle_host_that_answers_again_is_noticed(hands: Hands, proxy: sshd.Proxy) -> None:
    Host.objects.filter(pk=hands.host.pk).update(unreachable_since=timezone.now(), failures=3)
    hands.look()
    hands.host.refresh_from_db()
    assert hands.host.unreachable_since is None


def test_runs_on_a_silent_host_are_waited_for_then_lost_and_ended_when_it_is_back(
    hands: Hands, proxy: sshd.Proxy
) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    proxy.refuse()
    hands.look()
    assert hands.status(stage) == "running"

    Host.objects.filter(pk=hands.host.pk).update(
        unreachable_since=timezone.now() - timedelta(seconds=3700), retry_at=None
    )
    hands.look()
    assert hands.status(stage) == "failed"
    assert "host far has not answered for 61 min" in stage.error_message
    attempt.refresh_from_db()
    assert attempt.outcome == Outcome.LOST
    assert carriers(attempt) != []

    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    Host.objects.update(retry_at=None)
    hands.look()
    assert carriers(attempt) == [], "the first look already ends it"
    assert list(orphans(100)) == []


def test_a_cancelled_run_on_a_host_that_stays_silent_is_cancelled_in_the_end(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    proxy.refuse()
    cancel.cancel_stage(stage.id, user=builders.person())
    cancel.stop_attempt(attempt.id)
    assert hands.status(stage) == "cancelling"
    Host.objects.filter(pk=hands.host.pk).update(
        unreachable_since=timezone.now() - timedelta(seconds=3700), retry_at=None
    )
    hands.look()
    assert hands.status(stage) == "cancelled"
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)


def test_a_reboot_there_is_seen_and_nobody_else_is_signalled(hands: Hands) -> None:
    """The same pid may be alive again: what it was before the reboot, the boot id tells."""
    stage = hands.script("import time; time.sleep(60)")
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for name in ("claim", "process.json", "command.json"):
        file = Path(attempt.folder, name)
        file.write_text(
            file.read_text().replace(boot, "00000000-before-the-reboot").replace(attempt.launch_token, "gone")
        )
    hands.until(stage)
    assert hands.status(stage) == "failed"
    assert "the machine was restarted" in stage.error_message
    assert len(carriers(attempt)) == 1
