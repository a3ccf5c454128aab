"""The machine beside a run: what is sampled is true, and the file stays small."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_runtime.gpus import Gpus
from platform_runtime.machine import Meter, Record
from platform_runtime.message import ContractError
from platform_runtime.system import SystemSample

from .runs import Run, until

BUSY = "import time\nroom = bytearray(64 << 20)\nwhile True: pass"


def samples(path: str | Path) -> list[SystemSample]:
    return [SystemSample.from_line(line) for line in Path(path).read_bytes().splitlines()]


def test_a_busy_run_shows_its_processor_and_memory(tmp_path: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.5)
        meter = Meter(str(tmp_path), busy.pid, Gpus(""))
        time.sleep(1.0)
        values = meter.sample()
    finally:
        busy.kill()
        busy.wait()
    assert 15 <= values["run_cpu_percent"] <= 130  # of one core, which others of this machine may want too
    assert 0 < values["cpu_percent"] <= 100
    assert values["run_memory_bytes"] > 64 << 20
    assert 0 < values["memory_used_bytes"] < values["memory_total_bytes"]
    free = shutil.disk_usage(tmp_path)
    assert values["disk_total_bytes"] == free.total
    assert abs(values["disk_free_bytes"] - free.free) < 1 << 30


def test_what_left_its_parent_still_counts_as_the_run_s(make_run: Callable[..., Run]) -> None:
    """A daemon of the command is adopted by the runner, and its memory is of interest most of all."""
    code = f"import os, time\nif os.fork() == 0:\n os.setsid()\n room = bytearray(96 << 20)\n time.sleep(60)\n{BUSY}"
    run = make_run([sys.executable, "-c", code])
    run.start()
    file = Path(run.folder.system)
    found = until(lambda: samples(file) if file.exists() else [])
    assert found[0].n == 1
    assert found[0].values["run_memory_bytes"] > 64 << 20
    assert abs(found[0].time - time.time()) < 60


def test_the_file_spans_the_whole_run_in_bounded_size(tmp_path: Path) -> None:
    record = Record(str(tmp_path / "system.jsonl"), most_bytes=4_000)
    for n in range(1, 2_001):
        record.add(SystemSample(n, 1000.0 + n, {"cpu_percent": 50.0}))
    kept = samples(tmp_path / "system.jsonl")
    assert (tmp_path / "system.jsonl").stat().st_size <= 4_100
    assert [sample.n for sample in kept] == sorted({sample.n for sample in kept})
    assert kept[-1].n == 2_000
    assert kept[0].n == 1
    assert [sample.n for sample in kept[-15:]] == [*range(1986, 2001)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1]",
        b'{"n":1,"time":2}',
        b'{"n":0,"time":2,"system":{}}',
        b'{"n":1,"time":NaN,"system":{}}',
        b'{"n":true,"time":2,"system":{}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_sample_is_refused(line: bytes) -> None:
    with pytest.raises(ContractError):
        SystemSample.from_line(line)


def test_values_that_are_no_measures_are_left_out() -> None:
    line = (
        b'{"n":1,"time":2,"system":{"cpu_percent":7,"run_cpu_percent":NaN,"disk_free_bytes":-1,"x":1,'
        b'"memory_used_bytes":"5","gpu.0.use_percent":3,"gpu.1000.use_percent":3,"disk_total_bytes":1e400}}'
    )
    assert SystemSample.from_line(line).values == {"cpu_percent": 7.0, "gpu.0.use_percent": 3.0}


def test_where_there_is_no_driver_there_are_no_gpus() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has GPUs")
    assert Gpus().sample() == {}


NVML = """
typedef struct { unsigned gpu, memory; } use_t;
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(long)(i + 1); return i == 1 ? 15 : 0; }
int nvmlDeviceGetUtilizationRates(void *h, use_t *u) { u->gpu = 90 + (unsigned)(long)h; return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory_t *m) {
  m->total = 80ull << 30; m->used = (unsigned long long)(long)h << 30; m->free = m->total - m->used; return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to make a driver's library with")
@pytest.mark.parametrize(("visible", "seen"), [("None", {0, 2}), ("'2'", {2}), ("''", set()), ("'GPU-7f'", {0, 2})])
def test_the_driver_s_library_is_asked_for_use_and_memory(tmp_path: Path, visible: str, seen: set[int]) -> None:
    (tmp_path / "nvml.c").write_text(NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libnvidia-ml.so.1", "nvml.c"], cwd=tmp_path, check=True)
    code = f"from platform_runtime.gpus import Gpus; print(Gpus({visible}).sample())"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {}
    for index in sorted(seen):
        wanted[f"gpu.{index}.use_percent"] = 91 + index
        wanted[f"gpu.{index}.memory_used_bytes"] = (index + 1) << 30
        wanted[f"gpu.{index}.memory_total_bytes"] = 80 << 30
    assert answer.stdout.strip() == str(wanted)
