"""A run that was given to a host which does not answer: why it waits is said, its slot comes free, and nothing of what
was given up begins there later."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from environments import launchers
from environments.launchers import Launch
from environments.models import Host
from environments.services import hosts
from environments.services.runtime_copy import ensure_runtime
from environments.transports import connection, for_host
from pipelines.folders import run_folder
from pipelines.kinds import runner_kind
from pipelines.models import Attempt, Stage
from pipelines.selectors import waiting_for
from pipelines.services import cancel, dispatch, launch
from pipelines.services.integrity_runs import owed_ends
from pipelines.services.silent import BLIP_S
from pipelines.states import Outcome, StageStatus
from platform_runtime.contract import Claim
from platform_site.common.errors import Conflict
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, hands
from tests.pipelines.test_a_run_from_queue_to_end import carriers

from . import sshd
from .hosts import MakeHost

__all__ = ["hands"]

pytestmark = pytest.mark.django_db(transaction=True)

LEAVES_A_TRACE = "open('began', 'a').write('x'); import time; time.sleep(30)"


@pytest.fixture
def machine(make_host: MakeHost, account: sshd.Account, proxy: sshd.Proxy, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return make_host(port=proxy.port, root=f"{account.home}/{tmp_path.name}")


def given(hands: Hands, stage: Stage) -> Attempt:
    dispatch.dispatch()
    assert hands.status(stage) == "starting"
    return hands.attempt(stage)


def silent(hands: Hands, proxy: sshd.Proxy, seconds: float = 0) -> None:
    """It is down, and was seen to be for so long."""
    proxy.refuse()
    since = timezone.now() - timedelta(seconds=seconds)
    Host.objects.filter(pk=hands.host.pk).update(unreachable_since=since, retry_at=None)
    hands.look()


def back(hands: Hands, proxy: sshd.Proxy) -> None:
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    Host.objects.update(retry_at=None)
    hands.look()
    hands.host.refresh_from_db()
    assert hands.host.unreachable_since is None


def began(attempt: Attempt) -> bool:
    return Path(attempt.folder, "began").exists()


def start_late(attempt: Attempt) -> None:
    """What a worker does that slept between its last look and the start."""
    host, transport = Host.objects.get(pk=attempt.host_id), for_host(Host.objects.get(pk=attempt.host_id))
    command = runner_kind(attempt.stage.kind).prepare(attempt.stage, attempt.stage.params, attempt, transport)
    runtime = ensure_runtime(host, transport)
    launchers.start(host, Launch(run_folder(attempt), command, "/usr/bin/python3", runtime), transport)


def test_its_row_says_what_it_waits_for_until_the_host_is_back(hands: Hands, proxy: sshd.Proxy, client: Client) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    proxy.refuse()
    assert not launch.launch(attempt.id)
    hands.host.refresh_from_db()
    assert hands.host.unreachable_since is not None, "whoever has work for it notices first"
    Host.objects.update(retry_at=None)
    hands.look()
    assert hands.status(stage) == "starting"
    assert waiting_for(stage).startswith("host far, silent since 20")
    client.force_login(people.alice())
    page = f"/pipelines/{stage.pipeline_id}/"
    assert "waiting: host far, silent since 20" in client.get(page).content.decode()
    [told] = client.get(f"/api/v1{page}status/").json()["stages"]
    assert told["waiting_for"].startswith("host far, silent since 20")
    version = stage.version
    Host.objects.update(retry_at=None)
    hands.look()
    hands.status(stage)
    assert stage.version == version, "said once"

    back(hands, proxy)
    assert (hands.status(stage), waiting_for(stage)) == ("starting", "")
    launch.launch(attempt.id)
    hands.until(stage, StageStatus.RUNNING)


def test_what_runs_there_says_so_too(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    silent(hands, proxy, 2 * BLIP_S)
    assert hands.status(stage) == "running"
    assert waiting_for(stage).startswith("host far, silent since")
    back(hands, proxy)
    assert (hands.status(stage), waiting_for(stage)) == ("running", "")


def test_its_slot_comes_free_and_another_host_takes_it(hands: Hands, make_host: MakeHost, proxy: sshd.Proxy) -> None:
    Host.objects.update(slots=1)
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    silent(hands, proxy)
    assert hands.status(stage) == "starting", "a blip moves nothing"
    silent(hands, proxy, BLIP_S + 1)
    assert hands.status(stage) == "queued"
    attempt.refresh_from_db()
    assert (attempt.outcome, attempt.reason) == (
        Outcome.LOST,
        "Host far does not answer: nothing was begun there.",
    )

    Stage.objects.update(not_before=None)
    dispatch.dispatch()
    assert hands.status(stage) == "queued"
    assert waiting_for(stage).startswith("host far, silent since")
    near = make_host("near", root=f"{hands.host.root}/near")
    dispatch.dispatch()
    assert hands.status(stage) == "starting"
    assert hands.attempt(stage).host == near

    back(hands, proxy)
    assert not launch.launch(attempt.id)
    assert not began(attempt)


def test_what_may_have_begun_is_waited_for(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    Attempt.objects.filter(pk=attempt.pk).update(offered_at=timezone.now())
    silent(hands, proxy, BLIP_S + 1)
    assert hands.status(stage) == "starting"
    silent(hands, proxy, 3700)
    assert hands.status(stage) == "failed"
    assert "has not answered for 61 min" in stage.error_message
    back(hands, proxy)
    start_late(attempt)
    time.sleep(0.5)
    assert not began(attempt)


def test_a_cancel_ends_it_at_once_and_a_late_start_does_nothing(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    silent(hands, proxy)
    asked = proxy.connections
    cancel.cancel_stage(stage.id, user=builders.person())
    assert hands.status(stage) == "cancelled"
    assert stage.pipeline.transitions.filter(to_status="cancelling").count() == 0
    assert proxy.connections == asked, "nobody waits for the host"
    assert not launch.launch(attempt.id)

    back(hands, proxy)
    attempt.refresh_from_db()
    assert not attempt.end_owed
    assert Claim.from_bytes(Path(attempt.folder, "claim").read_bytes()).owner == "revoked"
    start_late(attempt)
    time.sleep(0.5)
    assert not began(attempt)
    assert carriers(attempt) == []


def test_a_cancel_of_its_pipeline_does_too(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    given(hands, stage)
    silent(hands, proxy)
    cancel.cancel_pipeline(stage.pipeline_id, user=builders.person())
    stage.pipeline.refresh_from_db()
    assert (hands.status(stage), stage.pipeline.status) == ("cancelled", "cancelled")
    back(hands, proxy)


def test_a_cancel_before_anybody_noticed_ends_it_with_the_first_try(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    proxy.refuse()
    cancel.cancel_stage(stage.id, user=builders.person())
    assert hands.status(stage) == "cancelling"
    cancel.stop_attempt(attempt.id)
    assert hands.status(stage) == "cancelled"
    back(hands, proxy)


def given_up(hands: Hands, proxy: sshd.Proxy) -> Attempt:
    """Cancelled while its host is silent, of whose runner nobody heard that it had the claim."""
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    for_host(hands.host).write(f"{hands.host.root}/warm", b"")

    def cut_once_begun() -> None:
        while not began(attempt):
            time.sleep(0.001)
        proxy.refuse()

    cutter = threading.Thread(target=cut_once_begun)
    cutter.start()
    launch.launch(attempt.id)
    cutter.join()
    silent(hands, proxy)
    cancel.cancel_stage(stage.id, user=builders.person())
    assert hands.status(stage) == "cancelled"
    assert carriers(attempt) != []
    return attempt


def test_a_start_that_arrived_before_the_cancel_is_ended_when_the_host_is_back(hands: Hands, proxy: sshd.Proxy) -> None:
    attempt = given_up(hands, proxy)
    back(hands, proxy)
    assert carriers(attempt) == []
    attempt.refresh_from_db()
    assert (attempt.outcome, attempt.end_owed) == (Outcome.CANCELLED, False)


def test_a_check_by_hand_makes_nothing_start_beside_what_was_given_up_there(hands: Hands, proxy: sshd.Proxy) -> None:
    attempt = given_up(hands, proxy)
    waiting = hands.script("pass", name="next")
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    hosts.check(Host.objects.get(pk=hands.host.pk))
    dispatch.dispatch()
    assert hands.status(waiting) == "queued"
    hands.look()
    assert carriers(attempt) == []
    dispatch.dispatch()
    assert hands.status(waiting) == "starting"


def test_its_folder_stays_as_long_as_runs_stand_there(hands: Hands, proxy: sshd.Proxy) -> None:
    attempt = given_up(hands, proxy)
    person, elsewhere = builders.person(), {"root": f"{hands.host.root}-2"}
    with pytest.raises(Conflict, match="1 runs on this host are not over"):
        hosts.update(person, Host.objects.get(pk=hands.host.pk), elsewhere)
    back(hands, proxy)
    attempt.refresh_from_db()
    assert not attempt.end_owed
    assert hosts.update(person, Host.objects.get(pk=hands.host.pk), elsewhere).root == elsewhere["root"]


def test_what_cannot_be_ended_there_has_not_ended_here(hands: Hands) -> None:
    """Its files are out of reach for a while, and it runs on: another try would run beside it."""
    stage = hands.script(LEAVES_A_TRACE)
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    root = hands.host.root
    Host.objects.filter(pk=hands.host.pk).update(root=f"{root}-2")
    cancel.cancel_stage(stage.id, user=builders.person())
    hands.look()
    Attempt.objects.filter(pk=attempt.pk, stop_sent_at__isnull=False).update(
        stop_sent_at=timezone.now() - timedelta(hours=1)
    )
    hands.look()
    assert hands.status(stage) == "cancelling"
    assert carriers(attempt) != []
    Host.objects.filter(pk=hands.host.pk).update(root=root)
    assert hands.until(stage) == "cancelled"
    assert carriers(attempt) == []


def test_an_end_that_its_host_never_heard_of_is_found_in_the_books(hands: Hands, proxy: sshd.Proxy) -> None:
    stage = hands.script(LEAVES_A_TRACE)
    attempt = given(hands, stage)
    silent(hands, proxy)
    cancel.cancel_stage(stage.id, user=builders.person())
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
    assert list(owed_ends(10)) == [], "while it is silent nobody asks it"
    Host.objects.update(unreachable_since=None)
    assert [found.repaired for found in owed_ends(10)] == [True]
    assert list(owed_ends(10)) == []
    start_late(attempt)
    time.sleep(0.5)
    assert not began(attempt)


def test_no_worker_waits_for_it(hands: Hands, proxy: sshd.Proxy) -> None:
    """Once it is known to be silent, the messages of its runs cost the other queues nothing."""
    attempts = [given(hands, hands.script("pass", name=f"run-{n}")) for n in range(3)]
    silent(hands, proxy)
    asked = proxy.connections
    assert [launch.launch(attempt.id) for attempt in attempts] == [False] * 3
    assert proxy.connections == asked
    proxy.restore()
    time.sleep(connection.TRY_AGAIN_S)
