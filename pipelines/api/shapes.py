"""The JSON of pipelines, stages, jobs and tasks, to the letter of the published contract."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from pipelines.gpu_selectors import gpu_hours_of
from pipelines.kinds import asking
from pipelines.models import Attempt, Job, Pipeline, Stage, Transition
from pipelines.selectors import duration_s, pipeline_progress, stage_progress, task_state, waiting_for
from pipelines.states import PipelineStatus, StageStatus

STAGE_STATUSES = [(status.value, status.value) for status in StageStatus]
FORKED_FROM = {
    "type": "object",
    "nullable": True,
    "properties": {"job": {"type": "string", "format": "uuid"}, "step": {"type": "integer"}},
    "required": ["job", "step"],
}
PIPELINE_STATUSES = [(status.value, status.value) for status in PipelineStatus]


class ResourcesShape(serializers.Serializer[Any]):
    """What a stage asks of its host."""

    gpus = serializers.IntegerField()
    gpu_memory_gib = serializers.FloatField(help_text="The least of each GPU; 0 for any.")
    labels = serializers.ListField(child=serializers.CharField())


class AttemptShape(serializers.ModelSerializer[Attempt]):
    host: Any = serializers.SlugRelatedField("name", read_only=True, allow_null=True)
    gpus = serializers.ListField(child=serializers.IntegerField(), read_only=True, help_text="Numbers on the host.")

    class Meta:
        model = Attempt
        fields = [
            "number", "host", "gpus", "started_at", "completed_at", "exit_code", "outcome", "reason",
            "resumed_from_step",
        ]  # fmt: skip
        read_only_fields = fields


class JobShape(serializers.ModelSerializer[Job]):
    uuid = serializers.UUIDField(source="id", read_only=True)
    status = serializers.ChoiceField(STAGE_STATUSES, source="stage.status", read_only=True)
    recipe = serializers.CharField(source="recipe_revision.recipe.slug", read_only=True)
    recipe_revision = serializers.IntegerField(source="recipe_revision.number", read_only=True)
    dataset_version = serializers.SerializerMethodField()
    host = serializers.SerializerMethodField()
    resources = serializers.SerializerMethodField()
    attempts = AttemptShape(many=True, source="stage.attempts", read_only=True)
    gpu_hours = serializers.SerializerMethodField()
    started_at = serializers.DateTimeField(source="stage.started_at", read_only=True, allow_null=True)
    completed_at = serializers.DateTimeField(source="stage.completed_at", read_only=True, allow_null=True)
    duration_s = serializers.SerializerMethodField()
    target_step = serializers.SerializerMethodField()
    last_step = serializers.IntegerField(source="stream.last_step", read_only=True, allow_null=True)
    metrics_last_offset = serializers.SerializerMethodField()
    has_anomaly = serializers.BooleanField(source="stream.has_anomaly", read_only=True)
    anomaly_type = serializers.CharField(source="stream.anomaly_type", read_only=True)
    anomaly_message = serializers.CharField(source="stream.anomaly_message", read_only=True)
    error_message = serializers.CharField(source="stage.error_message", read_only=True)
    waiting_for = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    eta_s = serializers.SerializerMethodField()
    pipeline = serializers.UUIDField(source="stage.pipeline_id", read_only=True)
    stage = serializers.CharField(source="stage.name", read_only=True)
    forked_from = serializers.SerializerMethodField()
    forks: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)

    class Meta:
        model = Job
        fields = [
            "uuid", "name", "status", "recipe", "recipe_revision", "dataset_version", "host", "resources", "overrides",
            "config", "command", "attempts", "created_at", "started_at", "completed_at", "duration_s", "gpu_hours",
            "target_step",
            "last_step", "final_metrics", "final_step", "metrics_last_offset", "has_anomaly", "anomaly_type",
            "anomaly_message", "health_score", "error_message", "waiting_for", "progress", "eta_s", "checkpoints",
            "pipeline", "stage", "forked_from", "forks", "judged",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(FORKED_FROM)
    def get_forked_from(self, job: Job) -> dict[str, Any] | None:
        """The checkpoint that the run began from."""
        return {"job": str(job.forked_from_id), "step": job.forked_step} if job.forked_from_id else None

    def get_dataset_version(self, job: Job) -> str | None:
        version = job.dataset_version
        return f"{version.dataset.slug}@{version.number}" if version is not None else None

    def get_host(self, job: Job) -> str | None:
        attempts = [attempt.host for attempt in job.stage.attempts.all() if attempt.host is not None]
        host = attempts[-1] if attempts else job.stage.host
        return host.name if host is not None else None

    @extend_schema_field(ResourcesShape)
    def get_resources(self, job: Job) -> dict[str, Any]:
        return asking.of(job.stage).to_json()

    def get_gpu_hours(self, job: Job) -> float:
        """GPUs of all attempts, each for as long as it really ran."""
        return round(gpu_hours_of(job.stage), 4)

    def get_duration_s(self, job: Job) -> float | None:
        return duration_s(job.stage.started_at, job.stage.completed_at)

    def get_target_step(self, job: Job) -> int | None:
        return job.target_step or job.stream.target_step

    def get_metrics_last_offset(self, job: Job) -> int:
        """How many bytes of the latest attempt's metrics file have been read."""
        segments = list(job.stream.segments.all())
        return segments[-1].offset if segments else 0

    def get_waiting_for(self, job: Job) -> str:
        return waiting_for(job.stage)

    def get_progress(self, job: Job) -> float | None:
        return stage_progress(job.stage).fraction

    def get_eta_s(self, job: Job) -> float | None:
        return stage_progress(job.stage).eta_s


