"""Whether a checkpoint can be loaded, told without loading it: nothing here unpickles. Stdlib only.

verl writes `global_step_<n>/` with one file a rank and kind, `model_world_size_<w>_rank_<r>.pt` (also `optim`
and `extra_state`), for PPO and GRPO one level deeper in `actor/` and `critic/`, and at last `data.pt` or
`data_<rank>.pt` (verl/utils/checkpoint/checkpoint_handler.py, verl/trainer/ppo/v1/trainer_base.py). A `.pt` file is a
zip archive whose directory stands at its end, so a file cut short has none. Weights in safetensors begin with a header
that says how long the file must be.

Trainers built on transformers, such as TRL's, write weights or an adapter, optimizer, scheduler and random state side
by side, and `trainer_state.json` last of all (transformers/trainer.py, _save_checkpoint).
"""

import json
import os
import re
import struct
import zipfile
from collections.abc import Iterator

from platform_runtime.contract import CheckpointInfo

_STEP = re.compile(r"global_step_(\d+)")
_SHARD = re.compile(r"(model|optim|extra_state)_world_size_(\d+)_rank_(\d+)\.pt")
_DATA = re.compile(r"data(_\d+)?\.pt")
_ROLES = ("actor", "critic")
_INDEX = "model.safetensors.index.json"
_STATE = "trainer_state.json"
_RESUMED = re.compile(r"optimizer\.pt|scheduler\.pt|scaler\.pt|rng_state(_\d+)?\.pth")
_LOCAL_HEADER = b"PK\x03\x04"
_MAX_HEADER = 100_000_000
"""The longest safetensors header that its own library accepts, bytes."""


class BadCheckpointError(Exception):
    """Cannot be loaded. The message says which file and why."""


def steps(folder: str) -> list[int]:
    """The steps with a folder below `folder`, newest first; none when there is no such folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    matches = (_STEP.fullmatch(name) for name in names)
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def folder_name(step: int) -> str:
    """As verl names it; checkpoints of other trainers are given the same."""
    return f"global_step_{step}"


def survey(folder: str) -> CheckpointInfo:
    """The latest step that can be loaded, and whether it is the newest one that was written."""
    found = steps(folder)
    if not found:
        return CheckpointInfo(None, False, "no checkpoint was written")
    faults = []
    for step in found:
        try:
            verify(os.path.join(folder, folder_name(step)))
        except BadCheckpointError as fault:
            faults.append(f"step {step}: {fault}"[:300])
        else:
            return CheckpointInfo(step, not faults, "; ".join(faults[:3]))
    return CheckpointInfo(None, False, "; ".join(faults[:3]))


def verify(folder: str) -> None:
    """Check one `global_step_<n>` folder. Raises BadCheckpointError.

    Reads directories and headers alone: a few kilobytes a file, whatever the size of the model.
    """
    if any(True for _ in _weights(folder)) or os.path.lexists(os.path.join(folder, _STATE)):
        _verify_transformers(folder)
        return
    parts = [os.path.join(folder, role) for role in _ROLES]
    for part in [part for part in parts if os.path.isdir(part)] or [folder]:
        _verify_part(part)
    states = sorted(name for name in os.listdir(folder) if _DATA.fullmatch(name))
    if not states:
        raise BadCheckpointError("is not finished: the state of the data is not there")
    for name in states:
        _verify_zip(os.path.join(folder, name))


def _verify_part(folder: str) -> None:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise BadCheckpointError(f"{os.path.basename(folder)}: {error.strerror}") from error
    ranks: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if shard := _SHARD.fullmatch(name):
            ranks.setdefault((shard[1], int(shard[2])), set()).add(int(shard[3]))
            _verify_zip(os.path.join(folder, name))
    whole = os.path.join(folder, "huggingface")
    has_weights = any(True for _ in _weights(whole))
    if not has_weights and not any(kind == "model" for kind, _ in ranks):
        raise BadCheckpointError("holds no weights")
    if len({size for _, size in ranks}) > 1:
        raise BadCheckpointError("mixes files of different world sizes")
    for (kind, size), present in sorted(ranks.items()):
        if missing := sorted(set(range(size)) - present):
            raise BadCheckpointError(f"{kind}: no file of rank {', '.join(map(str, missing))} of {size}")
    _verify_weights(whole)


def _verify_transformers(folder: str) -> None:
    try:
        with open(os.path.join(folder, _STATE), "rb") as file:
            step = json.load(file)["global_step"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadCheckpointError(f"{_STATE} cannot be read: {error}") from error
    if folder_name(step) != os.path.basename(os.path.abspath(folder)):
        raise BadCheckpointError(f"{_STATE} is of step {step}")
    names = set(os.listdir(folder))
    for name in sorted({"optimizer.pt", "scheduler.pt"} - names):
        raise BadCheckpointError(f"{name} is not there")
    for name in sorted(name for name in names if _RESUMED.fullmatch(name)):
        _verify_zip(os.path.join(folder, name))
    if not any(True for _ in _weights(folder)):
        raise BadCheckpointError("holds no weights")
    _verify_weights(folder)


def _verify_weights(folder: str) -> None:
    for path in _weights(folder):
        _verify_safetensors(path)
    _verify_index(folder)


def _weights(folder: str) -> Iterator[str]:
    if os.path.isdir(folder):
        names = sorted(os.listdir(folder))
        yield from (os.path.join(folder, name) for name in names if name.endswith(".safetensors"))


def _verify_index(folder: str) -> None:
    try:
        with open(os.path.join(folder, _INDEX), "rb") as file:
            wanted = set(json.load(file)["weight_map"].values())
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadCheckpointError(f"{_INDEX} cannot be read: {error}") from error
    missing = sorted(str(name) for name in wanted if not os.path.isfile(os.path.join(folder, str(name))))
    if missing:
        raise BadCheckpointError(f"{_INDEX} names {missing[0]}, which is not there")


def _verify_zip(path: str) -> None:
    """Directory at the end, and every member beginning where the directory says, inside the file."""
    name = os.path.basename(path)
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            members = archive.infolist()
            for member in members:
                if member.header_offset + member.compress_size > size:
                    raise BadCheckpointError(f"{name}: {member.filename} ends outside the file")
                file.seek(member.header_offset)
                if file.read(4) != _LOCAL_HEADER:
                    raise BadCheckpointError(f"{name}: {member.filename} is not where it should be")
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise BadCheckpointError(f"{name}: {error}") from error
    if not any(member.filename.endswith("data.pkl") for member in members):
        raise BadCheckpointError(f"{name}: holds no tensors' index")


def _verify_safetensors(path: str) -> None:
    """Eight bytes of length, a JSON header of that length, then exactly the bytes that the header tells of."""
    name = os.path.basename(path)
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise BadCheckpointError(f"{name}: is cut short")
            header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise BadCheckpointError(f"{name}: {error}") from error
    if 8 + length + max(ends, default=0) != size:
        raise BadCheckpointError(f"{name}: is cut short")
