"""Ask a model every question of an evaluation suite: one that was trained above, or a base model to compare with."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from datasets.models import Dataset, DatasetVersion
from datasets.services.copies import path_on
from environments import training
from environments.models import Host
from environments.services.runtime_copy import ensure_runtime
from environments.transports import Transport, TransportError, Unreachable
from pipelines.folders import models_folder, run_folder
from pipelines.models import Attempt, Stage
from pipelines.recipes import places, resources
from pipelines.recipes.spec import Place
from pipelines.recipes.validate import base_model_problems
from pipelines.services import find
from pipelines.services.recipes import told
from pipelines.templating import references
from platform_runtime.answers import EXTRACT
from platform_runtime.contract import ENV_LAUNCH_TOKEN, Command
from platform_runtime.evaluate import TASK, WORK, Task
from platform_site.common.errors import Invalid, PlatformError
from platform_site.common.models import User
from platform_site.common.queues import EVALUATION

from . import asking
from .base import RunnerKind, Verdict
from .checkpoints import TRAINING_KIND, Held, checkpoints_of, ended_attempts
from .logs import last_error, tail

PARAMS: Final = frozenset({"suite", "of", "model", "step", "limit", "max_tokens", "extract", "host", "resources"})
MAX_TOKENS: Final = 64
MOST_TOKENS: Final = 8192
MOST: Final = 2**31
STOP_GRACE_S: Final = 5.0
SIGKILL: Final = 9


class RunEvaluation(RunnerKind):
    """`{suite, of? | model?, step?, limit?, max_tokens?, extract?, host?, resources?}` →
    `{suite, score, n, metrics, model?, of?, step?, attempt?, chat_template, truncated}`.

    `of` names a training stage above, whose newest whole checkpoint is asked, or that of `step`; `model` a base model
    as recipes name it. `score` is the share of answers that are exactly right, 0 to 1. It takes one GPU where the model
    is one that needs some, and none where it was trained without; `resources` says otherwise.
    """

    name: ClassVar[str] = "run_evaluation"
    queue: ClassVar[str] = EVALUATION
    needs_training_environment: ClassVar[bool] = True
    example: ClassVar[str] = "suite = arithmetic-eval"

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        later = {reference.where for reference in references(params)}
        found = {name: why for name, why in _problems(params).items() if name not in later}
        try:
            if not {"suite"} & (later | found.keys()):
                _suite(user, params["suite"])
            if "host" not in later:
                find.refuse_without_environment(user, find.host(user, params.get("host")))
        except PlatformError as error:
            found |= {name: " ".join(why) for name, why in error.fields.items()} or {"suite": error.message}
        return found

    def misplaced(self, params: dict[str, Any], above: Mapping[str, str]) -> dict[str, str]:
        of = params.get("of")
        if not isinstance(of, str) or references({"of": of}):
            return {}
        trainings = sorted(name for name, task in above.items() if task == TRAINING_KIND)
        if of in trainings:
            return {}
        if not trainings:
            return {"of": _("No training stands above this stage: let it run after the one it evaluates.")}
        return {"of": _("No training above has this name. There are: %(known)s.") % {"known": ", ".join(trainings)}}

    def attach(self, stage: Stage, user: User) -> None:
        """The suite's version is chosen now: a newer one changes nothing of a later try."""
        if "suite" not in {reference.where for reference in references(stage.params)}:
            stage.params = {**stage.params, "suite": _named(_suite(user, stage.params["suite"]))}
        asking.keep(stage, resources.of_object(stage.params.get("resources"), _usual(stage)))
        stage.save(update_fields=["params", *asking.FIELDS])

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        wrong = _problems(params)
        if wrong:
            name, why = next(iter(wrong.items()))
            raise Invalid(f"{name}: {why}", wrong)
        assert attempt.host is not None, "dispatch gives an attempt its host"
        environment = training.state(attempt.host)
        if not environment.ready or environment.python is None:
            raise Invalid(environment.message, code="environment")
        user = stage.pipeline.created_by
        if user is None:
            raise Invalid(_("Whoever made this pipeline is gone: nobody can say which suite they may use."))
        version = _suite(user, params["suite"])
        folder = run_folder(attempt)
        for earlier in ended_attempts(stage):
            # What one that was killed could not take away itself.
            if earlier.host == attempt.host and earlier.number < attempt.number:
                transport.remove_tree(f"{earlier.folder}/{WORK}")
        asked = {"suite": _named(version), **_asked(stage, params, attempt.host)}
        task = Task(
            suite=path_on(attempt.host, version, transport),
            uuid=str(stage.id),
            model=params.get("model") or "",
            checkpoint=asked.pop("path", ""),
            limit=params.get("limit"),
            max_tokens=params.get("max_tokens", MAX_TOKENS),
            extract=params.get("extract", "text"),
            about=asked,
        )
        transport.write(f"{folder.path}/{TASK}", task.to_bytes())
        place = Place(
            python=environment.python,
            runtime_path=ensure_runtime(attempt.host, transport),
            attempt_folder=folder.path,
            checkpoint_folder=folder.checkpoints,
            uuid=str(stage.id),
            models_folder=models_folder(attempt.host.root),
            cuda=bool(attempt.gpus),
            gpus=len(attempt.gpus),
        )
        return Command(
            argv=[environment.python, "-P", "-m", "platform_runtime.evaluate", folder.path],
            env={
                **places.environment(place, None),
                # Progress is told by the status file; bars would fill the log.
                "TQDM_DISABLE": "1",
                ENV_LAUNCH_TOKEN: attempt.launch_token,
            },
            cwd=folder.path,
            launch_token=attempt.launch_token,
            uuid=str(stage.id),
            target_step=None,
            checkpoint_required=False,
            checkpoint_folder=folder.checkpoints,
            stop_grace_s=STOP_GRACE_S,
        )

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        folder = run_folder(attempt)
        transport.remove_tree(f"{folder.path}/{WORK}")
        if signal := exit_info.get("signal"):
            return Verdict(False, _signal_reason(int(signal)), retryable=True)
        try:
            result = json.loads(transport.read(folder.result))
            task = Task.from_bytes(transport.read(f"{folder.path}/{TASK}"))
        except Unreachable:
            raise
        except (FileNotFoundError, ValueError, TransportError):
            result, task = {}, None
        if not isinstance(result, dict):
            result = {}
        if exit_info.get("code") != 0:
            if error := result.get("error"):
                return Verdict(False, str(error))
            reason = _("The program exited with code %(code)s.") % {"code": exit_info.get("code")}
            said = last_error(tail(folder.output_log, transport))
            return Verdict(False, f"{reason} {said}".strip(), retryable=True)
        if task is None or not _is_sound(result):
            return Verdict(False, _("The program ended well, but what it left is no result."), retryable=True)
        kept = ("score", "n", "metrics", "chat_template", "truncated")
        return Verdict(True, result={**task.about, **{name: result[name] for name in kept if name in result}})

    def summary(self, result: dict[str, Any]) -> str:
        score, n = result.get("score"), result.get("n")
        if not isinstance(score, int | float) or not isinstance(n, int):
            return ""
        samples = ngettext("%(n)s sample", "%(n)s samples", n) % {"n": n}
        return _("score %(score)s · %(samples)s") % {"score": f"{score:.2f}", "samples": samples}


