"""What GPUs a host has, as its driver says."""

from collections.abc import Iterable

from environments import verify_env
from environments.gpus import HostGpu, written
from environments.models import Host


def refresh_local() -> None:
    """Look at this machine's GPUs; rows that were set by hand stay as they are."""
    locals_ = Host.objects.filter(kind=Host.Kind.LOCAL, gpus_by_hand=False)
    if not locals_.exists():
        return
    found = [HostGpu(gpu.index, gpu.name, gpu.memory_mb) for gpu in verify_env.find_gpus()]
    for host in locals_:
        keep(host, found)


def keep(host: Host, found: Iterable[HostGpu]) -> bool:
    """Write down what was found; True when it is news. Not where somebody said what there is."""
    gpus = written(sorted(found, key=lambda gpu: gpu.index))
    if host.gpus == gpus:
        return False
    return Host.objects.filter(pk=host.pk, gpus_by_hand=False).update(gpus=gpus) == 1
