"""The training side's own code, as it is brought to hosts: known by its content."""

import functools
import hashlib
import io
import zipfile
from pathlib import Path

import platform_runtime


@functools.cache
def package() -> tuple[str, dict[str, bytes]]:
    """The package's digest and its files, relative name -> content. Read once: a process keeps what it started with."""
    root = Path(platform_runtime.__file__).parent
    files = {
        str(path.relative_to(root.parent)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.suffix in {".py", ".typed", ".json", ".jinja"} and "__pycache__" not in path.parts
    }
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16], files


@functools.cache
def archive() -> bytes:
    """The same files as a zip file."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in package()[1].items():
            file.writestr(name, content)
    return whole.getvalue()