def _problems(params: dict[str, Any]) -> dict[str, str]:
    """What the values themselves have against them."""
    found = {
        name: _("run_evaluation takes %(known)s.") % {"known": ", ".join(sorted(PARAMS))}
        for name in params
        if name not in PARAMS
    }
    if not isinstance(params.get("suite"), str) or not params["suite"]:
        found["suite"] = _("Name the suite to ask: a dataset of kind eval, as slug or slug@number.")
    found |= _model_problems(params)
    for name, most in (("limit", MOST), ("max_tokens", MOST_TOKENS)):
        if params.get(name) is not None and not _whole(params[name], 1, most):
            found[name] = _("A whole number from %(low)s to %(high)s.") % {"low": 1, "high": most}
    if "resources" in params:
        found |= {
            ".".join(filter(None, ("resources", problem.key))): told(problem)
            for problem in resources.object_problems(params["resources"])
        }
    if params.get("extract", "text") not in list(EXTRACT):
        found["extract"] = _("There are: %(known)s.") % {"known": ", ".join(EXTRACT)}
    return found


def _model_problems(params: dict[str, Any]) -> dict[str, str]:
    of, model = params.get("of"), params.get("model")
    if (of is None) == (model is None):
        return {"of": _("Say what to evaluate: of = the name of a training stage, or model = a base model.")}
    if of is not None:
        if not isinstance(of, str) or not of:
            return {"of": _("The name of a training stage.")}
        if params.get("step") is not None and not _whole(params["step"], 0, MOST):
            return {"step": _("A whole number of at least 0.")}
        return {}
    if params.get("step") is not None:
        return {"step": _("Only a training stage has steps: name one as of.")}
    wrong = list(base_model_problems(model)) if isinstance(model, str) else None
    if wrong is None:
        return {"model": _("The name of a model.")}
    return {"model": told(wrong[0])} if wrong else {}


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _usual(stage: Stage) -> resources.Resources:
    """One GPU is enough to ask what was trained on several; what was trained without needs none."""
    model, of = stage.params.get("model"), stage.params.get("of")
    if isinstance(model, str) and not model.startswith(resources.BUILTIN):
        return resources.Resources(gpus=1)
    trained = Stage.objects.filter(pipeline=stage.pipeline_id, kind=TRAINING_KIND, name=of).first() if of else None
    if trained is None or not trained.gpus:
        return resources.Resources()
    # Its checkpoints are on the host that it was trained on.
    return replace(asking.of(trained), gpus=1)


