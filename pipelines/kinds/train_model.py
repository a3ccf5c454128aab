"""Train a model: compile the recipe, run the trainer, follow its metrics, judge the completion contract."""

from dataclasses import replace
from typing import Any, ClassVar, Final

from django.utils.translation import gettext as _

from datasets.services.copies import path_on
from environments import training
from environments.models import Host
from environments.services.runtime_copy import ensure_runtime
from environments.transports import Tail, Transport
from environments.transports.ray import job_name
from monitoring import finding_selectors as findings
from monitoring import selectors as monitoring
from monitoring.diagnostics.core import GRPO, GSPO
from monitoring.diagnostics.engine import begun
from monitoring.diagnostics.rules.log_error import RULE as LOG_ERROR
from monitoring.models import Stream
from monitoring.services.diagnose import keep_one
from monitoring.services.rollouts import LAST_LOOK, index_rollouts
from monitoring.services.sync import SyncResult, open_segment, sync_ahead, sync_stream
from monitoring.services.system import sync_system, system_ahead
from monitoring.thresholds import limits_for
from pipelines.folders import models_folder, rollouts_folder, run_folder
from pipelines.models import Attempt, Job, Recipe, RecipeRevision, Stage
from pipelines.recipe_selectors import spec_of
from pipelines.recipes import resources
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import Place, RecipeError
from pipelines.recipes.trainers import trainer_of
from pipelines.recipes.validate import resources_of
from pipelines.services import find, fork, learn
from pipelines.services.recipes import reference, refusal
from pipelines.templating import references
from platform_runtime.contract import ENV_KL_THRESHOLD, ENV_STOP_ON_CRITICAL, Command
from platform_site.common.errors import Invalid, PlatformError
from platform_site.common.models import User
from platform_site.common.queues import TRAINING

from . import asking
from .base import RunnerKind, Verdict
from .logs import last_error, tail

STOP_GRACE_S = 15.0
ANSWER: Final = ("", GRPO, GSPO)
"""The algorithms whose trainers may write rollouts; of a stream that says nothing nobody knows."""
LOSS_MODE: Final = "actor_rollout_ref.actor.policy_loss.loss_mode"
PARAMS: Final = frozenset({"recipe", "dataset", "host", "overrides", fork.PARAM})


