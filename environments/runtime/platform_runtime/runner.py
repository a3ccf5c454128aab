"""Runs one attempt's command to its end and writes down how it ended. Stdlib only; needs no installation.

`python -P runner.py ATTEMPT_FOLDER` goes into the background and answers at once: 0 when the run is claimed, by
this runner or by another, otherwise one line on standard error. From then on it depends on nothing: the platform
may go and come back, the runner stays beside its command and leaves exit.json. With `--in-ray` it is the entry point
of a Ray job: it stays in the foreground, and hands on what Ray tells such a job of the cluster and its GPUs.

The claim decides who runs. Command and runner are known by pid, start time and boot id; what the command leaves
behind is found as descendants (the runner is their reaper) and by the launch token in their environment.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, replace

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from platform_runtime import checkpoints, files, heartbeat, machine, processes
from platform_runtime.contract import (
    ENV_LAUNCH_TOKEN,
    CheckpointInfo,
    Claim,
    Command,
    ExitInfo,
    ProcessInfo,
    RunFolder,
)
from platform_runtime.message import ContractError

NOT_FOUND, CANNOT_RUN = 127, 126
USAGE, NOT_CLAIMED = 2, 75

_PR_SET_CHILD_SUBREAPER = 36
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_STOPPING = {signal.SIGTERM, signal.SIGINT}
_LEFTOVER_GRACE_S = 2.0
_RESERVE_BYTES = 4096
IN_RAY = "--in-ray"
_OF_RAY = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "CUDA_VISIBLE_DEVICES")
_EXIT_WRITE_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How the command ended: `code` or `signal`, both clocks, seconds, and the bytes that were free then."""

    code: int | None
    signal: int | None
    started_at: float
    finished_at: float
    elapsed_s: float
    disk_free: int | None


class CannotStartError(Exception):
    """The command never ran. `code` is what a shell would have said."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Reserve:
    """Room for exit.json, taken while there is some: a full disk must not hide how a run ended."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.path = files.write_beside(target, b" " * _RESERVE_BYTES)

    def write(self, content: bytes) -> None:
        """Put `content` in place of the target, atomically. Raises OSError."""
        if not os.path.exists(self.path):
            files.replace(self.target, content)
            return
        with open(self.path, "r+b") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path, self.target)

    def release(self) -> None:
        files.remove(self.path)


def main(arguments: list[str]) -> int:
    in_ray = IN_RAY in arguments
    folders = [argument for argument in arguments if argument != IN_RAY]
    if len(folders) != 1:
        sys.stderr.write(f"usage: runner.py [{IN_RAY}] ATTEMPT_FOLDER\n")
        return USAGE
    run = RunFolder.at(folders[0])
    try:
        with open(run.command, "rb") as file:
            command = Command.from_bytes(file.read())
    except (OSError, ContractError) as error:
        sys.stderr.write(f"{run.command}: {error}\n")
        return USAGE
    run = RunFolder(run.path, command.uuid)
    if in_ray:
        told = {name: os.environ[name] for name in _OF_RAY if name in os.environ}
        # What the command says itself holds: one that is to train on processors gets no GPU of the machine it is on.
        return stay(run, replace(command, env={**told, **command.env}))
    return start_detached(run, command)


def start_detached(run: RunFolder, command: Command) -> int:
    """Fork a daemon for the run; the exit status once the daemon has the claim, lost it, or says why not."""
    answer, tell = os.pipe()
    if os.fork() == 0:
        os.close(answer)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        try:
            daemon(run, command, tell)
        except BaseException:
            note(run, traceback.format_exc())
        finally:
            os._exit(0)
    os.close(tell)
    os.wait()
    with os.fdopen(answer, "rb") as file:
        complaint = file.read().decode(errors="replace")
    if complaint:
        sys.stderr.write(complaint + "\n")
        return NOT_CLAIMED
    return 0


