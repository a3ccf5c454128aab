"""What a user may see of back-tests. Constant numbers of queries."""

from uuid import UUID

from django.db.models import Count, F, Q, QuerySet
from django.utils.translation import gettext as _

from platform_site.common.errors import NotFound
from platform_site.common.selectors import projects_for

from .models import Backtest, BacktestRun
from .selectors import Person


def backtests_for(user: Person) -> QuerySet[Backtest]:
    """The newest first, each with how many runs it has (`total`) and how many were read (`read`)."""
    return (
        Backtest.objects.filter(project__in=projects_for(user))
        .select_related("created_by")
        .annotate(total=Count("runs"), read=Count("runs", filter=Q(runs__found__isnull=False)))
        .order_by("-created_at", "pk")
    )


def backtest_for(user: Person, backtest_id: UUID) -> Backtest:
    found = backtests_for(user).filter(pk=backtest_id).first()
    if found is None:
        raise NotFound(_("There is no such back-test."))
    return found


def runs_of(backtest: Backtest) -> QuerySet[BacktestRun]:
    """In order, each with what was said of how its run went (`judged`)."""
    return BacktestRun.objects.filter(backtest=backtest).annotate(judged=F("job__judged")).order_by("order")
