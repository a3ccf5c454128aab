"""Back-tests: the doctor's rules tried on runs that have ended."""

from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.diagnostics.backtest import Ended
from monitoring.diagnostics.core import Severity
from pipelines.backtest_selectors import backtest_for, backtests_for, runs_of
from pipelines.models import Backtest, BacktestRun, Recipe
from pipelines.services import backtests
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView

SEVERITIES: Final = [severity.word for severity in Severity]


class NewBacktest(StrictSerializer):
    name = serializers.CharField(max_length=backtests.LONGEST_NAME, required=False, allow_blank=True)
    rules = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=100, help_text="Without them, all."
    )
    limits = serializers.DictField(
        child=serializers.DictField(child=serializers.FloatField()),
        required=False,
        help_text="{rule: {limit: value}}, on top of those in force.",
    )
    learnt = serializers.BooleanField(required=False, help_text="With learnt thresholds, as each run would have had.")
    least = serializers.ChoiceField(choices=SEVERITIES, required=False, help_text="Alarms count from here on.")
    algorithm = serializers.ChoiceField(choices=Recipe.Algorithm.choices, required=False)
    recipe = serializers.CharField(max_length=63, required=False)
    jobs = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=backtests.MOST_RUNS, help_text="Without them, all."
    )
    most = serializers.IntegerField(
        min_value=1, max_value=backtests.MOST_RUNS, required=False, help_text="The newest so many; 100."
    )


class ScoreShape(serializers.Serializer[Any]):
    rule = serializers.CharField(help_text="Empty for all rules together: in each run the first to act counts.")
    fired = serializers.IntegerField(help_text="Runs of which it said anything.")
    caught = serializers.IntegerField(help_text="Of the broken runs, by alarms that count.")
    broken = serializers.IntegerField(help_text="Runs that were called bad, failed or were cancelled.")
    false_alarms = serializers.IntegerField(help_text="Of the healthy runs, by alarms that count.")
    healthy = serializers.IntegerField()
    lead_steps = serializers.FloatField(allow_null=True, help_text="Median of what was caught.")
    lead_s = serializers.FloatField(allow_null=True)
    gpu_hours = serializers.FloatField(help_text="That would have been saved.")
    cpu_hours = serializers.FloatField(help_text="The same of runs without a GPU.")


class ResultShape(serializers.Serializer[Any]):
    total = ScoreShape()
    rules = ScoreShape(many=True)


class BacktestShape(serializers.ModelSerializer[Backtest]):
    uuid = serializers.UUIDField(source="id")
    state = serializers.ChoiceField(choices=["queued", "running", "completed", "failed"])
    runs = serializers.IntegerField(source="total")
    runs_read = serializers.IntegerField(source="read")
    created_by = serializers.CharField(source="created_by.username", allow_null=True, default=None)
    result = ResultShape(allow_null=True)

    class Meta:
        model = Backtest
        fields = (
            "uuid", "name", "state", "rules", "limits", "learnt", "least", "runs", "runs_read", "steps",
            "error_message", "created_by", "created_at", "started_at", "completed_at", "result",
        )  # fmt: skip


class VerdictShape(serializers.Serializer[Any]):
    rule = serializers.CharField()
    severity = serializers.ChoiceField(choices=SEVERITIES, help_text="Of its first alarm, as step to threshold are.")
    metric = serializers.CharField()
    attempt = serializers.IntegerField()
    step = serializers.IntegerField()
    value = serializers.JSONField(help_text="A number, or NaN, Infinity, -Infinity.")
    threshold = serializers.FloatField(allow_null=True)
    acted_step = serializers.IntegerField(allow_null=True, help_text="Of the first alarm that counts.")
    acted_severity = serializers.CharField()
    lead_steps = serializers.IntegerField(help_text="From the alarm that counts, else the first, to the end.")
    lead_s = serializers.FloatField(allow_null=True)
    false_alarm = serializers.BooleanField()
    gpu_hours = serializers.FloatField(help_text="After the alarm that counts: saved where the run did not end well.")
    cpu_hours = serializers.FloatField()


class BacktestRunShape(serializers.ModelSerializer[BacktestRun]):
    job = serializers.UUIDField(source="job_id", allow_null=True, help_text="null once it was deleted.")
    ended = serializers.ChoiceField(choices=[ended.value for ended in Ended], allow_blank=True)
    found = VerdictShape(many=True, allow_null=True, help_text="null until it was read.")

    class Meta:
        model = BacktestRun
        fields = ("job", "name", "algorithm", "ended", "steps", "seconds", "found")


class Backtests(ApiListView):
    serializer_class = BacktestShape
    ordering_fields = ["created_at"]
    queryset = Backtest.objects.none()

    def get_queryset(self) -> QuerySet[Backtest]:
        return backtests_for(self.request.user)

    @extend_schema(request=NewBacktest, responses={201: BacktestShape})
    def post(self, request: Request) -> Response:
        """Try rules on past runs. A worker reads them; the answer says what was asked for."""
        wanted = NewBacktest(data=request.data)
        wanted.is_valid(raise_exception=True)
        made = backtests.create(backtests.Asked(**wanted.validated_data), signed_in(request))
        return Response(BacktestShape(backtest_for(request.user, made.pk)).data, status=status.HTTP_201_CREATED)


class BacktestDetail(ApiDetailView):
    serializer_class = BacktestShape

    def get(self, request: Request, backtest_id: UUID) -> Response:
        return Response(BacktestShape(backtest_for(request.user, backtest_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, backtest_id: UUID) -> Response:
        backtests.delete(backtest_for(request.user, backtest_id), signed_in(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class BacktestRuns(ApiListView):
    """Its runs, in order, each with what the rules would have said."""

    serializer_class = BacktestRunShape
    queryset = BacktestRun.objects.none()

    def get_queryset(self) -> QuerySet[BacktestRun]:
        return runs_of(backtest_for(self.request.user, self.kwargs["backtest_id"]))
