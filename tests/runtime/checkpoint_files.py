"""Checkpoints as trainers leave them, in small."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest


class Bomb:
    """Goes off when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a checkpoint was unpickled",))


def write_shard(path: Path) -> None:
    """The shape of what torch.save writes: a zip archive, stored, with a pickle and the tensors' bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/data/0", b"\1" * 4000)
        archive.writestr("archive/data/1", b"\2" * 4000)
        archive.writestr("archive/version", b"3\n")


def write_safetensors(path: Path, size: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def write_step(root: Path, step: int, *, world: int = 2, role: str = "") -> Path:
    folder = root / f"global_step_{step}"
    for kind in ("model", "optim", "extra_state"):
        for rank in range(world):
            write_shard(folder / role / f"{kind}_world_size_{world}_rank_{rank}.pt")
    write_shard(folder / "data_0.pt")
    (folder / role / "huggingface").mkdir()
    (folder / role / "huggingface" / "config.json").write_text("{}")
    return folder


def write_transformers_step(root: Path, step: int, *, weights: str = "model.safetensors", ranks: int = 1) -> Path:
    """What a trainer of transformers leaves: everything side by side."""
    folder = root / f"global_step_{step}"
    write_safetensors(folder / weights)
    states = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in ("optimizer.pt", "scheduler.pt", *states):
        write_shard(folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder
