"""Compares an environment with version.json: Python, packages, verl, CUDA and GPUs, disk. Stdlib only.

    python3 environments/verify_env.py [--manager] [--python PATH] [--json]

Looks at the training environment of this checkout, or at the manager's, or at the one of another Python. Exit
code 0 when everything that is needed is there. Runs with any Python 3.11 or newer, in no environment at all.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # this file's folder, in which `selectors` is not the library's

import argparse
import base64
import csv
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parent
MINIMUM_PYTHON: Final = (3, 11)
LOW_DISK_GB: Final = 5.0
ASK_TORCH: Final = (
    "import json, torch; print(json.dumps({'version': torch.__version__, 'built_for': torch.version.cuda, "
    "'usable': torch.cuda.is_available(), 'devices': torch.cuda.device_count()}))"
)
ASK_FOLDER: Final = """
import importlib.util, os
found = importlib.util.find_spec("torch")
print(os.path.dirname(os.path.dirname(found.origin)) if found and found.origin else "")
"""


@dataclass(frozen=True)
class Check:
    """One line of the report. `status` is ok, warning or error; only an error makes the environment unfit.

    Of a package that differs also the version that is `wanted` (or several, any of which will do) and the one that was
    `found`, empty where it is missing.
    """

    name: str
    status: str
    message: str
    wanted: str = ""
    found: str = ""


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_mb: int
    driver: str
    index: int


def site_packages(python: Path) -> Path | None:
    """Where an environment's packages are, told without starting its Python."""
    found = sorted(python.parent.parent.glob("lib/python3.*/site-packages"))
    return found[-1] if found else None


