"""A host that reaches no package index is set up from the platform's own wheels: whole, once, and with none but those.

The product's scripts, pip and uv on a real host over SSH; the large packages are stand-ins, with locks of their own.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import LazySettings

from environments import training
from environments.models import Host
from environments.services import hosts
from environments.services.drift import compare
from pipelines.models import Stage
from pipelines.services.logs import read_log
from pipelines.services.setup_host import set_up
from platform_site.common.models import User
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import Hands
from tests.training.wheels import World, make_wheel, torch_files, version_json

from . import sshd
from .hosts import MakeHost

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture
def wheelhouse(tmp_path: Path, settings: LazySettings) -> Iterator[Path]:
    """With all that the locks of a small checkout name."""
    world = World(tmp_path / "world")
    (world.checkout / "environments/version.json").write_bytes(version_json(world))
    settings.CHECKOUT_DIR = world.checkout
    folder = Path(settings.DATA_DIR, "wheelhouse")
    shutil.rmtree(folder, ignore_errors=True)  # other tests put wheels there, too
    folder.mkdir(parents=True)
    for wheel in world.simple.rglob("*.whl"):
        shutil.copy(wheel, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def far(make_host: MakeHost, account: sshd.Account, tmp_path: Path) -> Host:
    builders.queues(slots=4)
    return hosts.check(make_host(python="", root=f"{account.home}/{tmp_path.name}"))


@pytest.fixture
def charlie(db: None) -> User:
    return people.charlie()


def begin(charlie: User, far: Host) -> Stage:
    stage = Stage.objects.get(pipeline=set_up(charlie, far, packages="cpu", wheelhouse=True))
    Hands(far).launch(stage)
    return stage


def set_up_whole(charlie: User, far: Host) -> str:
    """The log of a set-up that completes."""
    stage = begin(charlie, far)
    assert Hands(far).until(stage, timeout_s=120) == "completed", stage.error_message
    assert stage.result is not None
    assert (stage.result["torch"], stage.result["verl"]) == ("2.13.0+cpu", "0.9.1")
    return read_log(stage, limit=1 << 20).text


def installers(log: str) -> list[str]:
    """The programs that the set-up ran."""
    return [line for line in log.splitlines() if line.startswith("$ ")]


def test_a_host_is_set_up_whole_and_again_in_no_time(far: Host, wheelhouse: Path, charlie: User) -> None:
    log = set_up_whole(charlie, far)
    assert "-m venv" in installers(log)[0]
    assert all("--require-hashes" in line for line in installers(log) if " install " in line)
    assert "100 % The training environment is ready." in log
    far.refresh_from_db()
    assert training.state(far).ready
    assert compare(far).status == "current"

    again = set_up_whole(charlie, far)
    assert installers(again) == []
    assert "100 % The training environment is ready." in again


def test_the_first_check_of_a_host_finds_what_was_set_up_there_before(
    make_host: MakeHost, account: sshd.Account, wheelhouse: Path, charlie: User
) -> None:
    """As it was added: without a root folder, which only the check learns."""
    builders.queues(slots=4)
    home = Path(account.home, "anneal")
    before = hosts.check(make_host(python="", root=""))
    assert (before.root, training.state(before).status) == (str(home), "missing")
    try:
        set_up_whole(charlie, before)
        Host.objects.filter(pk=before.pk).update(name="forgotten", enabled=False)
        anew = make_host("anew", python="", root="")
        assert compare(anew).status == "current"
        assert (anew.root, training.state(anew).status) == (str(home), "ready")
        assert training.state(anew).python == f"{home}/setup/.training/venv/bin/python"
    finally:
        shutil.rmtree(home / "setup")


def test_what_somebody_changed_there_is_told_and_put_right(
    far: Host, wheelhouse: Path, charlie: User, account: sshd.Account
) -> None:
    set_up_whole(charlie, far)
    (packages,) = Path(far.root, "setup/.training/venv").glob("lib/python3*/site-packages")
    for found in packages.glob("lm_eval*"):
        shutil.rmtree(found)
    (packages / "verl/trainer/sft_trainer.py").write_text("# patched by hand")
    older = make_wheel(account.home / "older", "torch", "2.12.0", torch_files(None))
    pip = [str(packages.parents[2] / "bin/python"), "-m", "pip", "install", "--no-deps", "--no-index", str(older)]
    subprocess.run(pip, check=True, capture_output=True, user=account.uid, cwd=account.home)
    told = {one.name: one.message for one in compare(far).differences}
    assert told.keys() == {"lm_eval", "torch", "verl"}
    assert "1 file(s) differ from the release" in told["verl"]

    log = set_up_whole(charlie, far)
    assert not [line for line in installers(log) if "-m venv" in line]
    found = compare(far)
    assert (found.status, [one for one in found.differences if one.name != "disk"]) == ("current", [])


def test_a_wheel_that_is_not_the_recorded_one_is_refused(far: Host, wheelhouse: Path, charlie: User) -> None:
    (wheelhouse / "gguf-1.0-py3-none-any.whl").unlink()
    make_wheel(wheelhouse, "gguf", "1.0", {"gguf/__init__.py": "from another source"})
    stage = begin(charlie, far)
    assert Hands(far).until(stage, timeout_s=120) == "failed"
    assert "a downloaded package is not the one that was recorded" in stage.error_message
    assert not list(Path(far.root, "setup/.training/venv").glob("lib/python3*/site-packages/gguf"))
    far.refresh_from_db()
    assert not training.state(hosts.check(far)).ready


def test_a_wheel_that_was_damaged_there_is_sent_again(far: Host, wheelhouse: Path, charlie: User) -> None:
    set_up_whole(charlie, far)
    sent = Path(far.root, "setup/wheelhouse/gguf-1.0-py3-none-any.whl")
    whole = sent.read_bytes()
    sent.write_bytes(bytes(len(whole)))
    set_up_whole(charlie, far)
    assert sent.read_bytes() == whole


@pytest.mark.parametrize("where", ["Installing torch", "Installing verl"])
def test_one_that_was_killed_goes_on_where_it_was(far: Host, wheelhouse: Path, charlie: User, where: str) -> None:
    stage, hands = begin(charlie, far), Hands(far)
    hands.wait(lambda: where in read_log(stage).text, timeout_s=60)
    for process in psutil.process_iter(["cmdline"]):
        if f"{far.root}/setup/environments/setup_env.py" in (process.info["cmdline"] or []):
            process.send_signal(signal.SIGKILL)
    assert hands.until(stage, timeout_s=60) == "failed"
    assert "signal 9" in stage.error_message

    log = set_up_whole(charlie, far)
    assert not [line for line in installers(log) if "-m venv" in line]
    far.refresh_from_db()
    assert compare(far).status == "current"
