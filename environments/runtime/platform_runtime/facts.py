"""What a machine is: processors, memory, GPUs, disk, Python. Stdlib only."""

import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any, Final

from platform_runtime import host, processes

ASK_VERSIONS: Final = """
import importlib.metadata, json
found = {}
for name in ("torch", "verl"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def facts(root: str, python: str) -> dict[str, Any]:
    """Sizes in bytes, times in seconds. `python` is the training environment's, which need not be there: absolute, or
    below the root.

    Without a root it is `anneal` in the user's home.
    """
    root = root or os.path.join(os.path.expanduser("~"), "anneal")
    usage = shutil.disk_usage(_nearest(root))
    return {
        "root": root,
        "home": os.path.expanduser("~"),
        "hostname": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "disk_total": usage.total,
        "disk_free": host.free_above(root),
        "gpus": gpus(),
        "python": platform.python_version(),
        "python_path": sys.executable,
        "training": training(os.path.join(root, python)),
        "boot_id": processes.boot_id(),
        "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME),
        "now": time.time(),
    }


def gpus() -> list[dict[str, Any]]:
    """NVIDIA's by number, as its driver tells; none where there is no driver. `memory` is 0 where it does not say."""
    asked = "name,memory.total,driver_version,index"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    if done.returncode:
        return []
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == 4]
    found = [
        {
            "index": int(index),
            "name": name,
            "memory": int(memory) << 20 if memory.isdigit() else 0,
            "driver": driver,
        }
        for name, memory, driver, index in rows
        if index.isdigit()
    ]
    return sorted(found, key=lambda gpu: int(str(gpu["index"])))


def training(python: str) -> dict[str, str]:
    """The versions of torch and verl that a Python has; {} where it is none. Those of a virtual environment are told
    from its files; a Python that keeps packages elsewhere, as a system's own does, is asked."""
    if not os.path.isfile(python) or not os.access(python, os.X_OK):
        return {}
    found = {}
    library = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(python))), "lib")
    for version in host.listdir(library):
        for name in host.listdir(os.path.join(library, version, "site-packages")):
            package, _, rest = name.partition("-")
            if package in ("torch", "verl") and rest.endswith(".dist-info"):
                found[package] = rest.removesuffix(".dist-info")
    if len(found) < 2:
        found |= _asked(python)
    return {"python": python, **found}


def _asked(python: str) -> dict[str, str]:
    try:
        done = subprocess.run(
            [python, "-P", "-c", ASK_VERSIONS], capture_output=True, text=True, timeout=30, check=False
        )
        return {str(name): str(version) for name, version in json.loads(done.stdout).items()}
    except (OSError, subprocess.SubprocessError, ValueError, AttributeError):
        return {}


def _nearest(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path
