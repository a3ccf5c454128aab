"""Shows the platform that a machine of a Ray cluster sees its folder. Stdlib, and Ray where it is installed.

`python -P shared_folder.py FOLDER` reads `nonce` there and writes `answer`: the digest of the nonce, which Python this
is, who it runs as, and the GPUs that the cluster has altogether.
"""

import hashlib
import json
import os
import platform
import sys
from typing import Any, Final

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from platform_runtime import files

NONCE: Final = "nonce"
ANSWER: Final = "answer"
_TYPE: Final = "accelerator_type:"


def digest(nonce: bytes) -> str:
    return hashlib.sha256(nonce).hexdigest()


def answer(folder: str) -> dict[str, Any]:
    """Raises OSError where the folder is not shared, or is another user's."""
    with open(os.path.join(folder, NONCE), "rb") as file:
        nonce = file.read(1024)
    return {"digest": digest(nonce), "python": platform.python_version(), "uid": os.getuid(), **cluster()}


def cluster() -> dict[str, Any]:
    """`ray`: its version; `gpus` and `gpu_name` of the whole cluster."""
    import ray  # noqa: PLC0415 - of the cluster's environment; nothing else here needs it

    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    try:
        found = ray.cluster_resources()
    finally:
        ray.shutdown()
    name = next((key.removeprefix(_TYPE) for key in sorted(found) if key.startswith(_TYPE)), "")
    return {"ray": ray.__version__, "gpus": int(found.get("GPU", 0)), "gpu_name": name}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: shared_folder.py FOLDER\n")
        return 2
    files.replace(os.path.join(arguments[0], ANSWER), json.dumps(answer(arguments[0])).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