class StageShape(serializers.ModelSerializer[Stage]):
    uuid = serializers.UUIDField(source="id", read_only=True)
    task = serializers.CharField(source="kind", read_only=True)
    resources = serializers.SerializerMethodField()
    depends_on: Any = serializers.SlugRelatedField("name", many=True, read_only=True)
    task_id = serializers.SerializerMethodField()
    attempt = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    eta_s = serializers.SerializerMethodField()
    waiting_for = serializers.SerializerMethodField()
    duration_s = serializers.SerializerMethodField()
    job = serializers.SerializerMethodField()

    class Meta:
        model = Stage
        fields = [
            "uuid", "name", "order", "task", "status", "queue", "resources", "depends_on", "task_id", "attempt",
            "progress", "eta_s", "waiting_for", "result", "error_message", "created_at", "started_at", "completed_at",
            "duration_s", "job",
        ]  # fmt: skip
        read_only_fields = fields

    def _latest(self, stage: Stage) -> Attempt | None:
        attempts = list(stage.attempts.all())
        return attempts[-1] if attempts else None

    @extend_schema_field(ResourcesShape)
    def get_resources(self, stage: Stage) -> dict[str, Any]:
        return asking.of(stage).to_json()

    def get_task_id(self, stage: Stage) -> str | None:
        latest = self._latest(stage)
        return str(latest.id) if latest is not None else None

    def get_attempt(self, stage: Stage) -> int:
        latest = self._latest(stage)
        return latest.number if latest is not None else 0

    def get_progress(self, stage: Stage) -> float | None:
        return stage_progress(stage).fraction

    def get_eta_s(self, stage: Stage) -> float | None:
        return stage_progress(stage).eta_s

    def get_waiting_for(self, stage: Stage) -> str:
        return waiting_for(stage)

    def get_duration_s(self, stage: Stage) -> float | None:
        return duration_s(stage.started_at, stage.completed_at)

    def get_job(self, stage: Stage) -> str | None:
        return str(stage.id) if hasattr(stage, "job") else None


class PipelineShape(serializers.ModelSerializer[Pipeline]):
    uuid = serializers.UUIDField(source="id", read_only=True)
    project = serializers.CharField(source="project.slug", read_only=True)
    stages_total = serializers.SerializerMethodField()
    stages_completed = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    eta_s = serializers.SerializerMethodField()
    schedule = serializers.SerializerMethodField()
    duration_s = serializers.SerializerMethodField()

    class Meta:
        model = Pipeline
        fields = [
            "uuid", "name", "description", "project", "status", "priority", "max_retries", "retry_count", "progress",
            "eta_s", "stages_completed", "stages_total", "schedule", "version", "created_at", "started_at",
            "completed_at", "duration_s", "error_message",
        ]  # fmt: skip
        read_only_fields = fields

    def get_stages_total(self, pipeline: Pipeline) -> int:
        return len(pipeline.stages.all())

    def get_stages_completed(self, pipeline: Pipeline) -> int:
        return pipeline_progress(pipeline).completed

    def get_progress(self, pipeline: Pipeline) -> float | None:
        return pipeline_progress(pipeline).fraction

    def get_eta_s(self, pipeline: Pipeline) -> float | None:
        return pipeline_progress(pipeline).eta_s

    def get_schedule(self, pipeline: Pipeline) -> str | None:
        """Not started by a schedule."""
        return None

    def get_duration_s(self, pipeline: Pipeline) -> float | None:
        return duration_s(pipeline.counted_from, pipeline.completed_at)


class PipelineStatusShape(PipelineShape):
    stages = StageShape(many=True, read_only=True)

    class Meta(PipelineShape.Meta):
        fields = [*PipelineShape.Meta.fields, "stages"]
        read_only_fields = fields


class TransitionShape(serializers.ModelSerializer[Transition]):
    stage = serializers.SerializerMethodField()

    class Meta:
        model = Transition
        fields = ["stage", "attempt", "from_status", "to_status", "reason", "actor", "at"]
        read_only_fields = fields

    def get_stage(self, transition: Transition) -> str | None:
        return transition.stage.name if transition.stage is not None else None


class TaskShape(serializers.ModelSerializer[Attempt]):
    pipeline = serializers.UUIDField(source="stage.pipeline_id", read_only=True)
    stage = serializers.CharField(source="stage.name", read_only=True)
    task = serializers.CharField(source="stage.kind", read_only=True)
    queue = serializers.CharField(source="stage.queue", read_only=True)
    state = serializers.SerializerMethodField()
    host: Any = serializers.SlugRelatedField("name", read_only=True, allow_null=True)
    attempt = serializers.IntegerField(source="number", read_only=True)
    enqueued_at = serializers.DateTimeField(source="created_at", read_only=True)
    duration_s = serializers.SerializerMethodField()
    error_message = serializers.CharField(source="reason", read_only=True)

    class Meta:
        model = Attempt
        fields = [
            "id", "pipeline", "stage", "task", "queue", "state", "worker", "host", "attempt", "enqueued_at",
            "started_at", "completed_at", "duration_s", "error_message",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(STAGE_STATUSES))
    def get_state(self, attempt: Attempt) -> str:
        return task_state(attempt)

    def get_duration_s(self, attempt: Attempt) -> float | None:
        return duration_s(attempt.started_at, attempt.completed_at)


class LogShape(serializers.Serializer[Any]):
    text = serializers.CharField()
    next_offset = serializers.IntegerField(help_text="Bytes; pass it as `offset` to read on.")
    complete = serializers.BooleanField(help_text="Nothing will follow.")


class SyncShape(serializers.Serializer[Any]):
    new_steps = serializers.IntegerField()
    old_offset = serializers.IntegerField()
    new_offset = serializers.IntegerField()
    bad_lines = serializers.IntegerField()
