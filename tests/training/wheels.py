"""A package index of tiny wheels on this machine, and a checkout whose locks name them."""

import base64
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
UV = CHECKOUT / ".venv" / "bin" / "uv"

SCRIPTS = (
    "__init__.py", "installer_errors.py", "pip_settings.py", "setup_env.py", "setup_local_env.sh", "verify_env.py",
    "versions.py",
)  # fmt: skip
STANDINS: dict[str, dict[str, str]] = {
    "verl": {
        "verl/__init__.py": "__version__ = '0.9.1'\n",
        "verl/trainer/__init__.py": "",
        "verl/trainer/sft_trainer.py": "",
    },
    "gguf": {"gguf/__init__.py": ""},
    "lm_eval": {
        f"lm_eval/{name}.py": "" for name in ("__init__", "evaluator", "models/__init__", "models/huggingface")
    },
    "pyarrow": {"pyarrow/__init__.py": "ArrowException = Exception\n", "pyarrow/parquet.py": ""},
    "transformers": {"transformers/__init__.py": "LlamaConfig = LlamaForCausalLM = PreTrainedTokenizerFast = object\n"},
    "tokenizers": {
        "tokenizers/__init__.py": "Tokenizer = object\nfrom . import decoders, models, pre_tokenizers, trainers\n",
        **{f"tokenizers/{name}.py": "" for name in ("decoders", "models", "pre_tokenizers", "trainers")},
    },
}
"""What the set-up imports to try an environment out: enough of each to be imported."""


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes | str]) -> Path:
    """A valid wheel; one in `<name>-<version>.data/scripts/` becomes a program."""
    base = f"{name}-{version}"
    info = f"{base}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{base}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            data = text.encode() if isinstance(text, str) else text
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")
    return wheel


def torch_files(cuda: str | None) -> dict[str, str]:
    return {
        "torch/__init__.py": "from .version import __version__\n",
        "torch/version.py": f"__version__ = '2.13.0'\ncuda: 'str | None' = {cuda!r}\n",
    }


def pin(wheel: Path, *others: Path) -> str:
    """The line of a lock for a wheel, or for several of one version."""
    name, version = wheel.name.split("-")[:2]
    hashes = [hashlib.sha256(one.read_bytes()).hexdigest() for one in (wheel, *others)]
    lines = [f"{name}=={version.partition('+')[0]}", *(f"    --hash=sha256:{one}" for one in hashes)]
    return " \\\n".join(lines) + "\n"


class World:
    """A checkout that can be set up, in a folder with a space in its name, and the index it installs from.

    small_torch: whether there is a CPU build of torch besides the one for CUDA.
    """

    def __init__(self, root: Path, *, small_torch: bool = True) -> None:
        self.checkout = root / "my checkout"
        self.simple = root / "index" / "simple"
        self.small_torch = small_torch
        for name in SCRIPTS:
            self._copy(f"environments/{name}")
        shutil.copytree(
            CHECKOUT / "environments/runtime", self.checkout / "environments/runtime",
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )  # fmt: skip
        self.training = self.checkout / ".training"
        self._publish()

    def _copy(self, name: str) -> None:
        target = self.checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, target)

    def _publish(self) -> None:
        requirements = self.checkout / "requirements"
        requirements.mkdir()
        uv = self._wheel("uv", "0.13.9", {"uv-0.13.9.data/scripts/uv": UV.read_bytes()})
        cuda = self._wheel("torch", "2.13.0", torch_files("13.0"))
        builds = [cuda]
        if self.small_torch:
            builds.append(self._wheel("torch", "2.13.0+cpu", torch_files(None)))
        rest = [self._wheel(name, "0.9.1" if name == "verl" else "1.0", files) for name, files in STANDINS.items()]
        library = self._wheel("cudalibrary", "13.0", {"cudalibrary.py": ""})
        common = "".join(pin(wheel) for wheel in rest)
        (requirements / "uv.txt").write_text(pin(uv))
        (requirements / "manager.txt").write_text(pin(uv))
        (requirements / "training-cpu.txt").write_text(pin(*builds) + common)
        (requirements / "training-cuda.txt").write_text(pin(cuda) + common + pin(library))

    def _wheel(self, name: str, version: str, files: Mapping[str, bytes | str]) -> Path:
        return make_wheel(self.simple / name.replace("_", "-"), name, version, files)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The index over HTTP; its address."""
        handler = partial(_Quiet, directory=str(self.simple.parent))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
            server.shutdown()

    def environment(self, index: str) -> dict[str, str]:
        """A user's environment that knows this index alone."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.checkout.parent),
            "LANG": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index,
            "UV_CACHE_DIR": str(self.checkout.parent / "uv cache"),
            "PIP_RETRIES": "1",
            "UV_HTTP_RETRIES": "0",
        }


def version_json(world: World) -> bytes:
    """What an environment of its locks has to have."""
    script = str(world.checkout / "environments/versions.py")
    return subprocess.run(["python3", "-P", script], capture_output=True, check=True).stdout


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
