"""verify_env.py compares an environment with what is recorded, and needs nothing but Python."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from environments import verify_env, versions

CHECKOUT = Path(__file__).resolve().parents[2]
WANTED: dict[str, Any] = {
    "packages": {"torch": "2.13.0", "verl": "0.9.1", "typing-extensions": "4.16.0"},
    "conditional": {"networkx": ["3.6.1", "3.7"], "colorama": ["0.4.6"]},
}
GOOD = {"torch": "2.13.0+cpu", "verl": "0.9.1", "typing-extensions": "4.16.0", "networkx": "3.7"}


def make_environment(root: Path, packages: dict[str, str], *, cuda: str | None = None) -> Path:
    """The Python of an environment in which these packages are recorded as installed."""
    packages_folder = root / "lib/python3.11/site-packages"
    for name, version in packages.items():
        info = packages_folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n")
    (packages_folder / "torch").mkdir(parents=True)
    (packages_folder / "torch/version.py").write_text(f"__version__ = '2.13.0'\ncuda: str | None = {cuda!r}\n")
    (root / "bin").mkdir()
    python = root / "bin/python"
    python.symlink_to(sys.executable)
    return python


def differing(installed: dict[str, str]) -> dict[str, str]:
    return {check.name: check.message for check in verify_env.compare_packages(installed, WANTED)}


def test_what_is_as_recorded_differs_in_nothing() -> None:
    assert differing(GOOD) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"torch": "2.12.0+cpu"}, {"torch": "2.12.0+cpu is installed; 2.13.0 is needed"}),
        ({"torch": None}, {"torch": "missing; 2.13.0 is needed"}),
        ({"networkx": "3.0"}, {"networkx": "3.0 is installed; 3.6.1 or 3.7 is needed"}),
        ({"networkx": None}, {}),
        ({"something-else": "1.0"}, {}),
    ],
)
def test_differences_are_named(change: dict[str, str | None], said: dict[str, str]) -> None:
    installed = {name: version for name, version in {**GOOD, **change}.items() if version is not None}
    assert differing(installed) == said


def test_a_python_that_keeps_its_packages_elsewhere_is_asked_where(tmp_path: Path) -> None:
    make_environment(tmp_path / "venv", GOOD)
    packages = tmp_path / "venv/lib/python3.11/site-packages"
    (packages / "torch/__init__.py").touch()
    script = tmp_path / "elsewhere" / "bin" / "python"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    versions_wanted = {"training": {"cpu": WANTED, "cuda": WANTED}}
    found = verify_env.report(script, manager=False, versions=versions_wanted)
    assert found["torch_build"] == "cpu"
    assert found["packages"] == {**GOOD}
    nothing = tmp_path / "nothing" / "bin" / "python"
    told = verify_env.report(nothing, manager=False, versions=versions_wanted)
    assert told["checks"][0]["message"] == f"there is no environment at {nothing}"


def test_an_environment_is_read_from_its_files(tmp_path: Path) -> None:
    python = make_environment(tmp_path, GOOD, cuda="13.0")
    folder = verify_env.site_packages(python)
    assert folder is not None
    assert verify_env.installed_packages(folder) == GOOD
    assert verify_env.torch_build(folder) == "13.0"


def test_a_package_without_its_record_counts_as_missing(tmp_path: Path) -> None:
    python = make_environment(tmp_path, GOOD)
    folder = verify_env.site_packages(python)
    assert folder is not None
    (folder / "torch-2.13.0+cpu.dist-info/RECORD").unlink()
    assert "torch" not in verify_env.installed_packages(folder)


def test_a_changed_verl_is_noticed(tmp_path: Path) -> None:
    python = make_environment(tmp_path, GOOD)
    folder = verify_env.site_packages(python)
    assert folder is not None
    (folder / "verl-0.9.1.dist-info/RECORD").write_text("verl/__init__.py,sha256=abc,3\n")
    (folder / "verl").mkdir()
    (folder / "verl/__init__.py").write_text("# changed")
    check = verify_env.check_verl(folder)
    assert check.status == "error"
    assert "verl/__init__.py" in check.message


def test_no_environment_is_one_clear_line(tmp_path: Path) -> None:
    done = verify(tmp_path / "none/bin/python")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert not answer["ok"]
    (error,) = [check for check in answer["checks"] if check["status"] == "error"]
    assert "there is no environment" in error["message"]


def verify(python: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    script = CHECKOUT / "environments/verify_env.py"
    argv = [sys.executable, "-S", str(script), "--json", "--python", str(python), *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_as_a_program_it_needs_no_packages_and_reports_json(tmp_path: Path) -> None:
    done = verify(make_environment(tmp_path, GOOD))
    answer = json.loads(done.stdout)
    assert done.returncode == 1  # most packages are missing here
    assert answer["environment"] == "training"
    assert answer["packages"]["verl"] == "0.9.1"
    names = {check["name"] for check in answer["checks"]}
    assert {"python", "verl", "cuda", "disk", "transformers"} <= names
    assert isinstance(answer["gpus"], list)


def test_the_manager_of_this_checkout_is_as_recorded() -> None:
    done = verify(CHECKOUT / ".venv/bin/python", "--manager")
    assert done.returncode == 0, done.stdout


def test_version_json_is_what_the_locks_say() -> None:
    saved = json.loads((CHECKOUT / "environments/version.json").read_text())
    assert saved == versions.versions(), "run requirements/lock_training.sh"
    assert saved["verl"]["version"] == saved["training"]["cpu"]["packages"]["verl"] == "0.9.1"
    assert all(digest.startswith("sha256:") for digest in saved["verl"]["hashes"])


@pytest.mark.parametrize("name", ["training-cpu", "training-cuda"])
def test_the_locks_are_those_of_their_sources(name: str) -> None:
    folder = CHECKOUT / "requirements"
    done = subprocess.run(
        [sys.executable, "-P", str(folder / "digest.py"), str(folder / f"{name}.in")],
        capture_output=True,
        text=True,
        check=True,
    )
    first = (folder / f"{name}.txt").read_text().splitlines()[0]
    assert done.stdout.strip() in first, "run requirements/lock_training.sh"


def test_both_locks_take_the_same_versions() -> None:
    saved = json.loads((CHECKOUT / "environments/version.json").read_text())["training"]
    for name, version in saved["cpu"]["packages"].items():
        assert saved["cuda"]["packages"].get(name) == version, name
