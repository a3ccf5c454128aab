"""An environment that differs from what the platform needs is told, and brought up to date where the policy says so."""

import json
import os
import sys
import threading
import venv
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from environments.drift import drift
from environments.models import Host
from environments.services.drift import compare, due, needed
from pipelines.models import Stage
from pipelines.services import setup_host
from pipelines.services.dispatch import dispatch
from pipelines.states import PipelineStatus, StageStatus
from pipelines.tasks import maintenance_tick
from platform_site.common.errors import Conflict, Invalid, Unavailable
from platform_site.common.messages import connect
from platform_site.common.models import AuditEvent
from platform_site.common.queues import HOST_CHECKS
from tests import people
from tests.pipelines import builders

pytestmark = pytest.mark.django_db

VERSIONS = json.loads((Path(__file__).resolve().parents[2] / "environments/version.json").read_text())


def environment(folder: Path, **other: str | None) -> Path:
    """The Python of an environment with the records of all that is needed, `other` having other versions or none."""
    venv.create(folder, with_pip=False)
    packages = folder / f"lib/python3.{sys.version_info.minor}/site-packages"
    wanted: dict[str, str | None] = {**VERSIONS["training"]["cpu"]["packages"], **other}
    for name, version in wanted.items():
        if version is None:
            continue
        info = packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n")
    (packages / "torch").mkdir()
    (packages / "torch/version.py").write_text("__version__ = '2.13.0'\n")
    return folder / "bin/python"


@pytest.fixture
def machine(tmp_path: Path, settings: LazySettings) -> Host:
    settings.TRAINING_PYTHON = ""
    found: Host = builders.host(root=str(tmp_path))
    return found


@pytest.fixture
def charlie() -> APIClient:
    client = APIClient()
    client.force_authenticate(people.charlie())
    return client


def report(host: Host, *, ok: bool = False, age: timedelta = timedelta(0), **more: Any) -> None:
    """As if it had been compared."""
    torch = {"name": "torch", "status": "error", "message": "2.0 is installed; 2.13.0 is needed"}
    checks = [] if ok else [{**torch, "wanted": "2.13.0", "found": "2.0"}]
    host.environment = {
        "ok": ok, "kind": "cpu", "python": "/p", "torch_build": "cpu", "checks": checks, "wanted": needed(), **more,
    }  # fmt: skip
    host.environment_at = timezone.now() - age
    host.save()


def test_one_that_is_as_needed_is_current(machine: Host, tmp_path: Path) -> None:
    machine.python = str(environment(tmp_path / "venv"))
    machine.save()
    found = compare(machine)
    assert found.status == "current", found
    assert found.as_of is not None
    machine.refresh_from_db()
    assert machine.facts_at is not None
    assert drift(machine) == found


def test_each_difference_is_told(machine: Host, tmp_path: Path) -> None:
    machine.python = str(environment(tmp_path / "venv", transformers="1.0", numpy=None))
    machine.save()
    found = compare(machine)
    assert (found.status, found.count) == ("differs", 2)
    told = {one.name: one.message for one in found.differences}
    assert told["transformers"].startswith("1.0 is installed; ")
    assert told["numpy"].startswith("missing; ")
    needed_versions = VERSIONS["training"]["cpu"]["packages"]
    assert {(one.name, one.wanted, one.found) for one in found.differences if one.status == "error"} == {
        ("transformers", needed_versions["transformers"], "1.0"),
        ("numpy", needed_versions["numpy"], ""),
    }


def test_what_cannot_be_compared_says_why(machine: Host, tmp_path: Path) -> None:
    machine.python = "/bin/false"
    machine.save()
    with pytest.raises(Unavailable, match="could not be compared"):
        compare(machine)
    machine.refresh_from_db()
    assert "could not be compared" in machine.last_error


