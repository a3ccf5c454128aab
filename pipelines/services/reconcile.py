"""One pass over everything, when somebody asks for it: look at each host, bring each pipeline on, check the books."""

from environments.models import Host
from pipelines.models import Attempt
from pipelines.services.dispatch import dispatch
from pipelines.services.integrity import check
from pipelines.services.observe import observe_host, open_attempts


def reconcile() -> list[str]:
    """What it changed or found wrong, one sentence each."""
    before = {attempt.pk: attempt.stage.status for attempt in open_attempts()}
    Host.objects.update(retry_at=None)
    for host_id in Host.objects.values_list("pk", flat=True):
        observe_host(host_id)
    changed = [
        f"stage {attempt.stage_id}: {before[attempt.pk]} -> {attempt.stage.status}"
        for attempt in Attempt.objects.select_related("stage").filter(pk__in=before)
        if attempt.stage.status != before[attempt.pk]
    ]
    changed += check()
    if started := dispatch():
        changed.append(f"{started} stages started")
    return changed
