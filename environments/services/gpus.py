"""What GPUs a host has, as its driver says."""

from collections.abc import Iterable

from environments.gpus import HostGpu, written
from environments.models import Host


def keep(host: Host, found: Iterable[HostGpu]) -> bool:
    """Write down what was found; True when it is news. Not where somebody said what there is."""
    gpus = written(sorted(found, key=lambda gpu: gpu.index))
    if host.gpus == gpus:
        return False
    return Host.objects.filter(pk=host.pk, gpus_by_hand=False).update(gpus=gpus) == 1
