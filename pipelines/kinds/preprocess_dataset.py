"""Clean, de-duplicate and split a dataset; what comes out are new versions, known by their content."""

import json
from dataclasses import asdict
from typing import Any, ClassVar, Final

from django.db import transaction
from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from datasets.services import store
from datasets.services.copies import path_on
from datasets.services.validate import Report
from environments import training
from environments.services.runtime_copy import ensure_runtime
from environments.transports import Transport, TransportError, Unreachable
from environments.transports.streams import opened
from pipelines.folders import run_folder
from pipelines.models import Attempt, Stage
from pipelines.services import find
from pipelines.templating import references
from platform_runtime.contract import ENV_LAUNCH_TOKEN, Command
from platform_runtime.preprocess import TASK, TRAIN, VALIDATION, Output, Task
from platform_runtime.rows import CHECKS
from platform_site.common import audit
from platform_site.common.errors import Invalid, PlatformError
from platform_site.common.models import User
from platform_site.common.paths import slug as valid_slug
from platform_site.common.queues import PREPROCESSING

from .base import RunnerKind, Verdict
from .logs import last_error, tail

PARAMS: Final = frozenset(
    {
        "dataset", "output", "clean", "deduplicate", "validation_fraction", "seed", "min_chars", "max_chars", "host",
    }
)  # fmt: skip
STOP_GRACE_S: Final = 5.0
MOST_VALIDATION: Final = 0.5
MAX_SEED: Final = 2**63
_RESULT_LIMIT: Final = 64 << 20


