"""What is seen of a run: its stream, the segments of it (one an attempt's file), and the steps read from them."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from monitoring.diagnostics.core import Severity


class Stream(models.Model):
    """The metrics of one training stage, over all its attempts. Shares its uuid with stage and job."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="streams")
    name = models.CharField(_("name"), max_length=200, blank=True, help_text="Of the run, for whoever is told of it.")
    owner = models.ForeignKey(
        "common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    version = models.PositiveBigIntegerField(default=0, help_text="Grows with each sync that changed something.")
    rebased_version = models.PositiveBigIntegerField(
        default=0, help_text="Whoever read up to an older version must read the whole series again."
    )
    algorithm = models.CharField(_("algorithm"), max_length=8, blank=True, help_text="Decides which rules read it.")
    trainer = models.CharField(_("trainer"), max_length=8, blank=True)
    learnt = models.JSONField(
        _("learnt thresholds"),
        null=True,
        blank=True,
        help_text="{runs, rules: {rule: {runs, values}}}, as they were when the run began.",
    )
    reach = models.JSONField(
        _("reach"), null=True, blank=True, help_text="{rule: how far its figure went}; empty until that was read."
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
    health_score = models.PositiveSmallIntegerField(_("health"), null=True, blank=True, help_text="0 to 100.")
    diagnosed_version = models.PositiveBigIntegerField(default=0, help_text="The version that changed findings last.")
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
    first_time = models.FloatField(null=True, help_text="Of the first step, by the trainer's clock.")
    last_time = models.FloatField(null=True)
    rows = models.PositiveBigIntegerField(_("steps"), default=0)
    unpacked = models.PositiveIntegerField(default=0, help_text="Steps that stand as rows.")
    small = models.PositiveIntegerField(default=0, help_text="Steps that stand in chunks of tier 0.")
    tops = models.JSONField(default=list, blank=True, help_text="The last step that is in a chunk, by tier.")

    class Meta:
        ordering: ClassVar = ["stream_id", "attempt"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "attempt"], name="segment_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}#{self.attempt}"


class MetricRow(models.Model):
    """One of the latest steps, as logged: all lines of that step in one attempt's file, the last value of each metric.

    `values` is JSON {name: number}, with "NaN", "Infinity" and "-Infinity" as strings. `since` is the stream's
    version that brought the step, `version` the one that changed it last, and `late` (JSON {name: version})
    names what came after `since`: a listener that read up to a version gets exactly what is newer.
    """

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="latest_rows", db_index=False)
    step = models.BigIntegerField(_("step"))
    time = models.FloatField(_("time"), null=True, help_text="Seconds since the epoch, by the trainer's clock.")
    values = models.BinaryField(_("values"))
    since = models.PositiveBigIntegerField()
    version = models.PositiveBigIntegerField()
    late = models.BinaryField(null=True)

    class Meta:
        ordering: ClassVar = ["segment_id", "step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "step"], name="metric_row_step"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}@{self.step}"


class MetricChunk(models.Model):
    """`count` steps of a segment that follow each other, `first` to `last`; the chunks of a tier share none.

    Tiers 0 (some 256 steps) and 1 (some 4,096) hold the steps: `steps`, `times` and `since` see
    `monitoring.store.pack`, `newest` is the largest of `since`. A chunk of a higher tier stands for 16 of the tier
    below and only has what they come to, in buckets of `level` and coarser.
    """

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    tier = models.PositiveSmallIntegerField(_("tier"))
    first = models.BigIntegerField(_("first step"))
    last = models.BigIntegerField(_("last step"))
    count = models.PositiveBigIntegerField(_("steps"))
    level = models.PositiveSmallIntegerField(_("level"))
    newest = models.PositiveBigIntegerField()
    steps = models.BinaryField()
    times = models.BinaryField()
    since = models.BinaryField()

    class Meta:
        ordering: ClassVar = ["segment_id", "tier", "first"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "tier", "first"], name="metric_chunk_first"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["segment", "newest"], name="metric_chunk_newest", condition=Q(tier__lte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}/{self.tier}/{self.first}"


class MetricColumn(models.Model):
    """One metric of a chunk. `fine` and `coarse` are its buckets of the chunk's level and of one 16 times as wide
    (`monitoring.store.buckets`; tier 0 has none), `values` what was logged (`monitoring.store.pack`)."""

    chunk = models.ForeignKey(MetricChunk, on_delete=models.CASCADE, related_name="columns", db_index=False)
    name = models.CharField(_("metric"), max_length=200)
    coarse = models.BinaryField()
    fine = models.BinaryField()
    values = models.BinaryField()

    class Meta:
        ordering: ClassVar = ["chunk_id", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["chunk", "name"], name="metric_column_name"),
        ]

    def __str__(self) -> str:
        return f"{self.chunk_id}/{self.name}"


class FlaggedStep(models.Model):
    """A step that the trainer itself called out of order."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="flagged", db_index=False)
    step = models.BigIntegerField(_("step"))
    time = models.FloatField(_("time"), null=True)
    anomaly_type = models.CharField(_("anomaly type"), max_length=64)
    anomaly_message = models.TextField(_("anomaly message"), blank=True)

    class Meta:
        ordering: ClassVar = ["segment_id", "step"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["segment", "step"], name="flagged_step"),
        ]

    def __str__(self) -> str:
        return f"{self.segment_id}@{self.step}"


class KeyMetric(models.Model):
    """A first-class metric of a stream, under its own name whatever the trainer calls it (`monitoring.key_metrics`):
    the last value of the series, and the smallest and largest finite ones with their steps. Made for questions
    across runs."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="key_metrics", db_index=False)
    name = models.CharField(_("metric"), max_length=40)
    source = models.CharField(_("logged as"), max_length=200)
    last = models.FloatField(_("last"), null=True, help_text="None where the last value was no finite number.")
    last_step = models.BigIntegerField(_("last step"))
    low = models.FloatField(_("smallest"), null=True)
    low_step = models.BigIntegerField(null=True)
    high = models.FloatField(_("largest"), null=True)
    high_step = models.BigIntegerField(null=True)

    class Meta:
        ordering: ClassVar = ["stream_id", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "name"], name="key_metric_name"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["name", "last"], name="key_metric_last"),
            models.Index(fields=["name", "low"], name="key_metric_low"),
            models.Index(fields=["name", "high"], name="key_metric_high"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}/{self.name}"


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


