"""Fault 18 over SSH: the host's clock is an hour ahead or behind, and nothing is late, early or of a false length."""

import json
import subprocess
from pathlib import Path

import pytest
from django.utils import timezone

from environments.models import Host
from environments.services import hosts
from pipelines.models import Attempt, Stage
from pipelines.states import StageStatus
from tests.pipelines import builders
from tests.pipelines.conftest import Hands, hands

from . import sshd
from .hosts import PYTHON, MakeHost

__all__ = ["hands"]

pytestmark = pytest.mark.django_db(transaction=True)

HOUR_S = 3600
SHIFTED = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {by}
time.time_ns = lambda: _time_ns() + {by} * 10**9
"""
UNTIL_TOLD = """
import json, os, time
from pathlib import Path
folder = Path("metrics")
folder.mkdir(exist_ok=True)
status = {{"v": 1, "state": "running", "step": 3, "target_step": 10, "unit": "rows", "updated_at": time.time(),
           "heartbeat_at": time.time(), "has_anomaly": False, "anomaly_type": None, "anomaly_message": None}}
(folder / "{uuid}_status.json").write_text(json.dumps(status))
Path("clock").write_text(str(time.time()))
while not os.path.exists("go"): time.sleep(0.05)
"""


@pytest.fixture(params=[HOUR_S, -HOUR_S], ids=["ahead", "behind"])
def by(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def machine(make_host: MakeHost, account: sshd.Account, tmp_path: Path, by: int) -> Host:
    """Every Python that runs there for us tells the wrong time; the steady clock is right, as on such a machine."""
    builders.queues(slots=4)
    venv = account.home / f"{tmp_path.name} clock"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(venv)], check=True, capture_output=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    (packages / "shifted.py").write_text(SHIFTED.format(by=by))
    (packages / "shifted.pth").write_text("import shifted\n")
    return make_host(python=str(venv / "bin/python"), root=f"{account.home}/{tmp_path.name}")


def test_a_run_has_its_true_times_and_keeps_its_timeout(hands: Hands, by: int) -> None:
    stage = hands.script("", timeout_s=HOUR_S // 2)
    Stage.objects.filter(pk=stage.pk).update(params={"script": UNTIL_TOLD.format(uuid=stage.pk)})
    before = timezone.now()
    attempt = hands.launch(stage)
    hands.until(stage, StageStatus.RUNNING)
    folder = Path(attempt.folder)
    hands.wait(lambda: (folder / "clock").exists())
    assert float((folder / "clock").read_text()) - timezone.now().timestamp() == pytest.approx(by, abs=60)

    hands.wait(lambda: Attempt.objects.get(pk=attempt.pk).progress_done == 3)
    attempt.refresh_from_db()
    assert attempt.progress_at is not None
    assert before <= attempt.progress_at <= timezone.now()
    assert hands.status(stage) == "running"
    (folder / "go").touch()
    assert hands.until(stage) == "completed"

    elapsed = json.loads((folder / "exit.json").read_text())["elapsed_s"]
    assert stage.started_at is not None
    assert stage.completed_at is not None
    assert before <= stage.started_at <= stage.completed_at <= timezone.now()
    assert (stage.completed_at - stage.started_at).total_seconds() == pytest.approx(elapsed, abs=0.01)


def test_a_timeout_comes_when_it_is_due(hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(600)", timeout_s=1)
    hands.launch(stage)
    assert hands.until(stage, timeout_s=40) == "failed"
    assert "timeout of 1 s" in stage.error_message


def test_what_the_machine_is_has_the_platforms_time(machine: Host, by: int) -> None:
    before = timezone.now()
    hosts.check(machine)
    assert machine.facts["now"] - before.timestamp() == pytest.approx(by, abs=60)
    assert machine.facts_at is not None
    assert before <= machine.facts_at <= timezone.now()
