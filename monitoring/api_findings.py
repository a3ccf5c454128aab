"""What the doctor finds, over HTTP. A job and its stream share one uuid."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import finding_selectors, selectors
from monitoring.diagnostics.learning import Origin
from monitoring.models import Stream
from monitoring.services import checkups
from monitoring.thresholds import thresholds_of
from monitoring.told import Told
from platform_site.common.api.filters import refuse_unknown
from platform_site.common.api.views import ApiView
from platform_site.common.errors import NotFound

SEVERITIES: Final = ("info", "warning", "error", "critical")
_RUNS: Final = "Healthy runs that it was learnt from; of a default that could be learnt, those that there were."
_CHANGE: Final = inline_serializer(
    "SuggestedChange",
    {
        "parameter": serializers.CharField(help_text="The recipe's key."),
        "times": serializers.FloatField(allow_null=True, help_text="Multiply what it is by this,"),
        "to": serializers.JSONField(allow_null=True, help_text="or set it to that."),
    },
    many=True,
)
FINDING: Final = inline_serializer(
    "Finding",
    {
        "rule": serializers.CharField(),
        "severity": serializers.ChoiceField(choices=SEVERITIES),
        "metric": serializers.CharField(help_text="Empty for what is no metric's: the log, or time."),
        "attempt": serializers.IntegerField(),
        "start_step": serializers.IntegerField(),
        "end_step": serializers.IntegerField(),
        "open": serializers.BooleanField(help_text="It lasts."),
        "value": serializers.JSONField(help_text="A number, or NaN, Infinity, -Infinity, or a line of the log."),
        "threshold": serializers.FloatField(allow_null=True),
        "threshold_from": serializers.ChoiceField(
            choices=[origin.value for origin in Origin], allow_null=True, help_text="null without a threshold."
        ),
        "threshold_runs": serializers.IntegerField(allow_null=True, help_text=_RUNS),
        "title": serializers.CharField(),
        "message": serializers.CharField(),
        "why": serializers.CharField(),
        "advice": serializers.ListField(child=serializers.CharField()),
        "changes": _CHANGE,
        "lines": serializers.ListField(child=serializers.CharField(), help_text="Of the log, as evidence."),
    },
    many=True,
)
_FINDINGS: Final = inline_serializer("Findings", {"count": serializers.IntegerField(), "results": FINDING})
_PART: Final = inline_serializer(
    "HealthPart",
    {
        "rule": serializers.CharField(),
        "severity": serializers.ChoiceField(choices=SEVERITIES),
        "points": serializers.IntegerField(help_text="What it takes off 100."),
    },
    many=True,
)
_HEALTH: Final = inline_serializer(
    "Health",
    {
        "score": serializers.IntegerField(allow_null=True, help_text="0 to 100; null before the first step."),
        "grade": serializers.CharField(help_text="A to F; empty without a score."),
        "parts": _PART,
    },
)
_THRESHOLDS: Final = inline_serializer(
    "Thresholds",
    {
        "results": inline_serializer(
            "Threshold",
            {
                "rule": serializers.CharField(),
                "limit": serializers.CharField(),
                "value": serializers.FloatField(),
                "from": serializers.ChoiceField(choices=[origin.value for origin in Origin]),
                "runs": serializers.IntegerField(allow_null=True, help_text=_RUNS),
            },
            many=True,
        )
    },
)
_QUEUED: Final = inline_serializer("DiagnosesQueued", {"queued": serializers.IntegerField()})


def _stream(request: Request, job: UUID) -> Stream:
    """Raises NotFound for what this user may not see."""
    found = selectors.streams_for(request.user).filter(pk=job).first()
    if found is None:
        raise NotFound(_("There is no such run."))
    return found


def _shown(findings: Sequence[Told], more: int) -> dict[str, Any]:
    return {
        "count": len(findings) + more,
        "results": [
            {
                "rule": one.finding.rule,
                "severity": one.severity,
                "metric": one.finding.metric,
                "attempt": one.finding.attempt,
                "start_step": one.finding.start_step,
                "end_step": one.finding.end_step,
                "open": one.finding.open,
                "value": one.finding.value,
                "threshold": one.finding.threshold,
                "threshold_from": one.source.origin if one.source else None,
                "threshold_runs": one.source.runs if one.source else None,
                "title": one.title,
                "message": one.message,
                "why": one.why,
                "advice": [advice.text for advice in one.advice],
                "changes": [
                    {"parameter": advice.parameter, "times": advice.times, "to": advice.to}
                    for advice in one.advice
                    if advice.changes
                ],
                "lines": list(one.lines),
            }
            for one in findings
        ],
    }


class Detected(ApiView):
    @extend_schema(operation_id="monitoring_anomalies_detected", responses=_FINDINGS)
    def get(self, request: Request, job: UUID) -> Response:
        """What the rules found, worst first, a hundred at most; `count` says how many there are."""
        refuse_unknown(request.query_params, {"format"})
        found = finding_selectors.checkup(_stream(request, job))
        return Response(_shown(found.findings, found.more))


class Diagnose(ApiView):
    # Whatever was found is found again, and nothing twice.
    naturally_idempotent = True

    @extend_schema(operation_id="monitoring_diagnose", request=None, responses={200: _FINDINGS, 202: _FINDINGS})
    def post(self, request: Request, job: UUID) -> Response:
        """Read the whole run anew. 202 with what was known where a worker does it, as it takes long."""
        stream = _stream(request, job)
        done = checkups.diagnose_now(stream)
        found = finding_selectors.checkup(_stream(request, job))
        code = status.HTTP_200_OK if done else status.HTTP_202_ACCEPTED
        return Response(_shown(found.findings, found.more), status=code)


class DiagnoseAll(ApiView):
    naturally_idempotent = True

    @extend_schema(operation_id="monitoring_diagnose_all", request=None, responses={202: _QUEUED})
    def post(self, request: Request) -> Response:
        """Have a worker read every run anew."""
        return Response({"queued": checkups.diagnose_all(request.user)}, status=status.HTTP_202_ACCEPTED)


class HealthView(ApiView):
    @extend_schema(operation_id="monitoring_health", responses=_HEALTH)
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"format"})
        found = finding_selectors.checkup(_stream(request, job))
        parts = [{"rule": part.rule, "severity": part.severity, "points": part.points} for part in found.parts]
        return Response({"score": found.score, "grade": found.grade, "parts": parts})


class Thresholds(ApiView):
    @extend_schema(operation_id="monitoring_thresholds", responses=_THRESHOLDS)
    def get(self, request: Request, job: UUID) -> Response:
        """The limits by which a run is judged: fixed when it began."""
        refuse_unknown(request.query_params, {"format"})
        found = thresholds_of(_stream(request, job))
        return Response(
            {
                "results": [
                    {
                        "rule": one.rule,
                        "limit": one.limit,
                        "value": one.value,
                        "from": one.source.origin,
                        "runs": one.source.runs,
                    }
                    for one in found
                ]
            }
        )


urlpatterns = [
    path("monitoring/diagnose-all/", DiagnoseAll.as_view()),
    path("monitoring/<uuid:job>/diagnose/", Diagnose.as_view()),
    path("monitoring/<uuid:job>/anomalies/detected/", Detected.as_view()),
    path("monitoring/<uuid:job>/health/", HealthView.as_view()),
    path("monitoring/<uuid:job>/thresholds/", Thresholds.as_view()),
]
