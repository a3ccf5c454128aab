"""Back-tests: the list, the form, one of them."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from monitoring.diagnostics.core import Severity
from monitoring.diagnostics.rules import RULES
from monitoring.told import rule_title, severity_label
from platform_site.common.errors import PlatformError
from platform_site.common.pages import may_operate, needs, visitor
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from ..backtest_form import BacktestForm
from ..backtest_selectors import backtest_for, backtests_for, runs_of
from ..models import BacktestRun, Recipe
from ..services import backtests as services

PAGE_SIZE: Final = 25


@require_GET
@needs(Role.VIEWER)
def backtests(request: HttpRequest) -> HttpResponse:
    page = Paginator(backtests_for(request.user), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "backtests/list.html", {"page": page, "can_operate": may_operate(request)})


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def new_backtest(request: HttpRequest) -> HttpResponse:
    """`?recipe=` is chosen already."""
    used = Recipe.objects.filter(project__in=projects_for(request.user), revisions__jobs__isnull=False)
    recipes = list(used.order_by("slug").values_list("slug", flat=True).distinct())
    if request.method != "POST":
        form = BacktestForm(recipes=recipes, initial={"recipe": request.GET.get("recipe", "")})
        return _form(request, form)
    form = BacktestForm(request.POST, recipes=recipes)
    if form.is_valid():
        try:
            made = services.create(form.asked(), visitor(request))
        except PlatformError as error:
            form.tell(error)
        else:
            return redirect("backtest", backtest_id=made.pk)
    return _form(request, form, status=422)


def _form(request: HttpRequest, form: BacktestForm, *, status: int = 200) -> HttpResponse:
    known = [(rule_title(name), name, RULES[name].limits) for name in services.REPLAYED if RULES[name].limits]
    return render(request, "backtests/new.html", {"form": form, "known": known}, status=status)


@dataclass(frozen=True)
class Said:
    """What a rule said of a run, in the reader's language."""

    title: str
    severity: str
    label: str
    verdict: dict[str, Any]

    @classmethod
    def of(cls, verdict: dict[str, Any]) -> "Said":
        word = verdict["acted_severity"] or verdict["severity"]
        return cls(rule_title(verdict["rule"]), word, severity_label(Severity.of(word)), verdict)


@require_GET
@needs(Role.VIEWER)
def backtest(request: HttpRequest, backtest_id: UUID) -> HttpResponse:
    found = backtest_for(request.user, backtest_id)
    page = Paginator(runs_of(found), PAGE_SIZE).get_page(request.GET.get("page"))
    result = found.result or {}
    return render(
        request,
        "backtests/detail.html",
        {
            "backtest": found,
            "page": page,
            "rows": [(run, _said(run)) for run in page.object_list],
            "total": result.get("total"),
            "scores": [(rule_title(one["rule"]), one) for one in result.get("rules", [])],
            "least": severity_label(Severity.of(found.least)),
            "all_rules": len(found.rules) == len(services.REPLAYED),
            "rules": [rule_title(name) for name in found.rules],
            "limits": [
                (f"{rule}.{name}", value, RULES[rule].limits.get(name, "–") if rule in RULES else "–")
                for rule, limits in found.limits.items()
                for name, value in limits.items()
            ],
            "can_operate": may_operate(request),
        },
    )


def _said(run: BacktestRun) -> list[Said]:
    return [Said.of(verdict) for verdict in run.found or []]


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def delete_backtest(request: HttpRequest, backtest_id: UUID) -> HttpResponse:
    """GET asks, for those without a script; POST does it."""
    found = backtest_for(request.user, backtest_id)
    if request.method == "POST":
        services.delete(found, visitor(request))
        return redirect("backtests")
    return render(request, "backtests/delete.html", {"backtest": found})
