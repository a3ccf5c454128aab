"""Back-tests: rules tried on past runs, and what came of each."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Backtest(models.Model):
    """What was asked for, how far it is, and, once `completed_at` is there, what came of it.

    `rules` are names, in order. `limits` is {rule: {limit: value}}, on top of those in force. `least` is the severity
    from which an alarm would end a run. `result` is {total: score, rules: [score]} (`monitoring.diagnostics.backtest`).
    Whoever works on it holds `lease_until`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="backtests")
    name = models.CharField(_("name"), max_length=100, blank=True)
    rules = models.JSONField(_("rules"), default=list)
    limits = models.JSONField(_("limits"), default=dict, blank=True)
    learnt = models.BooleanField(_("with learnt thresholds"), default=True)
    least = models.CharField(_("alarms count from"), max_length=8, default="error")
    error_message = models.TextField(_("error"), blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    steps = models.PositiveBigIntegerField(_("steps read"), default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey("common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["lease_until"], condition=models.Q(completed_at=None), name="backtest_lease")
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def state(self) -> str:
        """In the words of a stage's status."""
        if self.completed_at is not None:
            return "failed" if self.error_message else "completed"
        return "queued" if self.started_at is None else "running"


class BacktestRun(models.Model):
    """One run of a back-test. `found` is None until it was read; then a verdict for each rule that said something.

    The name stays when the run is deleted.
    """

    backtest = models.ForeignKey(Backtest, on_delete=models.CASCADE, related_name="runs")
    job = models.ForeignKey("Job", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    order = models.PositiveIntegerField(_("order"))
    name = models.CharField(_("name"), max_length=200)
    algorithm = models.CharField(_("algorithm"), max_length=8, blank=True)
    ended = models.CharField(_("ended"), max_length=16, blank=True)
    steps = models.PositiveBigIntegerField(_("steps"), default=0)
    seconds = models.FloatField(_("seconds"), default=0)
    found = models.JSONField(_("found"), null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["backtest_id", "order"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["backtest", "order"], name="backtest_run_order")]

    def __str__(self) -> str:
        return self.name