class TrainModel(RunnerKind):
    """`{recipe, dataset?, host?, overrides?, from_checkpoint?}`. The dataset may be a reference to what an earlier
    stage made. `from_checkpoint` is `{job, step}`: the run begins with that checkpoint of another, on its host."""

    name: ClassVar[str] = "train_model"
    queue: ClassVar[str] = TRAINING
    has_stream: ClassVar[bool] = True
    needs_training_environment: ClassVar[bool] = True
    example: ClassVar[str] = "recipe = tiny-sft"

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        found = {
            name: _("train_model takes %(known)s.") % {"known": ", ".join(sorted(PARAMS))}
            for name in params
            if name not in PARAMS
        }
        for later in references(params):
            if resources.is_one(later.where.removeprefix("overrides.")):
                found[later.where] = _("It must be known before the stage can be placed: write it out.")
        try:
            revision = find.revision(user, str(params.get("recipe") or ""))
            version = None if references(params) else find.dataset_version(user, params.get("dataset"), revision)
            find.refuse_unsound(user, revision, version, _overrides(params))
            begun = fork.origin(user, params.get(fork.PARAM))
            if begun is not None:
                fork.refuse_unfit(begun, revision, version, _overrides(params), params.get("host"))
            find.refuse_without_environment(user, begun.host if begun else find.host(user, params.get("host")))
        except PlatformError as error:
            found |= {name: " ".join(told) for name, told in error.fields.items()} or {"recipe": error.message}
        return found

    def attach(self, stage: Stage, user: User) -> None:
        """The job and its stream, under the stage's own uuid; renewed when the stage is tried with other parameters."""
        revision = find.revision(user, str(stage.params["recipe"]))
        version = None
        if not references(stage.params):
            version = find.dataset_version(user, stage.params.get("dataset"), revision)
        # Kept as they are now, so that a new revision or version of today changes nothing of this run.
        stage.params = {**stage.params, "recipe": f"{revision.recipe.slug}@{revision.number}"}
        if version is not None:
            stage.params["dataset"] = f"{version.dataset.slug}@{version.number}"
        begun = fork.origin(user, stage.params.get(fork.PARAM))
        if begun is not None:
            stage.host = begun.host
        asking.keep(stage, resources_of(spec_of(revision).merged(_known(_overrides(stage.params)))))
        stage.save(update_fields=["params", "host", *asking.FIELDS])
        project = stage.pipeline.project
        about = {
            "algorithm": _algorithm(revision, stage.params),
            "trainer": revision.recipe.trainer,
            "name": stage.pipeline.name,
            "owner": stage.pipeline.created_by,
            "learnt": None,
        }
        stream, _made = Stream.objects.update_or_create(
            id=stage.id, defaults=about, create_defaults={**about, "project": project}
        )
        Job.objects.update_or_create(
            id=stage.id,
            defaults={
                "stage": stage,
                "stream": stream,
                "project": project,
                "name": stage.pipeline.name,
                "recipe_revision": revision,
                "dataset_version": version,
                "overrides": _overrides(stage.params),
                "forked_from": begun.job if begun else None,
                "forked_step": begun.step if begun else None,
                "forked_path": begun.path if begun else "",
            },
        )

    def uses_ray(self, stage: Stage) -> bool:
        recipe = Job.objects.select_related("recipe_revision__recipe").get(stage=stage).recipe_revision.recipe
        return trainer_of(recipe.algorithm, recipe.trainer).uses_ray

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        job = _job_with(stage, params)
        assert attempt.host is not None, "dispatch gives an attempt its host"
        environment = training.state(attempt.host)
        if not environment.ready or environment.python is None:
            raise Invalid(environment.message, code="environment")
        if job.dataset_version is None:
            raise Invalid(_("The run has no dataset."), fields={"dataset": _("missing")})
        folder = run_folder(attempt)
        resume_from = _resume(attempt, job, transport)
        first = fork.first_settings(job) if resume_from and resume_from == job.forked_path else {}
        try:
            compiled = compile_recipe(
                spec_of(job.recipe_revision).merged(job.overrides).merged(first),
                replace(reference(job.dataset_version), path=path_on(attempt.host, job.dataset_version, transport)),
                Place(
                    python=environment.python,
                    runtime_path=ensure_runtime(attempt.host, transport),
                    models_folder=models_folder(attempt.host.root),
                    attempt_folder=folder.path,
                    checkpoint_folder=folder.checkpoints,
                    uuid=str(stage.id),
                    cuda=bool(attempt.gpus),
                    gpus=len(attempt.gpus),
                    resume_from=resume_from,
                ),
            )
        except RecipeError as error:
            raise refusal(error.problems, job.overrides) from error
        if compiled.target_step is not None and (attempt.resumed_from_step or 0) >= compiled.target_step:
            raise Invalid(
                _("The run would begin at step %(step)s and ends at %(target)s: there is nothing left to train.")
                % {"step": attempt.resumed_from_step, "target": compiled.target_step}
            )
        learn.keep_learnt(job)
        open_segment(stage.id, attempt=attempt.number, path=folder.metrics, resumed_from=attempt.resumed_from_step)
        transport.write(folder.config, compiled.config_yaml.encode())
        Job.objects.filter(pk=job.pk).update(
            config=compiled.config, command=compiled.argv, target_step=compiled.target_step
        )
        return Command(
            argv=compiled.argv,
            env={**compiled.env, "ANNEAL_LAUNCH_TOKEN": attempt.launch_token, **_watch(job)},
            cwd=folder.path,
            launch_token=attempt.launch_token,
            uuid=str(stage.id),
            target_step=compiled.target_step,
            checkpoint_required=compiled.checkpoint_required,
            checkpoint_folder=folder.checkpoints,
            stop_grace_s=STOP_GRACE_S,
        )

    def ahead(self, stage: Stage, attempt: Attempt) -> list[Tail]:
        segments = stage.job.stream.segments.all()
        asked = sync_ahead(segments)
        for segment in segments:
            if segment.attempt == attempt.number:
                asked += system_ahead(segment, run_folder(attempt).system)
        return asked

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> SyncResult:
        segments = stage.job.stream.segments.all()
        found = sync_stream(stage.id, transport, segments)
        for segment in segments:
            if segment.attempt == attempt.number:
                sync_system(segment, run_folder(attempt).system, transport)
        if stage.job.stream.algorithm in ANSWER:
            folder = rollouts_folder(attempt)
            unread = index_rollouts(stage.id, attempt.number, folder, transport)
            if unread and transport.stat(run_folder(attempt).exit) is not None:
                # No look follows this one, so that it may take longer.
                index_rollouts(stage.id, attempt.number, folder, transport, LAST_LOOK)
        return found

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        job = Job.objects.get(stage=stage)
        code, signal = exit_info.get("code"), exit_info.get("signal")
        checkpoint = exit_info.get("checkpoint") or {}
        last_step = monitoring.last_step(stage.id)
        logs_tail = tail(run_folder(attempt).output_log, transport)
        result = {
            "metrics": monitoring.final_metrics(stage.id),
            "final_step": last_step,
            "checkpoints": _checkpoints(run_folder(attempt).checkpoints, transport),
            "logs_tail": logs_tail,
            "mode": "ray" if _on_ray(attempt) else "process",
            "ray_job_id": job_name(attempt.folder) if _on_ray(attempt) else None,
        }
        if signal:
            _read_log(attempt, logs_tail, last_step)
            return Verdict(False, _signal_reason(int(signal)), retryable=int(signal) != 9, result=result)
        if code != 0:
            _read_log(attempt, logs_tail, last_step)
            said = last_error(logs_tail)
            reason = _("The trainer exited with code %(code)s.") % {"code": code}
            return Verdict(False, f"{reason} {said}".strip(), retryable=True, result=result)
        if job.target_step is not None and (last_step is None or last_step < job.target_step):
            return Verdict(
                False,
                _("The trainer exited with code 0, but logged step %(last)s of %(target)s.")
                % {"last": last_step if last_step is not None else 0, "target": job.target_step},
                retryable=True,
                result=result,
            )
        required = Command.from_bytes(transport.read(run_folder(attempt).command)).checkpoint_required
        if required and not checkpoint.get("ok"):
            return Verdict(
                False,
                _("There is no checkpoint that can be loaded: %(why)s") % {"why": checkpoint.get("why", "")},
                retryable=True,
                result=result,
            )
        return Verdict(True, result=result)

    def summary(self, result: dict[str, Any]) -> str:
        loss = (result.get("metrics") or {}).get("train/loss")
        if result.get("final_step") is None:
            return ""
        if not isinstance(loss, int | float):
            return _("step %(step)s") % {"step": result["final_step"]}
        return _("step %(step)s · loss %(loss)s") % {"step": result["final_step"], "loss": f"{loss:.3g}"}

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        Job.objects.filter(stage=stage).update(
            final_metrics=verdict.result.get("metrics", {}),
            final_step=verdict.result.get("final_step"),
            checkpoints=verdict.result.get("checkpoints", []),
        )


