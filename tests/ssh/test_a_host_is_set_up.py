"""The set-up of an SSH host as a stage: scripts pushed, run there with a live log, judged by what is there after."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client

from environments.models import Host
from environments.services import hosts, setup_copy
from environments.transports import for_host
from pipelines.models import Stage
from pipelines.services.logs import read_log
from pipelines.services.setup_host import set_up
from platform_site.common.errors import Conflict, Invalid
from tests import people
from tests.faults.training_platform import PYTHON
from tests.pipelines import builders
from tests.pipelines.conftest import Hands

from . import sshd
from .hosts import MakeHost

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def far(make_host: MakeHost, account: sshd.Account, tmp_path: Path) -> Host:
    """Without a Python that was named: one is to be set up."""
    builders.queues(slots=4)
    return hosts.check(make_host(python="", root=f"{account.home}/{tmp_path.name}"))


def test_a_set_up_that_cannot_reach_a_package_index_says_so_and_its_log_and_its_progress_are_live(
    far: Host, client: Client
) -> None:
    """Offline by an index that nobody serves: the script itself, the virtual environment and pip are real."""
    Path(far.root).mkdir(parents=True, exist_ok=True)
    settings = Path(far.facts["home"], ".config/pip")
    settings.mkdir(parents=True)
    (settings / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 0\n")
    charlie = people.charlie()
    pipeline = set_up(charlie, far, packages="cpu")
    with pytest.raises(Conflict, match="being set up already"):
        set_up(charlie, far)
    stage, hands = Stage.objects.get(pipeline=pipeline), Hands(far)

    hands.launch(stage)
    hands.wait(lambda: "Making a virtual environment" in read_log(stage).text, timeout_s=60)
    hands.wait(lambda: hands.attempt(stage).progress_done, timeout_s=60)
    client.force_login(charlie)
    page = client.get(f"/pipelines/{pipeline.pk}/").content.decode()
    row = page.split(f'<tr id="stage-row-{stage.pk}"')[1].split("</tr>")[0]
    assert re.search(r'<progress max="100" value="[1-9]\d?"', row)
    assert re.search(r">[1-9]\d? %</span>", row), "nobody knows how long a download takes: no time is told"
    assert hands.until(stage, timeout_s=120) == "failed"

    assert "The training environment could not be set up" in stage.error_message
    assert "Installing the installer" in stage.error_message
    assert "pip" in read_log(stage, offset=-8000).text
    assert Path(far.root, "setup/.training/venv/bin/python").exists()
    attempt = hands.attempt(stage)
    assert (attempt.progress_total, attempt.progress_unit, attempt.progress_pace_s) == (100, "percent", None)
    assert attempt.progress_done is not None
    assert 1 <= attempt.progress_done < 50


def test_wheels_of_the_platform_are_sent_once_and_hashed(far: Host, settings: LazySettings) -> None:
    folder = Path(settings.DATA_DIR, "wheelhouse")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "thing-1.0-py3-none-any.whl"
    wheel.write_bytes(os.urandom(5 << 20))
    try:
        there = setup_copy.push_wheels(far, for_host(far))
        assert Path(there, wheel.name).read_bytes() == wheel.read_bytes()
        before = os.stat(Path(there, wheel.name)).st_mtime_ns
        setup_copy.push_wheels(far, for_host(far))
        assert os.stat(Path(there, wheel.name)).st_mtime_ns == before
    finally:
        wheel.unlink()


def test_a_host_that_names_its_python_is_not_set_up(make_host: MakeHost) -> None:
    host = hosts.check(make_host(name="named"))
    with pytest.raises(Invalid, match="Empty that field"):
        set_up(people.charlie(), host)


def test_setting_up_is_for_administrators(far: Host) -> None:
    with pytest.raises(Invalid, match="for administrators"):
        set_up(people.bob(), far)


@pytest.mark.training
@pytest.mark.skipif(
    not Path(PYTHON).exists() and not os.environ.get("CI"), reason="environments/setup_local_env.sh training"
)
def test_an_environment_there_is_compared_with_the_versions(
    make_host: MakeHost, server: sshd.Sshd, capfd: pytest.CaptureFixture[str]
) -> None:
    root = server.account(as_root=True)
    host = hosts.check(make_host(name="ready", account=root, python=PYTHON, root=f"{root.home}/anneal"))
    with pytest.raises(SystemExit) as ended:
        call_command("verify_env", host=host.name, json=True)
    told = json.loads(capfd.readouterr().out)
    assert ended.value.code == 0, told
    assert {"python", "verl"} <= {check["name"].lower() for check in told["checks"]}


def test_the_script_says_what_is_missing(settings: LazySettings) -> None:
    script = Path(settings.CHECKOUT_DIR, "environments", "setup_remote_env.sh")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert "setup_remote_env.sh" in done.stderr
