"""The line of a log that says why a run failed."""

import pytest

from pipelines.kinds.logs import last_error

WHY = "ValueError: sequence_length=85 is larger than self.max_length=4"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (f"step 1\nTraceback (most recent call last):\n  raise ValueError\n{WHY}\n", WHY),
        # As torch writes it, of the first process of several.
        (f"[rank0]: Traceback (most recent call last):\n[rank0]:     raise ValueError(\n[rank0]: {WHY}\n\n", WHY),
        (f"[rank12]: {WHY}\n[rank12]:[W1] process group was not destroyed\n", WHY),
        ("[rank0]: Traceback (most recent call last):\nall went well: Error\n", ""),
        ("", ""),
    ],
    ids=["plain", "of a rank", "followed by a warning", "no error", "nothing"],
)
def test_the_last_error_is_found(log: str, said: str) -> None:
    assert last_error(log) == said