def test_without_an_environment_there_is_nothing_to_compare(
    machine: Host, tmp_path: Path, settings: LazySettings
) -> None:
    report(machine)
    settings.CHECKOUT_DIR = tmp_path / "a checkout where nothing was set up"
    assert compare(machine).status == "unknown"


@pytest.mark.parametrize(
    ("age_h", "wanted", "is_due"),
    [(1, None, False), (7, None, True), (1, "another version.json", True), (-48, None, True)],
)
def test_an_old_comparison_and_one_with_other_versions_are_due(
    machine: Host, age_h: int, wanted: str | None, is_due: bool
) -> None:
    report(machine, ok=True, age=timedelta(hours=age_h), **({"wanted": wanted} if wanted else {}))
    assert bool(due()) is is_due
    assert due(at_start=True) == [machine]


def test_nobody_asks_hosts_that_do_not_answer_were_not_checked_or_are_switched_off(
    machine: Host, django_assert_num_queries: Any
) -> None:
    machine.delete()
    ssh = {"kind": Host.Kind.SSH, "address": "a", "user": "u"}
    builders.host("new", **ssh)
    builders.host("away", **ssh, facts_at=timezone.now(), unreachable_since=timezone.now())
    builders.host("off", **ssh, facts_at=timezone.now(), enabled=False)
    builders.host("cluster", kind=Host.Kind.RAY, facts_at=timezone.now())
    for n in range(10):
        builders.host(f"fine-{n}", **ssh, facts_at=timezone.now())
    with django_assert_num_queries(1):
        assert [host.name for host in due(at_start=True)] == [f"fine-{n}" for n in range(10)]


def test_the_scheduler_has_every_host_compared_at_its_start(machine: Host) -> None:
    report(machine, ok=True)
    with connect() as redis:
        before = redis.llen(f"anneal:{HOST_CHECKS}")
        maintenance_tick()
        assert redis.llen(f"anneal:{HOST_CHECKS}") == before
        maintenance_tick(at_start=True)
        assert redis.llen(f"anneal:{HOST_CHECKS}") == before + 1


@pytest.fixture
def drifted(machine: Host, tmp_path: Path, settings: LazySettings) -> Host:
    """This machine, with an environment that the platform keeps and that is not what it needs."""
    checkout = tmp_path / "checkout"
    (checkout / ".training").mkdir(parents=True)
    (checkout / "environments").symlink_to(Path(settings.CHECKOUT_DIR, "environments"))
    settings.CHECKOUT_DIR = checkout
    python = environment(checkout / ".training/venv", transformers="1.0")
    state = {"status": "ready", "percent": 100, "message": "", "python": str(python), "pid": os.getpid()}
    (checkout / ".training/state.json").write_text(json.dumps(state))
    return machine


def test_by_default_it_is_told_and_nothing_else_happens(drifted: Host) -> None:
    people.charlie()
    assert setup_host.look(drifted.pk) is None
    drifted.refresh_from_db()
    assert drift(drifted).differs
    assert not Stage.objects.exists()


def test_by_policy_it_is_brought_up_to_date_once(drifted: Host, settings: LazySettings) -> None:
    settings.ENVIRONMENT_POLICY = "update"
    charlie = people.charlie()
    begun = setup_host.look(drifted.pk)
    assert begun is not None
    assert begun.created_by == charlie
    stage = Stage.objects.get(pipeline=begun)
    assert (stage.kind, stage.host, stage.status) == ("setup_host", drifted, StageStatus.QUEUED)
    assert AuditEvent.objects.get(action="host.update_environment").actor_name == setup_host.POLICY
    assert setup_host.look(drifted.pk) is None

    Stage.objects.filter(pk=stage.pk).update(status=StageStatus.FAILED)
    assert setup_host.look(drifted.pk) is None  # what failed is a person's to look at
    Stage.objects.filter(pk=stage.pk).update(created_at=timezone.now() - timedelta(days=2))
    assert setup_host.look(drifted.pk) is not None