class PreprocessDataset(RunnerKind):
    """`{dataset, output?, clean?, deduplicate?, validation_fraction?, seed?, min_chars?, max_chars?}` →
    `{dataset_version, validation_version?, rows_in, rows_out, dropped, sha256, validation_rows, statistics}`.

    `output` is the dataset that gets the new version, made where there is none; without it the input's own. The
    split goes to `<output>-val`. The same input and parameters give the same content: the second time, no version
    is made.
    """

    name: ClassVar[str] = "preprocess_dataset"
    queue: ClassVar[str] = PREPROCESSING

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        later = {reference.where for reference in references(params)}
        found = {name: told for name, told in _problems(params).items() if name not in later}
        if "dataset" in later or "dataset" in found:
            return found
        try:
            version = find.version(user, params["dataset"])
            if "output" not in later and "output" not in found:
                _outputs(user, params, version)
        except PlatformError as error:
            found |= {name: " ".join(told) for name, told in error.fields.items()} or {"dataset": error.message}
        return found

    def attach(self, stage: Stage, user: User) -> None:
        """The version is chosen now: a newer one, this stage's own too, changes nothing of a later try."""
        if "dataset" in {reference.where for reference in references(stage.params)}:
            return
        version = find.version(user, stage.params["dataset"])
        stage.params = {**stage.params, "dataset": f"{version.dataset.slug}@{version.number}"}
        stage.save(update_fields=["params"])

    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        wrong = _problems(params)
        if wrong:
            name, told = next(iter(wrong.items()))
            raise Invalid(f"{name}: {told}", wrong)
        assert attempt.host is not None, "dispatch gives an attempt its host"
        user = _owner(stage)
        version = find.version(user, params["dataset"])
        names = _outputs(user, params, version)
        folder = run_folder(attempt)
        task = Task(
            input=path_on(attempt.host, version, transport),
            kind=version.dataset.kind,
            uuid=str(stage.id),
            rows=version.rows,
            clean=params.get("clean", True),
            deduplicate=params.get("deduplicate", True),
            validation_fraction=float(params.get("validation_fraction", 0.0)),
            seed=params.get("seed", 0),
            min_chars=params.get("min_chars"),
            max_chars=params.get("max_chars"),
            names=names,
        )
        transport.write(f"{folder.path}/{TASK}", task.to_bytes())
        return Command(
            argv=[training.any_python(attempt.host), "-P", "-m", "platform_runtime.preprocess", folder.path],
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": folder.path,
                "LANG": "C.UTF-8",
                "PYTHONPATH": ensure_runtime(attempt.host, transport),
                "PYTHONUNBUFFERED": "1",
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
        """Takes the files into the store, too: they are known by their content, so doing it twice does it once."""
        folder = run_folder(attempt)
        if signal := exit_info.get("signal"):
            return Verdict(False, _("The program was ended by signal %(signal)s.") % {"signal": signal}, retryable=True)
        try:
            told = json.loads(transport.read(folder.result, limit=_RESULT_LIMIT))
        except Unreachable:
            raise
        except (FileNotFoundError, ValueError, TransportError):
            told = {}
        if exit_info.get("code") != 0 or "outputs" not in told:
            if error := told.get("error"):
                return Verdict(False, str(error))
            reason = _("The program exited with code %(code)s.") % {"code": exit_info.get("code")}
            said = last_error(tail(folder.output_log, transport))
            return Verdict(False, f"{reason} {said}".strip(), retryable=True)
        try:
            return Verdict(True, result=_stored(stage, attempt, told, transport))
        except Unreachable:
            raise  # it passes: the next look stores it
        except (PlatformError, TransportError, OSError) as error:
            return Verdict(False, str(error), retryable=not isinstance(error, PlatformError))

    def summary(self, result: dict[str, Any]) -> str:
        if not result.get("rows_in"):
            return ""
        return _("%(out)s of %(of)s rows") % {"out": result.get("rows_out"), "of": result["rows_in"]}


def _problems(params: dict[str, Any]) -> dict[str, str]:
    """What the values themselves have against them."""
    found = {
        name: _("preprocess_dataset takes %(known)s.") % {"known": ", ".join(sorted(PARAMS))}
        for name in params
        if name not in PARAMS
    }
    if not isinstance(params.get("dataset"), str) or not params["dataset"]:
        found["dataset"] = _("Name the dataset to work on: slug or slug@number.")
    if "output" in params:
        try:
            valid_slug(params["output"], field="output")
        except Invalid as error:
            found["output"] = " ".join(error.fields["output"])
    for name in ("clean", "deduplicate"):
        if not isinstance(params.get(name, True), bool):
            found[name] = _("true or false.")
    fraction = params.get("validation_fraction", 0)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= MOST_VALIDATION:
        found["validation_fraction"] = _("A number from 0 to %(most)s.") % {"most": MOST_VALIDATION}
    seed = params.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not -MAX_SEED <= seed < MAX_SEED:
        found["seed"] = _("A whole number of 64 bits.")
    for name in ("min_chars", "max_chars"):
        limit = params.get(name)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            found[name] = _("A whole number of at least 0.")
    least, most = params.get("min_chars"), params.get("max_chars")
    if not {"min_chars", "max_chars"} & found.keys() and least is not None and most is not None and least > most:
        found["max_chars"] = _("It is less than min_chars: no row would be left.")
    return found


def _owner(stage: Stage) -> User:
    user = stage.pipeline.created_by
    if user is None:
        raise Invalid(_("Whoever made this pipeline is gone: nobody can say which dataset they may use."))
    return user


def _outputs(user: User, params: dict[str, Any], version: DatasetVersion) -> dict[str, str]:
    """Output name -> slug. Raises Invalid where a dataset of that name cannot take what will be made."""
    kind = version.dataset.kind
    if kind not in CHECKS:
        raise Invalid(
            _("Datasets of kind “%(kind)s” cannot be preprocessed. Those that can: %(known)s.")
            % {"kind": kind, "known": ", ".join(CHECKS)},
            {"dataset": _("unsupported kind")},
        )
    output = params.get("output") or version.dataset.slug
    names = {TRAIN: output}
    if params.get("validation_fraction"):
        names[VALIDATION] = valid_slug(f"{output}-val", field="output")
    for slug in names.values():
        known = Dataset.objects.filter(slug=slug).first()
        if known is None:
            continue
        if known.is_builtin:
            told = _("The built-in dataset “%(slug)s” takes no versions. Name another one as output.")
            raise Invalid(told % {"slug": slug}, {"output": told % {"slug": slug}})
        if known.kind != kind:
            told = _("Dataset “%(slug)s” is of another kind (%(kind)s). Name another one as output.")
            values = {"slug": slug, "kind": known.kind}
            raise Invalid(told % values, {"output": told % values})
    return names


def _stored(stage: Stage, attempt: Attempt, told: dict[str, Any], transport: Transport) -> dict[str, Any]:
    """The stage's result, with every output a version. Raises PlatformError, TransportError, OSError."""
    folder = run_folder(attempt)
    task = Task.from_bytes(transport.read(f"{folder.path}/{TASK}"))
    outputs = {name: Output(**output) for name, output in told["outputs"].items()}
    versions = {
        name: _version(stage, task.names[name], task, output, f"{folder.path}/{output.path}", transport)
        for name, output in sorted(outputs.items())
    }
    result = {
        "dataset_version": _named(versions[TRAIN]),
        "rows_in": told["rows_in"],
        "rows_out": told["rows_out"],
        "dropped": told["dropped"],
        "sha256": outputs[TRAIN].sha256,
        "validation_rows": outputs[VALIDATION].rows if VALIDATION in outputs else 0,
        "statistics": {
            "changed": told["changed"],
            "dropped_by": told["dropped_by"],
            "bad_rows": told["bad_rows"],
            "outputs": {name: asdict(output) for name, output in outputs.items()},
        },
    }
    if VALIDATION in versions:
        result["validation_version"] = _named(versions[VALIDATION])
    return result


def _named(version: DatasetVersion) -> str:
    return f"{version.dataset.slug}@{version.number}"


def _version(stage: Stage, slug: str, task: Task, output: Output, path: str, transport: Transport) -> DatasetVersion:
    user = _owner(stage)
    dataset = _dataset(stage, user, slug, task.kind)
    known = store.held(dataset, output.sha256)
    if known is not None:
        return known
    report = Report(rows=output.rows, columns=output.columns, stats=output.stats)
    with opened(transport, path) as file:
        version = store.adopt(dataset, file, sha256=output.sha256, report=report)
    audit.record("dataset.version", user, dataset, number=version.number, sha256=version.sha256, stage=str(stage.id))
    return version


def _dataset(stage: Stage, user: User, slug: str, kind: str) -> Dataset:
    """Looked at once more: it may have been made by somebody else since the stage was."""
    with transaction.atomic():
        dataset, made = Dataset.objects.get_or_create(
            slug=slug, defaults={"project_id": stage.pipeline.project_id, "name": slug, "kind": kind}
        )
        if made:
            audit.record("dataset.create", user, dataset, slug=slug, stage=str(stage.id))
    if dataset.is_builtin or dataset.kind != kind:
        raise Invalid(_("Dataset “%(slug)s” cannot take these rows.") % {"slug": slug}, {"output": _("taken")})
    return dataset
