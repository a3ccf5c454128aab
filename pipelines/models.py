"""Recipes, and the pipelines that run them. A run of one recipe is a pipeline of one stage."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from .backtest_models import Backtest as Backtest
from .backtest_models import BacktestRun as BacktestRun
from .states import Outcome, PipelineStatus, StageStatus


class Recipe(models.Model):
    """What to train and how. Its content stands in revisions, which never change."""

    class Algorithm(models.TextChoices):
        SFT = "sft", "SFT"
        DPO = "dpo", "DPO"
        GRPO = "grpo", "GRPO"

    class Trainer(models.TextChoices):
        VERL = "verl", "verl"
        TRL = "trl", "TRL"

    class OnCritical(models.TextChoices):
        """What a critical finding does to a run."""

        STOP = "stop", _("Stop the run, which has failed")
        MARK = "mark", _("Let it run on; it has failed when it ends")
        NOTIFY = "notify", _("Only tell")

    class OnStall(models.TextChoices):
        """What happens to a run that stands still."""

        NOTIFY = "notify", _("Only tell")
        RESUME = "resume", _("End it, and go on from its last checkpoint where a try is left")
        FAIL = "fail", _("End it, which has failed")

    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="recipes")
    slug = models.SlugField(_("slug"), max_length=63, unique=True)
    name = models.CharField(_("name"), max_length=200)
    algorithm = models.CharField(_("algorithm"), max_length=8, choices=Algorithm.choices)
    trainer = models.CharField(_("trainer"), max_length=8, choices=Trainer.choices, default=Trainer.VERL)
    description = models.TextField(_("description"), blank=True)
    on_critical = models.CharField(
        _("at a critical finding"), max_length=8, choices=OnCritical.choices, default=OnCritical.STOP
    )
    on_stall = models.CharField(
        _("when a run stands still"), max_length=8, choices=OnStall.choices, default=OnStall.NOTIFY
    )
    is_template = models.BooleanField(_("built in"), default=False)
    derived_from = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="derived",
        verbose_name=_("derived from"),
    )
    created_by = models.ForeignKey("common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name


class RecipeRevision(models.Model):
    """One content of a recipe, never changed. `params` maps the trainer's dotted keys to literal values."""

    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField(_("number"))
    base_model = models.CharField(_("base model"), max_length=500)
    dataset = models.ForeignKey(
        "datasets.Dataset",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("dataset"),
    )
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    created_by = models.ForeignKey("common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["recipe_id", "-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["recipe", "number"], name="recipe_revision_number"),
        ]

    def __str__(self) -> str:
        return f"{self.recipe_id}@{self.number}"


class Queue(models.Model):
    """How many stages of one kind of work may run at a time. Dispatch locks the row."""

    name = models.CharField(_("name"), max_length=32, primary_key=True)
    priority = models.PositiveSmallIntegerField(_("priority"))
    slots = models.PositiveSmallIntegerField(_("slots"), default=1)

    class Meta:
        ordering: ClassVar = ["-priority"]

    def __str__(self) -> str:
        return self.name