def _watch(job: Job) -> dict[str, str]:
    """What the training process itself is to do about what it notices: steps can be faster than our looks."""
    stops = job.recipe_revision.recipe.on_critical == Recipe.OnCritical.STOP
    threshold = limits_for(job.stream)["kl_explosion"]["threshold"]
    return {ENV_KL_THRESHOLD: f"{threshold:g}", **({ENV_STOP_ON_CRITICAL: "1"} if stops else {})}


def _algorithm(revision: RecipeRevision, params: dict[str, Any]) -> str:
    """As the doctor's rules tell them apart."""
    algorithm: str = revision.recipe.algorithm
    chosen = {**revision.params, **_overrides(params)}
    return GSPO if algorithm == GRPO and chosen.get(LOSS_MODE) == GSPO else algorithm


def _overrides(params: dict[str, Any]) -> dict[str, Any]:
    overrides = params.get("overrides") or {}
    if not isinstance(overrides, dict):
        raise Invalid(_("overrides: Give an object of dotted keys and values."), {"overrides": _("not an object")})
    return overrides


def _on_ray(attempt: Attempt) -> bool:
    return attempt.host is not None and attempt.host.kind == Host.Kind.RAY


def _known(overrides: dict[str, Any]) -> dict[str, Any]:
    """Without those that an earlier stage decides."""
    return {key: value for key, value in overrides.items() if not references({key: value})}


