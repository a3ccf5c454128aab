"""GPUs and labels of a host, as its row keeps them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from platform_site.common.labels import is_label

MOST: Final = 1024


@dataclass(frozen=True)
class HostGpu:
    """`index` counts as the driver does, in the order of the bus; `memory_mib` is 0 where nobody knows it."""

    index: int
    name: str = ""
    memory_mib: int = 0


def read(value: Iterable[dict[str, Any]]) -> list[HostGpu]:
    """Of a row that was validated, by number."""
    found = [HostGpu(int(one["index"]), str(one.get("name", "")), int(one.get("memory_mib") or 0)) for one in value]
    return sorted(found, key=lambda gpu: gpu.index)


def written(gpus: Iterable[HostGpu]) -> list[dict[str, Any]]:
    return [asdict(gpu) for gpu in gpus]


def validate_gpus(value: Any) -> None:
    """Raises ValidationError."""
    if not isinstance(value, list) or len(value) > MOST or not all(_is_gpu(one) for one in value):
        raise ValidationError(_('A list such as [{"index": 0, "name": "H100", "memory_mib": 81559}] is needed.'))
    if len({one["index"] for one in value}) < len(value):
        raise ValidationError(_("Two GPUs have the same index."))


def _is_gpu(one: Any) -> bool:
    if not isinstance(one, dict) or not one.keys() <= {"index", "name", "memory_mib"}:
        return False
    return (
        _is_count(one.get("index"), MOST - 1)
        and _is_count(one.get("memory_mib", 0), 1 << 32)
        and isinstance(one.get("name", ""), str)
        and len(one.get("name", "")) <= 200
    )


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def validate_labels(value: Any) -> None:
    """Raises ValidationError."""
    if not isinstance(value, list) or not all(map(is_label, value)):
        raise ValidationError(_("A list of words of small letters, digits, - _ and dots is needed."))