def test_an_environment_of_somebody_elses_is_told_and_left_alone(
    machine: Host, tmp_path: Path, settings: LazySettings
) -> None:
    settings.ENVIRONMENT_POLICY = "update"
    machine.python = str(environment(tmp_path / "venv", transformers="1.0"))
    machine.save()
    assert setup_host.look(machine.pk) is None
    machine.refresh_from_db()
    assert drift(machine).differs
    with pytest.raises(Invalid, match="Empty that field"):
        setup_host.set_up(people.charlie(), machine)


def test_a_set_up_waits_for_the_runs_that_use_the_environment_and_new_ones_wait_for_it(drifted: Host) -> None:
    builders.queues(slots=4)
    running = builders.stage(StageStatus.RUNNING)
    running.attempts.update(host=drifted)
    compare(drifted)
    pipeline = setup_host.set_up(people.charlie(), drifted)
    later = builders.stage(StageStatus.QUEUED, queued_at=timezone.now())
    assert dispatch() == 0
    setup = Stage.objects.get(pipeline=pipeline)
    later.refresh_from_db()
    assert setup.waiting_for == "the end of the runs there that use its training environment"
    assert later.waiting_for == "the training environment of local: It is brought up to date."

    running.attempts.update(outcome="succeeded")
    Stage.objects.filter(pk=running.pk).update(status=StageStatus.COMPLETED)
    assert dispatch() == 1
    setup.refresh_from_db()
    assert setup.status == StageStatus.STARTING
    assert dispatch() == 0

    setup.attempts.update(outcome="succeeded")
    Stage.objects.filter(pk=setup.pk).update(status=StageStatus.COMPLETED)
    assert dispatch() == 1
    later.refresh_from_db()
    assert later.status == StageStatus.STARTING
    assert later.pipeline.status == PipelineStatus.RUNNING


def test_two_set_ups_of_one_host_run_one_after_the_other_whoever_made_them(machine: Host, charlie: APIClient) -> None:
    builders.queues(slots=4)
    Host.objects.update(facts_at=timezone.now(), slots=4)
    stage = {"name": "setup", "task": "setup_host", "params": {"host": machine.name}}
    for name in ("one", "two"):
        body = {"name": name, "start": True, "stages": [stage]}
        assert charlie.post("/api/v1/pipelines/", body, format="json").status_code == 201
    assert dispatch() == 1
    first, second = Stage.objects.order_by("created_at")
    assert (first.status, second.status) == (StageStatus.STARTING, StageStatus.QUEUED)
    assert second.waiting_for == "the end of the set-up of its host that is under way"
    first.attempts.update(outcome="succeeded")
    Stage.objects.filter(pk=first.pk).update(status=StageStatus.COMPLETED)
    assert dispatch() == 1


@pytest.mark.django_db(transaction=True)
def test_six_who_set_a_host_up_at_once_begin_it_once(machine: Host) -> None:
    Host.objects.update(facts_at=timezone.now())
    charlie, begin = people.charlie(), threading.Barrier(6)

    def ask(_nth: int) -> str:
        try:
            begin.wait(20)
            setup_host.set_up(charlie, machine)
        except Conflict as error:
            return error.message
        finally:
            connection.close()
        return "begun"

    with ThreadPoolExecutor(6) as pool:
        told = sorted(pool.map(ask, range(6)))
    assert told == ["This host is being set up already."] * 5 + ["begun"]
    assert Stage.objects.count() == 1


