"""How long the trainer is held for each step."""

import os
import tempfile
import time
from pathlib import Path
from typing import Final

import orjson

from platform_runtime.callback import PlatformCallback

from .figures import Figures, spread

STEPS: Final = 5_000
METRICS: Final = 25


def measure(figures: Figures) -> None:
    steps = figures.amount(STEPS, 50)
    metrics = {f"actor/metric_{i:02}": 0.123456789 * i for i in range(METRICS)}
    with tempfile.TemporaryDirectory() as folder:
        callback = PlatformCallback("bench", folder, target_step=steps)
        callback.begin()
        ours, best = [], []
        limit = os.open(Path(folder) / "limit.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # In turns, so that both meet the same moments of the machine.
        for step in range(steps):
            started = time.perf_counter()
            callback.step(step, metrics)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            line = {"v": 1, "step": step, "time": time.time(), "metrics": metrics}
            os.write(limit, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            best.append(time.perf_counter() - started)
        callback.end()
        os.close(limit)
    figures.figures["us"] = spread(ours, 1e6)
    figures.limit["orjson_and_write_us"] = spread(best, 1e6)
    for name, goal in (("p50", 1.5), ("p99", 3.0)):
        ratio = figures.figures["us"][name] / figures.limit["orjson_and_write_us"][name]
        figures.ratios[name] = round(ratio, 2)
        figures.at_most(f"{name}_of_limit", ratio, goal)