def stay(run: RunFolder, command: Command) -> int:
    """Run it in this process; the exit status once it is over, 0 also where another runner has it."""
    prepare()
    try:
        taken = take(run)
    except OSError as error:
        sys.stderr.write(f"{run.path}: {error.strerror or error}\n")
        return NOT_CLAIMED
    if taken is not None:
        supervise(run, command, *taken)
    return 0


def daemon(run: RunFolder, command: Command, tell: int) -> None:
    """Claim, then run. Whoever waits at the other end of `tell` hears nothing, or why there is no claim."""
    prepare()
    try:
        taken = take(run)
    except OSError as error:
        os.write(tell, f"{run.path}: {error.strerror or error}".encode())
        return
    if taken is not None:
        detach(tell)
        supervise(run, command, *taken)


def prepare() -> None:
    os.umask(0o077)
    os.chdir("/")
    watch_signals()


def take(run: RunFolder) -> tuple[processes.Identity, Reserve] | None:
    """Claim the run: who we are, and the room for its end. None when another has it. Raises OSError."""
    reserve = Reserve(run.exit)
    try:
        me = processes.myself()
        claim = Claim("runner", me.pid, me.start_time, me.boot_id, time.time())
        won = files.create_exclusive(run.claim, claim.to_bytes())
    except OSError:
        reserve.release()
        raise
    if not won:
        reserve.release()
        return None
    return me, reserve


def watch_signals() -> None:
    """Hold signals back until we ask for them. Before the claim: from then on TERM may come, and must not be lost.

    The handlers do nothing but be there: whoever started us may have had some ignored, and the kernel drops what
    is ignored, children's deaths included.
    """
    for number in _WATCHED:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)