class Diagnosis(models.Model):
    """How far the rules have read a stream, and what they remember of it.

    `state` is that of `monitoring.diagnostics.engine`. `attempt` is the one whose steps were read last. Behind: there
    are steps that have not been read. Stale: what was read has changed, and the run has to be read anew. `asked`
    grows each time that is found, so that whoever reads anew knows what came meanwhile.
    """

    class Status(models.TextChoices):
        CURRENT = "current", _("current")
        BEHIND = "behind", _("behind")
        STALE = "stale", _("stale")

    stream = models.OneToOneField(Stream, on_delete=models.CASCADE, primary_key=True, related_name="diagnosis")
    state = models.JSONField(default=dict, blank=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=1)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.CURRENT)
    asked = models.PositiveBigIntegerField(default=0)
    parts = models.JSONField(
        _("parts of the health"), default=list, blank=True, help_text="[{rule, severity, points}], heaviest first."
    )
    took_s = models.FloatField(_("seconds of the last reading"), default=0.0)
    read_at = models.DateTimeField(_("read anew"), null=True, blank=True)

    class Meta:
        verbose_name_plural = "diagnoses"

    def __str__(self) -> str:
        return str(self.stream_id)


class Finding(models.Model):
    """What a rule found in a window of steps, the worst of it. Open while it lasts.

    `value` is a number, "NaN", "Infinity", "-Infinity" or a line of the log. `code` names the rule's message and
    `params` fill it, so that it can be told in any language. Clipped: a later attempt went on from before it.
    """

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="findings", db_index=False)
    attempt = models.PositiveIntegerField(_("attempt"))
    rule = models.CharField(_("rule"), max_length=40)
    metric = models.CharField(_("metric"), max_length=200, blank=True)
    start_step = models.BigIntegerField(_("first step"))
    end_step = models.BigIntegerField(_("last step"))
    severity = models.PositiveSmallIntegerField(
        _("severity"), choices=[(severity.value, severity.word) for severity in Severity]
    )
    value = models.JSONField(_("value"), null=True)
    threshold = models.FloatField(_("threshold"), null=True)
    code = models.CharField(max_length=40)
    params = models.JSONField(default=dict, blank=True)
    open = models.BooleanField(_("open"), default=True)
    clipped = models.BooleanField(_("clipped"), default=False)
    found_at = models.DateTimeField(_("found"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-severity", "-open", "start_step", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "attempt", "rule", "metric", "start_step"], name="finding_once"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id} {self.rule}@{self.start_step}"


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
