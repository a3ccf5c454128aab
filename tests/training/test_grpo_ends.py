"""However a GRPO run ends, nothing of its Ray stays, and the run beside it does not notice."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from pipelines.recipes import builtin
from platform_runtime import processes, rollouts

from .trainings import Training, need_training_environment

LONG = {"trainer.total_training_steps": 32, "trainer.save_freq": -1}


def steps_of(training: Training) -> int:
    return len(training.lines()) if os.path.exists(training.folder.metrics) else 0


def at_step(training: Training, step: int, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while steps_of(training) < step:
        assert not os.path.exists(training.folder.exit), training.log[-4000:]
        assert time.monotonic() < until, training.log[-2000:]
        time.sleep(0.2)


def everything_of(training: Training) -> set[processes.Identity]:
    """The trainer and all below it; the runner is left out."""
    table = processes.everyone()
    below = processes.family(table, [training.run.started().child_pid])
    return {processes.Identity(pid, table[pid].start_time, processes.boot_id()) for pid in below}


def named(training: Training, name: str) -> int:
    """The process of Ray's that has the name."""
    found = [
        one.pid
        for one in everything_of(training)
        if Path(f"/proc/{one.pid}/cmdline").read_bytes().startswith(f"ray::{name}".encode())
    ]
    assert len(found) == 1, found
    return found[0]


def listening(training: Training) -> set[str]:
    """The addresses that its processes listen on, as the kernel writes them: hexadecimal, each word turned round."""
    inodes = set()
    for one in everything_of(training):
        for file in Path(f"/proc/{one.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                inodes.add(os.readlink(file))
    found = set()
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].rpartition(":")[0])
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_training_environment()
    return tmp_path_factory.mktemp("a data folder")


@pytest.mark.timeout(600)
def test_a_run_that_dies_leaves_nothing_and_the_one_beside_it_goes_on(root: Path) -> None:
    before = set(os.listdir("/tmp"))
    one, other = (Training(root, builtin.TINY_GRPO, LONG) for _ in range(2))
    at_step(one, 1, 400)
    at_step(other, 1, 400)
    of_one, of_other = everything_of(one), everything_of(other)
    assert len(of_one) > 6
    assert not of_one & of_other
    assert listening(one)
    assert listening(one) <= LOOPBACK, "nothing of a run can be reached from another machine"

    # A worker that nobody waits for directly: without it the trainer would wait for ever.
    os.kill(named(one, "AgentLoopWorkerTQ"), signal.SIGKILL)
    assert one.run.ended(120).code not in (0, None)
    assert "ActorDiedError" in one.log
    assert [process for process in of_one if process.alive] == []

    seen = steps_of(other)
    at_step(other, seen + 2, 120)
    os.kill(other.run.started().child_pid, signal.SIGKILL)
    assert other.run.ended(60).signal == signal.SIGKILL
    assert [process for process in of_other if process.alive] == []
    # Each step's answers are whole, whatever moment it was.
    answers = os.path.join(other.folder.path, rollouts.FOLDER)
    for step in rollouts.steps(answers):
        assert len(rollouts.parse(Path(rollouts.path(answers, step)).read_bytes())) == 32

    own = {name for name in set(os.listdir("/tmp")) - before if "ray" in name.lower()}
    assert own == set()


@pytest.mark.timeout(300)
def test_what_cannot_work_is_said_in_a_line(root: Path) -> None:
    training = Training(root, builtin.TINY_GRPO, {"data.max_prompt_length": 2000})
    assert training.exit.code == 1
    assert "A prompt and its answer may have 2016 tokens, and the model takes 1024" in training.log
    assert not Path(training.folder.metrics).exists()
