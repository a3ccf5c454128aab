"""Lines as a trainer writes them."""

import json
from pathlib import Path


def line(step: int, /, *, anomaly: dict[str, str] | None = None, time: float = 1.5, **metrics: object) -> bytes:
    body: dict[str, object] = {"v": 1, "step": step, "time": time, "metrics": metrics or {"loss": step / 10}}
    if anomaly:
        body["anomaly"] = anomaly
    return json.dumps(body).encode() + b"\n"


def append(path: Path, *data: bytes) -> None:
    with path.open("ab") as file:
        for piece in data:
            file.write(piece)
