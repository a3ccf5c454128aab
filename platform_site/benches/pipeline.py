"""What a stage costs beyond its work: no-ops through web, queue, workers and database, and the processes at rest."""

import threading
import time
import urllib.request
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import dramatiq
import orjson
import psutil
from django.db import connection, transaction

from pipelines.models import Pipeline, Queue, Stage, Transition
from pipelines.states import PIPELINE_TERMINAL, PipelineStatus, StageStatus
from platform_site.common.messages import connect, send
from platform_site.common.queues import DEFAULT
from platform_site.management.commands.worker import POLL_MS, STAGE_THREADS

from .figures import Figures, spread
from .sandbox import Platform, redis_server

CHAIN: Final = 100
FAN: Final = 200
ROUNDS: Final = 3
IDLE_S: Final = 2.0
REST_S: Final = 10.0
PATIENCE_S: Final = 30.0
QUEUE: Final = "bench"
LIST: Final = "anneal:bench"


def measure(figures: Figures) -> None:
    """The limit is taken in the same rounds, while the platform rests: both meet the same moments of the machine."""
    length, width = figures.amount(CHAIN, 5), figures.amount(FAN, 20)
    with redis_server(), Platform(with_worker=True) as platform:
        _run(platform, _chain(2))  # nobody measures the first request of a process
        idle, chain, fan, limit_chain, limit_fan, hop = [], [], [], [], [], []
        for _round in range(figures.amount(ROUNDS, 1)):
            time.sleep(IDLE_S)
            idle.append(_run(platform, _chain(1)).first_s)
            chain.append(_run(platform, _chain(length)).whole_s / length)
            fan.append(_run(platform, _fan(width)).whole_s)
            limit_chain.append(_bare(length, at_once=1) / length)
            limit_fan.append(_bare(width, at_once=width))
            hop.append(_hops(length) / length)
        figures.figures |= {
            "chain_ms_a_stage": spread(chain),
            "fan_out_ms": spread(fan),
            "idle_pick_up_ms": spread(idle),
            "rest_percent_of_a_core": _at_rest(figures.amount(REST_S, 0.5)),
            "database": connection.vendor,
            "slots": Queue.objects.get(name=DEFAULT).slots,
            "threads": STAGE_THREADS,
        }
    figures.limit |= {
        "redis_and_two_commits_ms": spread(limit_chain),
        "redis_and_two_commits_fan_out_ms": spread(limit_fan),
        "bare_hop_ms": spread(hop),
    }
    figures.ratios |= {
        "chain": round(median(chain) / median(limit_chain), 2),
        "fan_out": round(median(fan) / median(limit_fan), 2),
        "chain_to_hop": round(median(chain) / median(hop), 2),
    }
    figures.at_most("chain_ms_a_stage", median(chain) * 1e3, 10)
    figures.at_most("fan_out_ms", median(fan) * 1e3, 400)
    figures.at_most("idle_pick_up_ms", median(idle) * 1e3, 80)
    figures.at_most("rest_percent_of_a_core", sum(figures.figures["rest_percent_of_a_core"].values()), 5)


def _chain(length: int) -> list[dict[str, Any]]:
    return [
        {"name": f"s{at}", "task": "noop", "depends_on": [f"s{at - 1}"] if at else []}
        for at in range(length)
    ]  # fmt: skip


def _fan(width: int) -> list[dict[str, Any]]:
    middle = [{"name": f"m{at}", "task": "noop", "depends_on": ["first"]} for at in range(width)]
    last = {"name": "last", "task": "noop", "depends_on": [stage["name"] for stage in middle]}
    return [{"name": "first", "task": "noop"}, *middle, last]


class _Took:
    """Seconds from the request to start a pipeline until its first stage ran, and until it had completed."""

    def __init__(self, pipeline: Pipeline, began: float) -> None:
        moves = Transition.objects.filter(pipeline=pipeline)
        running = moves.filter(stage__isnull=False, to_status=StageStatus.RUNNING).earliest("at")
        completed = moves.get(stage=None, to_status=PipelineStatus.COMPLETED)
        self.first_s = running.at.timestamp() - began
        self.whole_s = completed.at.timestamp() - began


