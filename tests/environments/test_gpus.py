"""A host knows its GPUs: as the driver says, or as somebody who knows better said."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from environments.gpus import validate_gpus, validate_labels
from environments.models import Host
from environments.services.hosts import check
from pipelines.services.builtin import install
from tests.pipelines import builders

pytestmark = pytest.mark.django_db

H100 = {"index": 0, "name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559}


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int = 0) -> None:
    """An nvidia-smi on the PATH that answers this."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_this_machine_is_looked_at_when_the_platform_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(
        tmp_path,
        monkeypatch,
        "NVIDIA L4, 23034, 570.1, 1\nNVIDIA H100 80GB HBM3, 81559, 570.1, 0\nOdd card, [N/A], 570.1, 2",
    )
    install()
    host = Host.objects.get()
    assert host.facts["cpus"] >= 1
    assert host.facts_at is not None
    assert host.gpus == [
        H100,
        {"index": 1, "name": "NVIDIA L4", "memory_mib": 23034},
        {"index": 2, "name": "Odd card", "memory_mib": 0},
    ]


def test_gpus_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = builders.host(gpus=[H100])
    driver(tmp_path, monkeypatch, "NVIDIA-SMI has failed", 9)
    check(host)
    assert Host.objects.get().gpus == []


def test_what_was_set_by_hand_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = builders.host(gpus=[H100], gpus_by_hand=True)
    driver(tmp_path, monkeypatch, "NVIDIA L4, 23034, 570.1, 0")
    check(host)
    assert Host.objects.get().gpus == [H100]


@pytest.mark.parametrize(
    "value",
    [None, {}, "2", [1], [{}], [{"index": -1}], [{"index": True}], [{"index": 0, "memory": 1}], [H100, H100],
     [{"index": 0, "name": 5}]],
)  # fmt: skip
def test_what_is_no_list_of_gpus_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        validate_gpus(value)
    validate_gpus([H100, {"index": 3}])


@pytest.mark.parametrize("value", [None, "fast", ["Fast"], ["a b"], ["a,b"], [1], [""]])
def test_what_is_no_list_of_labels_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        validate_labels(value)
    validate_labels(["fast", "h100.80gb"])