def _suite(user: User, name: str) -> DatasetVersion:
    try:
        version = find.version(user, name)
    except Invalid as error:
        raise Invalid(error.message, {"suite": error.message}) from error
    if version.dataset.kind != Dataset.Kind.EVAL:
        problem = _("Dataset “%(slug)s” is no evaluation suite: its kind is %(kind)s.") % {
            "slug": version.dataset.slug,
            "kind": version.dataset.kind,
        }
        raise Invalid(problem, {"suite": problem})
    return version


def _named(version: DatasetVersion) -> str:
    return f"{version.dataset.slug}@{version.number}"


def _asked(stage: Stage, params: dict[str, Any], host: Host) -> dict[str, Any]:
    """Which model it is, for the result; of a checkpoint also its `path`."""
    if params.get("model"):
        return {"model": params["model"]}
    trained = Stage.objects.filter(pipeline=stage.pipeline_id, kind=TRAINING_KIND, name=params["of"]).first()
    if trained is None:
        problem = _("This pipeline has no training stage %(name)s.") % {"name": params["of"]}
        raise Invalid(problem, {"of": problem})
    chosen = _chosen(trained, params.get("step"), host)
    return {"of": trained.name, "attempt": chosen.found.attempt, "step": chosen.found.step, "path": chosen.path}


def _chosen(trained: Stage, step: int | None, host: Host) -> Held:
    """The last attempt's newest checkpoint that can be loaded, or that of `step`. Raises Invalid."""
    held = sorted(checkpoints_of(trained, on=host), key=lambda one: (one.found.attempt, one.found.step), reverse=True)
    wanted = [one for one in held if step is None or one.found.step == step]
    for one in wanted:
        if one.found.ok:
            return one
    if wanted:
        raise Invalid(
            _("The checkpoint of step %(step)s of stage %(name)s cannot be loaded: %(why)s")
            % {"step": wanted[0].found.step, "name": trained.name, "why": wanted[0].found.why}
        )
    if held:
        steps = ", ".join(str(number) for number in sorted({one.found.step for one in held}))
        problem = _("Stage %(name)s has no checkpoint of step %(step)s. There are: %(known)s.") % {
            "name": trained.name,
            "step": step,
            "known": steps,
        }
        raise Invalid(problem, {"step": problem})
    elsewhere = sorted({one.host.name for one in ended_attempts(trained) if one.host and one.host != host})
    if elsewhere:
        problem = _(
            "Stage %(name)s was trained on %(hosts)s, and its checkpoints are there: give this stage that host."
        )
        problem %= {"name": trained.name, "hosts": ", ".join(elsewhere)}
        raise Invalid(problem, {"host": problem})
    raise Invalid(
        _("Stage %(name)s has no checkpoint, or none any more: evaluate it before it is cleaned up after.")
        % {"name": trained.name}
    )


def _is_sound(result: Mapping[str, Any]) -> bool:
    score, metrics = result.get("score"), result.get("metrics")
    return (
        _whole(result.get("n"), 1, MOST)
        and _is_finite(score)
        and isinstance(metrics, dict)
        and all(_is_finite(value) for value in metrics.values())
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _signal_reason(signal: int) -> str:
    if signal == SIGKILL:
        return _(
            "The evaluation was killed by signal 9. Usually the machine ran out of memory: use a smaller model, or "
            "shorter answers (max_tokens)."
        )
    return _("The evaluation was ended by signal %(signal)s.") % {"signal": signal}
