"""What races are made of: threads with connections of their own, and stage kinds whose work costs next to nothing."""

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from environments.transports import Transport
from pipelines.folders import run_folder
from pipelines.kinds import InlineKind, RunnerKind, Verdict, registry
from pipelines.models import Attempt, Stage, Transition
from pipelines.states import PIPELINE_MOVES, STAGE_ACTIVE, STAGE_MOVES
from platform_runtime.contract import CheckpointInfo, Claim, Command, ExitInfo
from platform_site.common.models import User


class CountedKind(InlineKind):
    """Counts how often each stage was worked at."""

    name = "counted"
    queue = "default"
    runs: Counter[Any] = Counter()
    lock = threading.Lock()

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        with self.lock:
            self.runs[stage.pk] += 1
        return Verdict(True, result={"value": 1})


class PlayedKind(RunnerKind):
    """Its runner is played by a test, which leaves the exit record; the platform's side is as it always is."""

    name = "played"
    queue = "training"

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return {}

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        raise AssertionError("nobody launches it")

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        return Verdict(exit_info.get("code") == 0, "it failed", result={"value": 1})


registry.register(CountedKind())
registry.register(PlayedKind())


def play(attempt: Attempt) -> None:
    """What a runner leaves that took the claim and whose command ended well at once; nothing where it was revoked.

    Any number of times: the folder comes into being whole, or was there.
    """
    folder, now = run_folder(attempt), time.time()
    target = Path(folder.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(dir=target.parent))
    (whole / Path(folder.claim).name).write_bytes(Claim("runner", None, None, None, now).to_bytes())
    ended = ExitInfo(0, None, now - 0.01, now, 0.01, CheckpointInfo(None, True, ""))
    (whole / Path(folder.exit).name).write_bytes(ended.to_bytes())
    try:
        whole.rename(target)
    except OSError:
        shutil.rmtree(whole)


@contextmanager
def racers(*works: Callable[[], object], pause_s: float = 0.05) -> Iterator[threading.Event]:
    """Do each of these again and again in a thread of its own while the block lasts. What one raises is raised here."""
    over = threading.Event()
    raised: list[BaseException] = []

    def race(work: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                work()
                over.wait(pause_s)
        except BaseException as error:
            raised.append(error)
            over.set()
        finally:
            connection.close()

    threads = [threading.Thread(target=race, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield over
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if raised:
        raise raised[0]


def most_at_once(key: Callable[[Transition], Any]) -> Counter[Any]:
    """How many stages held a slot at the most, by key; from the log of moves, in its order.

    Who frees a slot writes its row before it commits, and whoever takes that slot writes afterwards: so the order of
    the rows never shows more at once than there were, and shows each slot that was given twice.
    """
    busy: Counter[Any] = Counter()
    most: Counter[Any] = Counter()
    for move in Transition.objects.filter(stage__isnull=False).select_related("stage").order_by("id"):
        found = key(move)
        busy[found] += (move.to_status in STAGE_ACTIVE) - (move.from_status in STAGE_ACTIVE)
        most[found] = max(most[found], busy[found])
    return most


def assert_the_log_is_legal() -> None:
    """Each row begins where the one before it ended, and is a move that there is."""
    at: dict[Any, str] = {}
    for move in Transition.objects.order_by("id"):
        key = move.stage_id or move.pipeline_id
        moves: Any = STAGE_MOVES if move.stage_id else PIPELINE_MOVES
        assert at.get(key, move.from_status) == move.from_status, f"{key}: {at[key]}, then from {move.from_status}"
        assert any(move.from_status in one.sources and move.to_status == one.target for one in moves.values()), str(
            move
        )
        at[key] = move.to_status