def _run(platform: Platform, stages: list[dict[str, Any]]) -> _Took:
    """Create and start a pipeline over the API, and wait for its end. The times are those of its transitions."""
    made = _post(platform, "/api/v1/pipelines/", {"name": "bench", "stages": stages})
    began = time.time()
    _post(platform, f"/api/v1/pipelines/{made['uuid']}/start/", {})
    end = time.monotonic() + PATIENCE_S
    while True:
        pipeline = Pipeline.objects.get(pk=made["uuid"])
        if pipeline.status in PIPELINE_TERMINAL:
            break
        if time.monotonic() > end:
            raise TimeoutError(f"after {PATIENCE_S} s the pipeline is {pipeline.status}")
        time.sleep(0.05)
    if Stage.objects.filter(pipeline=pipeline, status=StageStatus.COMPLETED).count() != len(stages):
        raise RuntimeError(f"the pipeline is {pipeline.status}: {pipeline.error_message}")
    return _Took(pipeline, began)


def _post(platform: Platform, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{platform.port}{path}",
        data=orjson.dumps(body),
        headers={**platform.headers, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found: dict[str, Any] = orjson.loads(answer.read() or b"{}")
        return found


# --- the limit ------------------------------------------------------------------------------------------------


def _bare(count: int, *, at_once: int) -> float:
    """Seconds for `count` tasks, each a message through Redis and two commits, by as many threads as a worker has."""
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists bench_limit (id integer primary key, n integer not null)")
        cursor.execute("delete from bench_limit")
        cursor.executemany("insert into bench_limit values (%s, 0)", [(number,) for number in range(count)])
    client = connect()
    left, done, lock = [count], threading.Event(), threading.Lock()

    def work() -> None:
        own = connect()
        while (found := own.blpop([LIST], timeout=10)) and (number := int(found[1])) >= 0:
            for _commit in range(2):
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("update bench_limit set n = n + 1 where id = %s", [number])
            with lock:
                left[0] -= 1
                if not left[0]:
                    done.set()
            if number + at_once < count:
                own.rpush(LIST, number + at_once)
        connection.close()

    return _timed(work, lambda: client.rpush(LIST, *range(at_once)), done, lambda: client.rpush(LIST, *[-1] * 4))


def _timed(work: Callable[[], None], begin: Callable[[], Any], done: threading.Event, end: Callable[[], Any]) -> float:
    threads = [threading.Thread(target=work) for _thread in range(STAGE_THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    started = time.perf_counter()
    begin()
    if not done.wait(PATIENCE_S):
        raise TimeoutError("the limit was not reached")
    took = time.perf_counter() - started
    end()
    for thread in threads:
        thread.join()
    return took


def _hops(count: int) -> float:
    """Seconds for that many messages one after the other, of an actor that does nothing but send the next."""
    broker = dramatiq.get_broker()
    done = threading.Event()

    def hop(left: int) -> None:
        if left:
            send("bench_hop", QUEUE, left - 1)
        else:
            done.set()

    broker.actors.pop("bench_hop", None)
    dramatiq.actor(actor_name="bench_hop", queue_name=QUEUE, broker=broker, max_retries=0)(hop)
    worker = dramatiq.Worker(broker, queues={QUEUE}, worker_threads=STAGE_THREADS, worker_timeout=POLL_MS)
    worker.start()
    try:
        time.sleep(0.2)
        started = time.perf_counter()
        send("bench_hop", QUEUE, count - 1)
        if not done.wait(PATIENCE_S):
            raise TimeoutError("the hops did not end")
        return time.perf_counter() - started
    finally:
        worker.stop()


# --- at rest --------------------------------------------------------------------------------------------------


def _at_rest(rest_s: float) -> dict[str, float]:
    """Percent of one core, by process: all that this process started, so an embedded Valkey too."""
    processes = {child.pid: child for child in psutil.Process().children(recursive=True)}
    names = {pid: _name(child) for pid, child in processes.items()}
    time.sleep(IDLE_S)
    before, started = {pid: _cpu_s(child) for pid, child in processes.items()}, time.perf_counter()
    time.sleep(rest_s)
    passed = time.perf_counter() - started
    used: dict[str, float] = {}
    for pid, child in processes.items():
        used[names[pid]] = round(used.get(names[pid], 0.0) + (_cpu_s(child) - before[pid]) / passed * 100, 2)
    return used


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return next((name for name in ("web", "worker") if name in words), process.name())