def asked_packages_folder(python: Path) -> Path | None:
    """Where a Python that is no virtual environment has torch: a system's own, for one, or one behind a script."""
    try:
        done = subprocess.run([python, "-P", "-c", ASK_FOLDER], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else None


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_packages(folder: Path) -> dict[str, str]:
    """{normal name: version}. A package whose record is missing was installed half, and does not count."""
    return {
        normal(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions(path=[str(folder)])
        if found.metadata["Name"] and found.files is not None
    }


def torch_build(folder: Path) -> str | None:
    """The CUDA version that the installed torch is built for, "cpu", or None when there is no torch."""
    try:
        text = (folder / "torch" / "version.py").read_text()
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return match[1] if match else "cpu"


def check_python(python: Path) -> Check:
    ask = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("python", "error", f"{python} cannot be run: {error}")
    if done.returncode:
        return Check("python", "error", f"{python} does not work: {done.stderr.strip()[-200:]}")
    version = done.stdout.strip()
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_PYTHON:
        return Check("python", "error", f"Python {version}; 3.11 or newer is needed")
    return Check("python", "ok", f"Python {version}")


def compare_packages(installed: dict[str, str], wanted: dict[str, Any]) -> Iterator[Check]:
    """What is missing or has another version. A local part (`+cpu`) makes no difference."""
    for name, version in sorted(wanted["packages"].items()):
        have = installed.get(normal(name))
        if have is None:
            yield Check(name, "error", f"missing; {version} is needed", wanted=version)
        elif have.partition("+")[0] != version:
            yield Check(name, "error", f"{have} is installed; {version} is needed", wanted=version, found=have)
    for name, versions in sorted(wanted["conditional"].items()):
        have = installed.get(normal(name))
        if have is not None and have.partition("+")[0] not in versions:
            any_of = " or ".join(versions)
            yield Check(name, "error", f"{have} is installed; {any_of} is needed", wanted=any_of, found=have)


def check_verl(folder: Path) -> Check:
    """verl as it was published: every file has the digest that its own record names."""
    for found in importlib.metadata.distributions(name="verl", path=[str(folder)]):
        changed = [str(file) for file in found.files or [] if not _as_recorded(file)]
        if changed:
            return Check("verl", "error", f"{len(changed)} file(s) differ from the release, first {changed[0]}")
        return Check("verl", "ok", f"verl {found.version}, unchanged")
    return Check("verl", "error", "verl is not installed")


def _as_recorded(file: importlib.metadata.PackagePath) -> bool:
    if file.hash is None:
        return True
    try:
        digest = hashlib.new(file.hash.mode, Path(str(file.locate())).read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def find_gpus() -> list[Gpu]:
    """What the NVIDIA driver sees; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version,index", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = [
        row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if len(row) == 4 and row[3].isdigit()
    ]
    return [Gpu(row[0], int(row[1]) if row[1].isdigit() else 0, row[2], int(row[3])) for row in rows]


def check_cuda(python: Path, build: str | None, gpus: list[Gpu]) -> Check:
    if build is None:
        return Check("cuda", "error", "torch is not installed")
    if not gpus:
        return Check("cuda", "ok", f"no GPU on this machine; training runs on the processor (torch for {build})")
    if build == "cpu":
        return Check("cuda", "warning", "there are GPUs, but torch is a CPU build: set up with --cuda to use them")
    try:
        done = subprocess.run([python, "-I", "-c", ASK_TORCH], capture_output=True, text=True, timeout=120, check=False)
        torch = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return Check("cuda", "error", "torch cannot be imported")
    if not torch["usable"]:
        drivers = gpus[0].driver
        return Check("cuda", "error", f"torch for CUDA {build} cannot use the GPUs (driver {drivers})")
    return Check("cuda", "ok", f"torch for CUDA {build} uses {torch['devices']} GPU(s)")


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free / 1e9
    status = "ok" if free >= LOW_DISK_GB else "warning"
    return Check("disk", status, f"{free:.1f} GB free" + ("" if status == "ok" else ", that is little"))


def report(python: Path, *, manager: bool, versions: dict[str, Any]) -> dict[str, Any]:
    """The whole comparison as JSON types: ok, checks, packages, gpus, and what was looked at."""
    gpus = [] if manager else find_gpus()
    folder = site_packages(python) or asked_packages_folder(python)
    build = torch_build(folder) if folder and not manager else None
    kind = "manager" if manager else ("cpu" if build in ("cpu", None) else "cuda")
    installed: dict[str, str] = {}
    if folder is None:
        checks = [Check("python", "error", f"there is no environment at {python}")]
    else:
        installed = installed_packages(folder)
        wanted = versions["manager"] if manager else versions["training"][kind]
        differing = list(compare_packages(installed, wanted))
        same = Check("packages", "ok", f"{len(wanted['packages'])} packages as recorded")
        checks = [check_python(python), *(differing or [same]), check_verl(folder)]
        if not manager:
            checks.append(check_cuda(python, build, gpus))
    checks.append(check_disk(CHECKOUT))
    return {
        "ok": not any(check.status == "error" for check in checks),
        "environment": "manager" if manager else "training",
        "kind": kind,
        "python": str(python),
        "torch_build": build,
        "gpus": [asdict(gpu) for gpu in gpus],
        "packages": dict(sorted(installed.items())),
        "checks": [asdict(check) for check in checks],
    }


def for_people(found: dict[str, Any]) -> str:
    signs = {"ok": "ok      ", "warning": "WARNING ", "error": "ERROR   "}
    lines = [f"{found['environment']} environment, {found['python']}"]
    lines += [f"  {signs[check['status']]}{check['name']}: {check['message']}" for check in found["checks"]]
    lines += [f"  GPU     {gpu['name']}, {gpu['memory_mb']} MB, driver {gpu['driver']}" for gpu in found["gpus"]]
    lines.append("All is there." if found["ok"] else "Not fit for use: environments/setup_local_env.sh repairs it.")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="verify_env.py", description="Compare an environment with version.json.")
    parser.add_argument("--manager", action="store_true", help="the manager's environment instead of training's")
    parser.add_argument("--python", type=Path, help="the Python of the environment to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    usual = CHECKOUT / (".venv" if options.manager else ".training/venv") / "bin" / "python"
    python = options.python or Path(os.environ.get("ANNEAL_TRAINING_PYTHON", "") or usual)
    found = report(python, manager=options.manager, versions=json.loads((HERE / "version.json").read_text()))
    sys.stdout.write((json.dumps(found, indent=1) if options.json else for_people(found)) + "\n")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
