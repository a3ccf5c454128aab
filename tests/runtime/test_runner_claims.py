"""Whoever creates the claim first decides, and nobody else."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from platform_runtime import files, probe, reaper
from platform_runtime.contract import Claim

from .runs import Run, until

MakeRun = Callable[..., Run]


def test_of_fifty_runners_exactly_one_starts(make_run: MakeRun) -> None:
    run = make_run(["/bin/sh", "-c", "echo started; sleep 0.5"])
    calls = [run.spawn() for _ in range(50)]
    said = [call.communicate(timeout=60)[1] for call in calls]
    assert [call.returncode for call in calls] == [0] * 50
    assert set(said) == {b""}
    assert run.ended(60).code == 0
    assert run.log == "started\n"
    until(lambda: not [name for name in run.files() if name.startswith(".")])


def test_a_revoked_attempt_starts_nothing(make_run: MakeRun) -> None:
    run = make_run(["/bin/sh", "-c", "echo started"])
    assert files.create_exclusive(run.folder.claim, Claim.revoked().to_bytes())
    assert run.start() == (0, "")
    assert run.files() == {"claim", "command.json"}
    assert run.claim()["owner"] == "revoked"
    seen = probe.probe_run(run.folder.path)
    assert (seen["runner_alive"], seen["child_alive"], seen["exit"]) == (False, False, None)
    assert reaper.stop(run.folder.path) == "not_running"


def test_a_claimed_attempt_cannot_be_revoked(make_run: MakeRun) -> None:
    run = make_run(["/bin/sleep", "30"])
    run.start()
    assert not files.create_exclusive(run.folder.claim, Claim.revoked().to_bytes())
    assert run.claim()["owner"] == "runner"


def content_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def test_a_claim_has_its_content_from_the_first_moment(make_run: MakeRun) -> None:
    for _ in range(5):
        run = make_run(["/bin/true"])
        call = run.spawn()
        assert Claim.from_bytes(until(partial(content_of, Path(run.folder.claim)))).owner == "runner"
        call.communicate(timeout=20)
        run.ended()