def detach(tell: int) -> None:
    """Let go of everything of the caller's, the answer pipe too."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    os.close(tell)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))


def supervise(run: RunFolder, command: Command, me: processes.Identity, reserve: Reserve) -> None:
    """From the claim to exit.json."""
    become_reaper_of_orphans()
    started_at, started = time.time(), time.monotonic()
    try:
        with contextlib.suppress(OSError):
            os.makedirs(run.metrics_dir, mode=0o700, exist_ok=True)
        child = spawn(run, command)
    except CannotStartError as error:
        note(run, f"cannot start: {error}")
        ended = Ended(error.code, None, started_at, time.time(), time.monotonic() - started, files.free_bytes(run.path))
    else:
        introduce(run, command, me, child.pid, started_at)
        end_sampling = machine.watch(run.system, run.path, child.pid, command.env.get("CUDA_VISIBLE_DEVICES"))
        code, number = wait(run, command, child.pid, heartbeat.Heart(run.heartbeat, started))
        ended = Ended(code, number, started_at, time.time(), time.monotonic() - started, files.free_bytes(run.path))
        end_sampling()
        sweep(run, command)
    conclude(run, command, ended, reserve)


def become_reaper_of_orphans() -> None:
    """Whatever daemonises below us stays below us, also when it leaves its session (as Ray's parts do)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(run: RunFolder, command: Command) -> "subprocess.Popen[bytes]":
    """Start the command in a session of its own with exactly its environment. Raises CannotStartError."""
    environment = {ENV_LAUNCH_TOKEN: command.launch_token, **command.env}
    try:
        log = os.open(run.output_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStartError(CANNOT_RUN, f"{run.output_log}: {error.strerror}") from error
    try:
        return subprocess.Popen(
            command.argv,
            env=environment,
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_before_exec,
        )
    except FileNotFoundError as error:
        raise CannotStartError(NOT_FOUND, f"{error.filename}: {error.strerror}") from error
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CannotStartError(CANNOT_RUN, f"{command.argv[0]}: {error}") from error
    finally:
        os.close(log)


def _before_exec() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    # When memory runs out, the kernel shall take the training and not what keeps its books.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def introduce(run: RunFolder, command: Command, me: processes.Identity, pid: int, started_at: float) -> None:
    """Write process.json. Not being able to (a full disk) is no reason to stop: claim and token lead to us."""
    seen = processes.look(pid)
    # A command that ended at once has no start time to be told from a stranger by: 0 matches nobody.
    start_time = seen.start_time if seen is not None else 0
    info = ProcessInfo(me.pid, me.start_time, me.boot_id, pid, start_time, command.launch_token, started_at)
    try:
        files.replace(run.process, info.to_bytes())
    except OSError as error:
        note(run, f"{run.process}: {error.strerror or error}")


def wait(run: RunFolder, command: Command, pid: int, heart: heartbeat.Heart) -> tuple[int | None, int | None]:
    """Until the command ends: (exit code, None) or (None, signal). TERM to us ends it, by force after a grace."""
    kill_at: float | None = None
    killed = False
    while True:
        heart.beat(pid)
        status = reap(pid)
        if status is not None:
            if os.WIFSIGNALED(status):
                return None, os.WTERMSIG(status)
            return os.waitstatus_to_exitcode(status), None
        left = 1.0 if kill_at is None or killed else max(0.0, min(1.0, kill_at - time.monotonic()))
        came = signal.sigtimedwait(_WATCHED, left)
        if came is not None and came.si_signo in _STOPPING and kill_at is None:
            note(run, f"asked to stop: TERM, then KILL after {command.stop_grace_s:g} s")
            kill_at = time.monotonic() + command.stop_grace_s
            signal_group(pid, signal.SIGTERM)
        elif kill_at is not None and not killed and time.monotonic() >= kill_at:
            note(run, "still there after the grace: KILL")
            killed = True
            # The group first: as long as the command is not reaped, the number is its own.
            signal_group(pid, signal.SIGKILL)


def signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def reap(pid: int | None = None) -> int | None:
    """Reap whatever ended below us; the wait status of `pid` when it is among that."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended == 0:
            return None
        if ended == pid:
            return status


def sweep(run: RunFolder, command: Command) -> None:
    """End what the command left running, and make sure of it: a daemon that lives on holds memory and GPUs."""

    def find() -> set[processes.Identity]:
        reap()
        return processes.descendants() | processes.belonging(command.launch_token)

    left = find()
    if not left:
        return
    for one in left:
        processes.send(one, signal.SIGTERM)
    until = time.monotonic() + min(_LEFTOVER_GRACE_S, command.stop_grace_s)
    while find() and time.monotonic() < until:
        time.sleep(0.05)
    survivors = processes.end(find)
    note(run, f"ended {len(left)} process(es) that the command left running")
    if survivors:
        note(run, f"could not end: {', '.join(str(one.pid) for one in survivors)}")


def conclude(run: RunFolder, command: Command, ended: Ended, reserve: Reserve) -> None:
    """Look at the checkpoint and write exit.json, trying for a minute where the disk does not let us."""
    try:
        checkpoint = checkpoints.survey(command.checkpoint_folder)
    except OSError as error:
        checkpoint = CheckpointInfo(None, False, f"the checkpoint folder cannot be read: {error}")
    content = ExitInfo(
        code=ended.code,
        signal=ended.signal,
        started_at=ended.started_at,
        finished_at=ended.finished_at,
        elapsed_s=ended.elapsed_s,
        checkpoint=checkpoint,
        disk_free=ended.disk_free,
    ).to_bytes()
    until = time.monotonic() + _EXIT_WRITE_PATIENCE_S
    while True:
        try:
            reserve.write(content)
        except OSError as error:
            if not os.path.isdir(run.path):
                return
            if time.monotonic() > until:
                note(run, f"{run.exit}: {error.strerror or error}")
                return
            time.sleep(1)
        else:
            return


def note(run: RunFolder, message: str) -> None:
    """A line of our own in the output log, where there is room for one."""
    with contextlib.suppress(OSError), open(run.output_log, "ab", buffering=0) as log:
        log.write(f"[runner] {message}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
