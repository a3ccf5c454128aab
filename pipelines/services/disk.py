"""A run that a full disk ended seldom says so, its log being on the same disk: then the platform does."""

from dataclasses import replace

from django.utils.translation import gettext as _

from pipelines.kinds import Verdict
from pipelines.models import Attempt
from platform_site.common.outages import FULL_BYTES, no_space


def named(verdict: Verdict, attempt: Attempt, free: int | None) -> Verdict:
    """The verdict on a failure; `free` bytes were left on the volume of the run folder when it ended."""
    if free is None or free >= FULL_BYTES or attempt.host is None:
        return verdict
    place = _("the run folders on %(host)s") % {"host": attempt.host.name}
    return replace(verdict, reason=f"{no_space(place, free)} {verdict.reason}".strip())