def test_the_api_tells_of_this_machine_and_of_each_host(machine: Host, charlie: APIClient) -> None:
    report(machine)
    ssh = {"kind": Host.Kind.SSH, "address": "a", "user": "u", "facts_at": timezone.now()}
    report(builders.host("gpu-1", **ssh), ok=True)
    builders.host("gpu-2", **ssh)
    told = charlie.get("/api/v1/system/env/").json()
    assert (told["host"], told["status"], told["policy"]) == ("local", "differs", "report")
    message = "2.0 is installed; 2.13.0 is needed"
    assert told["differences"] == [
        {"name": "torch", "status": "error", "message": message, "wanted": "2.13.0", "found": "2.0"}
    ]
    assert [(one["host"], one["status"]) for one in told["hosts"]] == [("gpu-1", "current"), ("gpu-2", "unknown")]
    assert charlie.get("/api/v1/hosts/gpu-1/").json()["environment"]["status"] == "current"


def test_lists_of_hosts_cost_the_same_however_many_differ(
    machine: Host, charlie: APIClient, django_assert_max_num_queries: Any
) -> None:
    for n in range(20):
        report(builders.host(f"gpu-{n}", kind=Host.Kind.SSH, address="a", user="u", facts_at=timezone.now()))
    with django_assert_max_num_queries(4):
        assert len(charlie.get("/api/v1/system/env/").json()["hosts"]) == 20


def test_pages_tell_it(machine: Host, client: Client) -> None:
    report(machine)
    client.force_login(people.charlie())
    for address in ("/system/", "/hosts/local/", "/hosts/"):
        page = client.get(address).content.decode()
        assert "Differs" in page, address
    for address in ("/system/", "/hosts/local/"):
        row = client.get(address).content.decode().split("<code>torch</code>")[1].split("</tr>")[0]
        assert ">2.13.0<" in row, address
        assert ">2.0<" in row, address


def differing(name: str, count: int) -> Host:
    versions = [{"wanted": f"2.{n}", "found": f"1.{n}"} for n in range(count)]
    checks = [{"name": f"{name}-{n}", "status": "error", "message": "", **one} for n, one in enumerate(versions)]
    told = {"kind": "cpu", "python": "/p", "torch_build": "cpu", "wanted": needed()}
    fields: dict[str, Any] = {"kind": Host.Kind.SSH, "address": "a", "user": "u", "environment_at": timezone.now()}
    return builders.host(name, environment={"ok": not count, "checks": checks, **told}, **fields)


def part_of(page: str, host: str) -> str:
    """What the system page says of a host's environment."""
    return page.split(f'href="/hosts/{host}/">{host}</a></h3>')[1].split("</section>")[0]


def test_the_system_page_says_of_each_host_what_differs_in_the_same_number_of_queries(
    machine: Host, client: Client
) -> None:
    report(machine, ok=True)
    differing("few", 2)
    differing("none", 0)
    builders.host("new", kind=Host.Kind.SSH, address="a", user="u")
    client.force_login(people.alice())
    with CaptureQueriesContext(connection) as before:
        page = client.get("/system/").content.decode()
    few, none, new = (part_of(page, name) for name in ("few", "none", "new"))
    for n in range(2):
        row = few.split(f"<code>few-{n}</code>")[1].split("</tr>")[0]
        assert f">2.{n}<" in row
        assert f">1.{n}<" in row
    assert " open>" in few.split("<details")[1]
    assert "as the platform needs it" in none
    assert "<table" not in none
    assert "not checked yet" in new
    for n in range(5):
        differing(f"many-{n}", 20)
    with CaptureQueriesContext(connection) as after:
        page = client.get("/system/").content.decode()
    assert len(after) == len(before)
    many = part_of(page, "many-0")
    assert many.count("<code>many-0-") == 20
    assert " open>" not in many, "a long list is folded"


def test_this_machine_is_brought_up_to_date_by_its_page_and_its_environment_by_the_scripts_of_the_checkout(
    drifted: Host, client: Client
) -> None:
    compare(drifted)
    client.force_login(people.charlie())
    page = client.get("/hosts/local/").content.decode()
    assert "Bring up to date" in page
    answer = client.post("/hosts/local/setup/")
    stage = Stage.objects.get()
    assert answer.headers["Location"] == f"/pipelines/{stage.pipeline_id}/"
    assert stage.host == drifted
