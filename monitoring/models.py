"""What is seen of a run: its stream, the segments of it (one an attempt's file), and the rows read from them."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Stream(models.Model):
    """The metrics of one training stage, over all its attempts. Shares its uuid with stage and job."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="streams")
    version = models.PositiveBigIntegerField(default=0, help_text="Grows with each sync that changed something.")
    rebased_version = models.PositiveBigIntegerField(
        default=0, help_text="Whoever read up to an older version must read the whole series again."
    )
    names = models.JSONField(_("metric names"), default=list, blank=True, help_text="Sorted.")
    warnings = models.JSONField(_("warnings"), default=list, blank=True)
    target_step = models.PositiveBigIntegerField(_("target step"), null=True, blank=True)
    last_step = models.BigIntegerField(_("last step"), null=True, blank=True)
    pace_s = models.FloatField(
        _("seconds a step"), null=True, blank=True, help_text="Mean of the latest attempt, from its first step on."
    )
    has_anomaly = models.BooleanField(_("anomaly"), default=False)
    anomaly_type = models.CharField(_("anomaly type"), max_length=64, blank=True)
    anomaly_message = models.TextField(_("anomaly message"), blank=True)
    anomaly_step = models.BigIntegerField(_("anomaly step"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    def __str__(self) -> str:
        return str(self.id)


class Segment(models.Model):
    """One attempt's metrics file, and how far it has been read."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="segments")
    attempt = models.PositiveIntegerField(_("attempt"))
    path = models.CharField(_("path"), max_length=1000, help_text="Absolute, on the host of the attempt.")
    offset = models.PositiveBigIntegerField(_("offset"), default=0)
    generation = models.PositiveIntegerField(
        _("generation"), default=0, help_text="Grows when the file was replaced or cut, and is read from 0 again."
    )
    fingerprint = models.CharField(_("fingerprint"), max_length=128, blank=True)
    skip_from = models.PositiveBigIntegerField(
        _("over-long line at"), null=True, blank=True, help_text="The offset stands inside a line that is passed over."
    )
    resumed_from = models.BigIntegerField(_("resumed from step"), null=True, blank=True)
    first_step = models.BigIntegerField(_("first step"), null=True, blank=True)
    last_step = models.BigIntegerField(_("last step"), null=True, blank=True)
    bad_lines = models.PositiveBigIntegerField(_("bad lines"), default=0)

    class Meta:
        ordering: ClassVar = ["stream_id", "attempt"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "attempt"], name="segment_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}#{self.attempt}"


class MetricRow(models.Model):
    """One step as logged: all lines of that step in one attempt's file, the last value of each metric.

    `values` is JSON {name: number}, with "NaN", "Infinity" and "-Infinity" as strings. `since` is the stream's
    version that brought the step, `version` the one that changed it last, and `late` (JSON {name: version})
    names what came after `since`: a listener that read up to a version gets exactly what is newer.
    """

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="rows", db_index=False)
    step = models.BigIntegerField(_("step"))
    time = models.FloatField(_("time"), null=True, help_text="Seconds since the epoch, by the trainer's clock.")
    values = models.BinaryField(_("values"))
    anomaly_type = models.CharField(_("anomaly type"), max_length=64, blank=True)
    anomaly_message = models.TextField(_("anomaly message"), blank=True)
    since = models.PositiveBigIntegerField()
    version = models.PositiveBigIntegerField()
    late = models.BinaryField(null=True)

    class Meta:
        ordering: ClassVar = ["segment_id", "step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "step"], name="metric_row_step"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["segment", "version"], name="metric_row_version"),
            models.Index(fields=["segment", "step"], condition=~Q(anomaly_type=""), name="metric_row_anomaly"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}@{self.step}"


class MetricBucket(models.Model):
    """What the rows of one bucket come to: at `level` k the steps [index * 4^k, (index + 1) * 4^k).

    `cells` is JSON {name: cell}, see `monitoring.store.cells`. Written in the transaction of the rows.
    """

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="buckets", db_index=False)
    level = models.PositiveSmallIntegerField(_("level"))
    index = models.BigIntegerField(_("index"))
    rows = models.PositiveBigIntegerField(_("rows"))
    cells = models.BinaryField(_("cells"))

    class Meta:
        ordering: ClassVar = ["segment_id", "level", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "level", "index"], name="metric_bucket_index"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}/{self.level}/{self.index}"


class RolloutFile(models.Model):
    """What a model answered at one step of one attempt: the figures of a file, which stays the truth.

    `samples` is None while nobody has read it. `problem` says why it could not be read; then the figures are those
    of the last time that it could.
    """

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="rollouts", db_index=False)
    step = models.BigIntegerField(_("step"))
    size = models.PositiveBigIntegerField(_("bytes"), null=True)
    samples = models.PositiveIntegerField(_("samples"), null=True)
    groups = models.PositiveIntegerField(_("groups"), null=True, help_text="Prompts that were answered.")
    reward_min = models.FloatField(_("lowest reward"), null=True, help_text="Of the rewards that are numbers.")
    reward_mean = models.FloatField(_("mean reward"), null=True)
    reward_max = models.FloatField(_("highest reward"), null=True)
    bad_lines = models.PositiveIntegerField(_("bad lines"), default=0)
    cut = models.BooleanField(_("longer than what is read"), default=False)
    problem = models.CharField(_("problem"), max_length=300, blank=True)

    class Meta:
        ordering: ClassVar = ["segment_id", "step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "step"], name="rollout_file_step"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["segment", "step"], condition=Q(samples=None, problem=""), name="rollout_file_unread"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}@{self.step}"


class BadLine(models.Model):
    """A line that could not be used: where it stands, why, and its beginning. The first hundred of a segment."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="quarantine")
    generation = models.PositiveIntegerField(_("generation"))
    offset = models.PositiveBigIntegerField(_("offset"))
    reason = models.CharField(_("reason"), max_length=200)
    excerpt = models.CharField(_("begins with"), max_length=400, blank=True)

    class Meta:
        ordering: ClassVar = ["segment_id", "generation", "offset"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "generation", "offset"], name="bad_line_offset"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}:{self.offset}"


class SystemLog(models.Model):
    """How far an attempt's samples of its machine have been read, and how finely they are kept."""

    segment = models.OneToOneField(Segment, on_delete=models.CASCADE, related_name="system")
    offset = models.PositiveBigIntegerField(_("offset"), default=0)
    inode = models.PositiveBigIntegerField(default=0)
    last_n = models.PositiveBigIntegerField(default=0, help_text="The number of the last sample that was taken in.")
    width_s = models.FloatField(_("seconds a row"), help_text="Doubles when there would be too many rows.")
    looked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.segment)


class SystemSample(models.Model):
    """What the machine did in [index * width_s, (index + 1) * width_s) of its clock, as `monitoring.system` has it."""

    log = models.ForeignKey(SystemLog, on_delete=models.CASCADE, related_name="samples", db_index=False)
    index = models.BigIntegerField(_("index"))
    samples = models.PositiveIntegerField(_("samples"))
    time = models.FloatField(_("time"), help_text="Of the last sample, seconds since the epoch by the host's clock.")
    values = models.JSONField(_("values"))

    class Meta:
        ordering: ClassVar = ["log_id", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["log", "index"], name="system_sample_index"),
        ]

    def __str__(self) -> str:
        return f"{self.log_id}@{self.index}"
