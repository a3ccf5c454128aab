"""What pip was told about where packages are, in uv's words: uv does not read pip's settings. Stdlib only."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PIP_TO_UV: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
INDEXES: Final = frozenset({"UV_DEFAULT_INDEX", "UV_INDEX"})


def uv_environment(python: Path) -> dict[str, str]:
    """This process's environment, and the settings of `python`'s pip translated for uv."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return {**os.environ, **translate(listed.stdout, os.environ)}


def translate(listed: str, environment: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for what `pip config list` prints. What the environment already tells uv stays.

    pip only warns of a local folder that is not there, uv stops: such are left out.
    """
    found: dict[str, str] = {}
    for line in listed.splitlines():
        match = re.match(r"(?:global|install|:env:|user|site)\.([a-z-]+)='(.*)'\Z", line.strip())
        if match is None or match.group(1) not in PIP_TO_UV:
            continue
        places = [place for place in match.group(2).replace("\\n", " ").split() if _is_there(place)]
        if match.group(1) == "extra-index-url":  # of local folders only pip makes an index
            places = [place for place in places if not place.startswith("file:")]
        name = PIP_TO_UV[match.group(1)]
        if name in INDEXES and "UV_NO_INDEX" in environment:
            continue  # uv would ask an index that is named all the same
        if places and name not in environment:
            found[name] = " ".join(places)
    return found


def _is_there(place: str) -> bool:
    path = place.removeprefix("file://")
    return Path(path).exists() if path.startswith("/") else True
