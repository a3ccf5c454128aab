"""A host as `pipelines.placement` sees it, and what it lacks in words."""

from django.utils.translation import gettext as _

from environments import gpus, training
from environments.models import Host
from pipelines.gpu_selectors import needed
from pipelines.placement import Ask, Gpu, Room, Waits, Why


def room_of(host: Host, environment: training.TrainingState, busy: int = 0) -> Room:
    """With no GPU leased."""
    found = tuple(Gpu(gpu.index, gpu.memory_mib, gpu.name) for gpu in gpus.read(host.gpus))
    return Room(
        host.name,
        host.slots,
        busy,
        gpus=found,
        labels=frozenset(host.labels),
        reachable=host.unreachable_since is None,
        ready=environment.ready,
        cuda=not found or not training.for_processors_alone(environment),
    )


def told(ask: Ask, waits: Waits) -> str:
    """What is waited for, where that is no free slot and no training environment."""
    values = {"needed": needed(ask.gpus, ask.memory_gib), "host": waits.host, "have": waits.have}
    match waits.why:
        case Why.NO_HOST:
            return _("no host is enabled")
        case Why.LABELS:
            return _("needs a host with these labels: %(labels)s") % {"labels": ", ".join(sorted(ask.labels))}
        case Why.NO_GPUS:
            return _("needs %(needed)s, %(host)s has none") % values
        case Why.TOO_FEW:
            return _("needs %(needed)s, %(host)s has %(have)s that would do") % values
        case Why.GPUS_BUSY:
            return _("needs %(needed)s, %(host)s has %(have)s free") % values
        case Why.GPUS_KEPT:
            return _("needs %(needed)s, %(host)s keeps those that are free for who has waited longer") % values
        case Why.NO_CUDA:
            return (
                _(
                    "needs %(needed)s, and the training environment of %(host)s is for processors alone: set it up "
                    "with --cuda"
                )
                % values
            )
        case _:
            return _("host %(host)s does not answer") % values