class Pipeline(models.Model):
    """A graph of stages."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="pipelines")
    name = models.CharField(_("name"), max_length=200)
    description = models.TextField(_("description"), blank=True)
    status = models.CharField(
        _("status"),
        max_length=16,
        choices=[(s.value, s.value) for s in PipelineStatus],
        default=PipelineStatus.PENDING,
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"), default=5, validators=[MinValueValidator(1), MaxValueValidator(10)]
    )
    max_retries = models.PositiveSmallIntegerField(_("retries allowed"), default=0)
    retry_count = models.PositiveSmallIntegerField(_("retries used"), default=0)
    version = models.PositiveBigIntegerField(default=0, editable=False)
    error_message = models.TextField(_("error"), blank=True)
    created_by = models.ForeignKey("common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)
    # What was asked for stands, whatever the stages do meanwhile: one that ended just before leaves no other trace.
    cancel_asked_at = models.DateTimeField(_("cancelling asked for"), null=True, blank=True)
    idle_s = models.FloatField(
        _("seconds at rest"), default=0.0, help_text=_("Between an end and the retry by hand that followed it.")
    )

    class Meta:
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [models.Index(fields=["status", "-created_at"])]

    def __str__(self) -> str:
        return self.name

    @property
    def counted_from(self) -> datetime | None:
        """Where its duration begins: the start, later by the time that it lay ended before somebody retried it."""
        return None if self.started_at is None else self.started_at + timedelta(seconds=self.idle_s)


class Stage(models.Model):
    """One node of the graph. For training its uuid is the job's and the stream's too."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="stages")
    name = models.CharField(_("name"), max_length=63)
    order = models.PositiveIntegerField(_("order"), default=0)
    kind = models.CharField(_("kind"), max_length=64)
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    depends_on = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="dependants")
    queue = models.CharField(_("queue"), max_length=32)
    priority = models.PositiveSmallIntegerField(_("priority"), default=5)
    host = models.ForeignKey(
        "environments.Host",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="stages",
        verbose_name=_("host"),
        help_text=_("Empty: any host."),
    )
    # What it asks of its host, worked out when it was made: dispatch reads nothing else.
    gpus = models.PositiveSmallIntegerField(_("GPUs asked for"), default=0)
    gpu_memory_gib = models.FloatField(_("memory of each GPU in GiB"), default=0)
    labels = models.CharField(_("labels"), max_length=600, blank=True, help_text=_("In order, joined by commas."))
    timeout_s = models.PositiveIntegerField(_("timeout in seconds"), null=True, blank=True)
    max_retries = models.PositiveSmallIntegerField(_("retries allowed"), default=0)
    status = models.CharField(
        _("status"),
        max_length=16,
        choices=[(s.value, s.value) for s in StageStatus],
        default=StageStatus.PENDING,
    )
    version = models.PositiveBigIntegerField(default=0, editable=False)
    not_before = models.DateTimeField(_("not before"), null=True, blank=True)
    waiting_for = models.CharField(_("waiting for"), max_length=500, blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    error_message = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    queued_at = models.DateTimeField(_("queued"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)
    changed_at = models.DateTimeField(_("status since"), null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["pipeline_id", "order"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["pipeline", "name"], name="stage_name_in_pipeline"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "queue", "-priority", "queued_at"]),
            models.Index(fields=["host", "status"]),
        ]

    def __str__(self) -> str:
        return self.name


class Attempt(models.Model):
    """One try at a stage, made when the stage is queued. Its id is the task id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField(_("number"))
    host = models.ForeignKey(
        "environments.Host", on_delete=models.PROTECT, null=True, blank=True, related_name="attempts"
    )
    folder = models.CharField(_("folder"), max_length=1000, blank=True, help_text=_("Absolute, on the host."))
    gpus = models.JSONField(_("GPUs given"), default=list, blank=True, help_text=_("Numbers of those it was given."))
    launch_token = models.CharField(max_length=64, editable=False)
    handle = models.JSONField(_("handle"), null=True, blank=True, help_text=_("Process id, start time, boot id."))
    worker = models.CharField(_("worker"), max_length=100, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    offered_at = models.DateTimeField(
        _("offered"), null=True, blank=True, help_text=_("Before that nothing on its host can have begun it.")
    )
    stop_sent_at = models.DateTimeField(_("stop sent"), null=True, blank=True)
    created_at = models.DateTimeField(_("queued"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16, blank=True, choices=[(o.value, o.value) for o in Outcome])
    reason = models.TextField(_("reason"), blank=True)
    resumed_from_step = models.BigIntegerField(_("resumed from step"), null=True, blank=True)
    end_owed = models.BooleanField(
        _("end owed"), default=False, help_text=_("It ended while its host did not answer, which has to hear of that.")
    )
    # Of stages without a stream of metrics: what the status file said last. Empty while nobody knows.
    progress_done = models.BigIntegerField(_("done"), null=True, blank=True)
    progress_total = models.BigIntegerField(_("to do"), null=True, blank=True)
    progress_unit = models.CharField(_("unit"), max_length=32, blank=True)
    progress_at = models.DateTimeField(_("progress seen"), null=True, blank=True)
    progress_pace_s = models.FloatField(_("seconds a unit"), null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["stage_id", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stage", "number"], name="attempt_number"),
            models.UniqueConstraint(fields=["stage"], condition=models.Q(outcome=""), name="attempt_one_open_a_stage"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["host"], condition=models.Q(end_owed=True), name="attempt_end_owed"),
        ]

    def __str__(self) -> str:
        return f"{self.stage_id}#{self.number}"


class GpuLease(models.Model):
    """One GPU of a host given to one attempt: to nobody else until it is released. The record of what was used."""

    host = models.ForeignKey("environments.Host", on_delete=models.PROTECT, related_name="gpu_leases")
    index = models.PositiveSmallIntegerField(_("number"))
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="gpu_leases")
    attempt = models.ForeignKey(Attempt, on_delete=models.SET_NULL, null=True, blank=True, related_name="gpu_leases")
    taken_at = models.DateTimeField(_("taken"), auto_now_add=True)
    released_at = models.DateTimeField(_("released"), null=True, blank=True)
    seconds = models.FloatField(
        _("seconds"), default=0, help_text=_("How long the attempt really ran; known when it is released.")
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["host", "index"], condition=models.Q(released_at=None), name="gpu_lease_one_a_gpu"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["project", "released_at"])]

    def __str__(self) -> str:
        return f"{self.host_id}:{self.index}"


class Job(models.Model):
    """The training face of a stage: what was trained, on what, and with which result."""

    class Judged(models.TextChoices):
        GOOD = "good", _("good")
        BAD = "bad", _("bad")

    id = models.UUIDField(primary_key=True, editable=False)
    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, related_name="job")
    stream = models.OneToOneField("monitoring.Stream", on_delete=models.CASCADE, related_name="job")
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="jobs")
    name = models.CharField(_("name"), max_length=200)
    recipe_revision = models.ForeignKey(RecipeRevision, on_delete=models.PROTECT, related_name="jobs")
    dataset_version = models.ForeignKey(
        "datasets.DatasetVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="jobs"
    )
    overrides = models.JSONField(_("overrides"), default=dict, blank=True)
    config = models.JSONField(_("compiled configuration"), default=dict, blank=True)
    command = models.JSONField(_("command"), default=list, blank=True)
    target_step = models.PositiveBigIntegerField(_("target step"), null=True, blank=True)
    final_metrics = models.JSONField(_("final metrics"), default=dict, blank=True)
    final_step = models.BigIntegerField(_("final step"), null=True, blank=True)
    checkpoints = models.JSONField(_("checkpoints"), default=list, blank=True)
    incident = models.ForeignKey(
        "monitoring.Finding",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="runs",
        verbose_name=_("answers to"),
        help_text=_("The finding of another run that this one was started to do better than."),
    )
    forked_from = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="forks",
        verbose_name=_("began from the run"),
    )
    forked_step = models.PositiveBigIntegerField(_("began from step"), null=True, blank=True)
    forked_path = models.CharField(
        _("began from"), max_length=1000, blank=True, help_text=_("The checkpoint's folder, on its host.")
    )
    judged = models.CharField(
        _("judged"),
        max_length=4,
        choices=Judged,
        blank=True,
        help_text=_(
            "How it went, as somebody said: back-tests and learnt thresholds go by it. Empty: by how it ended."
        ),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def health_score(self) -> int | None:
        """0 to 100; None before the first step was read."""
        return self.stream.health_score


class Transition(models.Model):
    """The audit row of one change of status. Written by `transitions` alone."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="transitions")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, null=True, blank=True, related_name="transitions")
    attempt = models.PositiveIntegerField(_("attempt"), null=True, blank=True)
    from_status = models.CharField(_("from"), max_length=16)
    to_status = models.CharField(_("to"), max_length=16)
    reason = models.TextField(_("reason"), blank=True)
    actor = models.CharField(
        _("actor"), max_length=150, blank=True, help_text=_("A user name, or the part that acted.")
    )
    at = models.DateTimeField(_("at"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.from_status} -> {self.to_status}"


class ChartLayout(models.Model):
    """How somebody looks at the runs of a recipe: which metrics, and how they are drawn (see `services.charts`)."""

    user = models.ForeignKey("common.User", on_delete=models.CASCADE, related_name="+", db_index=False)
    recipe = models.ForeignKey(Recipe, on_delete=models.CASCADE, related_name="+")
    layout = models.JSONField(_("layout"), default=dict)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "recipe"], name="chart_layout_of_a_recipe")]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.recipe_id}"