def _job_with(stage: Stage, params: dict[str, Any]) -> Job:
    """The stage's job, with the dataset and overrides that became known when the stages before it ended."""
    job = Job.objects.select_related(
        "recipe_revision__recipe",
        "recipe_revision__dataset",
        "dataset_version__dataset",
        "stage__pipeline__created_by",
        "stream",
        "forked_from__recipe_revision__recipe",
    ).get(stage=stage)
    if references(stage.params):
        user = job.stage.pipeline.created_by
        if user is None:
            raise Invalid(_("Whoever made this pipeline is gone: nobody can say which dataset they may use."))
        job.dataset_version = find.dataset_version(user, params.get("dataset"), job.recipe_revision)
        job.overrides = _overrides(params)
        find.refuse_unsound(user, job.recipe_revision, job.dataset_version, job.overrides)
        if (begun := fork.origin(user, params.get(fork.PARAM))) is not None:
            fork.refuse_unfit(begun, job.recipe_revision, job.dataset_version, job.overrides, None)
        job.save(update_fields=["dataset_version", "overrides"])
    return job


def _resume(attempt: Attempt, job: Job, transport: Transport) -> str | None:
    """The folder of the newest checkpoint that an earlier attempt left whole, else of that which the run was to begin
    from; None to begin anew. Raises Invalid where that is gone.

    The choice is kept with the attempt at the first call, so that every delivery of its message compiles the same.
    """
    earlier = Attempt.objects.filter(stage_id=attempt.stage_id, number__lt=attempt.number).exclude(folder="")
    checkpoints = {
        step: f"{run_folder(other).checkpoints}/global_step_{step}"
        for other in earlier.order_by("number")
        if (step := transport.last_checkpoint(run_folder(other).checkpoints)) is not None
    }
    if job.forked_path and job.forked_step is not None and not checkpoints:
        checkpoints[job.forked_step] = _begin(job, transport)
    chosen = attempt.resumed_from_step
    if chosen is None and checkpoints:
        Attempt.objects.filter(pk=attempt.pk, resumed_from_step=None).update(resumed_from_step=max(checkpoints))
        attempt.refresh_from_db(fields=["resumed_from_step"])
        chosen = attempt.resumed_from_step
    return checkpoints.get(chosen) if chosen is not None else None


def _read_log(attempt: Attempt, text: str, last_step: int | None) -> None:
    """Why it ended, as its output tells it. Where the doctor stopped it, that is known."""
    mark = LOG_ERROR.scan(text, last_step or 0)
    if mark is not None and findings.critical(attempt.stage_id, attempt.number) is None:
        keep_one(attempt.stage_id, attempt.number, replace(begun(LOG_ERROR, "", mark), open=False))


def _begin(job: Job, transport: Transport) -> str:
    """Raises Invalid."""
    above, _sep, name = job.forked_path.rpartition("/")
    run, _sep, attempt = above.rpartition("/checkpoints/attempt-")
    found = [one for one in transport.checkpoints(run, [int(attempt)]) if f"global_step_{one.step}" == name]
    if not found or not found[0].ok:
        why = found[0].why if found else _("it is no longer there")
        raise Invalid(
            _("The checkpoint of step %(step)s that the run was to begin from cannot be loaded: %(why)s")
            % {"step": job.forked_step, "why": why}
        )
    return job.forked_path


def _signal_reason(signal: int) -> str:
    if signal == 9:
        return _(
            "The trainer was killed by signal 9. Usually the machine ran out of memory: use a smaller micro batch, "
            "a shorter maximum length or a smaller model."
        )
    return _("The trainer was ended by signal %(signal)s.") % {"signal": signal}


def _checkpoints(folder: str, transport: Transport) -> list[dict[str, Any]]:
    steps = [name for name in transport.listdir(folder) if name.startswith("global_step_")]
    found = [(int(name.removeprefix("global_step_")), name) for name in steps if name[12:].isdigit()]
    return [{"step": step, "path": f"{folder}/{name}"} for step, name in sorted(found)]
