"""Two recipes or two runs side by side: settings, and what came of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext as _

from pipelines.models import Job, RecipeRevision
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.diff import Row, diff
from pipelines.recipes.spec import Json
from pipelines.recipes.trainers import supported, trainer_of
from pipelines.selectors import job_for, jobs_for
from pipelines.services import find
from platform_site.common.errors import Invalid, NotFound
from platform_site.common.models import User


@dataclass(frozen=True)
class MetricDelta:
    """A final metric of two runs; `delta` is right minus left where both are finite numbers."""

    name: str
    left: float | str | None
    right: float | str | None
    delta: float | None


@dataclass(frozen=True)
class Compared:
    rows: list[Row]
    metrics: list[MetricDelta]

    def of(self, sort: str) -> list[Row]:
        return [row for row in self.rows if row.sort == sort]


@dataclass(frozen=True)
class SettingRow:
    """One key over all runs, against the first of them. `equal`: it is the same everywhere."""

    key: str
    cells: list[Row]

    @property
    def equal(self) -> bool:
        return all(cell.sort == "equal" for cell in self.cells)


@dataclass(frozen=True)
class MetricRow:
    name: str
    cells: list[MetricDelta]


@dataclass(frozen=True)
class Columns:
    """Runs side by side: a cell each, in their order; the first is the baseline."""

    settings: list[SettingRow]
    metrics: list[MetricRow]


def columns(jobs: Sequence[Job]) -> Columns:
    """At least one run. Keys are those that any of them names."""
    settings = [_settings(job.recipe_revision, job) for job in jobs]
    defaults = _defaults([job.recipe_revision for job in jobs])
    keys = sorted({key for one in settings for key in one})
    by_run = [{row.key: row for row in diff(settings[0], one, defaults)} for one in settings]
    names = sorted({name for job in jobs for name in job.final_metrics})
    return Columns(
        settings=[SettingRow(key, [_cell(key, rows, defaults) for rows in by_run]) for key in keys],
        metrics=[
            MetricRow(name, [_metric(name, jobs[0].final_metrics, job.final_metrics) for job in jobs]) for name in names
        ],
    )


def _cell(key: str, rows: Mapping[str, Row], defaults: Mapping[str, Json]) -> Row:
    """Where neither the baseline nor this run names the key, both have its default."""
    default = defaults.get(key)
    return rows.get(key) or Row(key, "equal", default, default, left_default=True, right_default=True)


def recipes(user: User, left: str, right: str) -> Compared:
    """Two revisions, each named `slug` or `slug@revision`; the metrics are those of the newest completed run of each.

    Raises Invalid where a side is missing, NotFound.
    """
    one, other = _revision(user, "left", left), _revision(user, "right", right)
    ran = [_newest_run(user, revision) for revision in (one, other)]
    metrics = _metrics(*(run.final_metrics if run else {} for run in ran)) if all(ran) else []
    return Compared(_rows(_settings(one), _settings(other), one, other), metrics)


def jobs(left: Job, right: Job) -> Compared:
    """Two runs with what each was really asked for, overrides included."""
    one, other = left.recipe_revision, right.recipe_revision
    return Compared(
        _rows(_settings(one, left), _settings(other, right), one, other),
        _metrics(left.final_metrics, right.final_metrics),
    )


def named_jobs(user: User, names: Sequence[str]) -> list[Job]:
    """The runs in the order they are named, each once, without unknown ones. Raises Invalid for what is no uuid."""
    wanted = [_uuid(name) for name in dict.fromkeys(names)]
    found = {job.pk: job for job in jobs_for(user).select_related("recipe_revision__dataset").filter(pk__in=wanted)}
    return [found[pk] for pk in wanted if pk in found]


def named_job(user: User, name: str) -> Job:
    """Raises Invalid for what is no uuid, NotFound."""
    return job_for(user, _uuid(name))


def _uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError as error:
        raise Invalid(_("“%(name)s” is no run's uuid.") % {"name": name[:100]}) from error


def _revision(user: User, side: str, name: str) -> RecipeRevision:
    if not name:
        raise Invalid(_("Name a recipe for each side: left and right."), {side: _("missing")})
    try:
        return find.revision(user, name)
    except Invalid as error:
        raise NotFound(error.message) from error


def _newest_run(user: User, revision: RecipeRevision) -> Job | None:
    done = jobs_for(user).filter(recipe_revision=revision, stage__status="completed")
    return done.order_by("-created_at").first()


def _settings(revision: RecipeRevision, job: Job | None = None) -> dict[str, Json]:
    """Settings, and beside them what is no setting of the trainer but decides as much."""
    spec = spec_of(revision).merged(job.overrides if job else None)
    version = job.dataset_version if job else None
    data = revision.dataset.slug if revision.dataset else None
    if version is not None:
        data = f"{version.dataset.slug}@{version.number}"
    return {
        "algorithm": spec.algorithm,
        "trainer": spec.trainer,
        "base_model": spec.base_model,
        "dataset": data,
        **spec.params,
    }


def _rows(left: Mapping[str, Json], right: Mapping[str, Json], one: RecipeRevision, other: RecipeRevision) -> list[Row]:
    return diff(left, right, _defaults([one, other]))


def _defaults(revisions: Iterable[RecipeRevision]) -> dict[str, Json]:
    """Trainers of two kinds have no defaults in common that could be told."""
    pairs = {(revision.recipe.algorithm, revision.recipe.trainer) for revision in revisions}
    if len(pairs) != 1 or not pairs <= set(supported()):
        return {}
    return {key: leaf.default for key, leaf in trainer_of(*pairs.pop()).tree().leaves.items()}


def _metrics(left: Mapping[str, float | str], right: Mapping[str, float | str]) -> list[MetricDelta]:
    return [_metric(name, left, right) for name in sorted({*left, *right})]


def _metric(name: str, left: Mapping[str, float | str], right: Mapping[str, float | str]) -> MetricDelta:
    before, after = left.get(name), right.get(name)
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    return MetricDelta(name, before, after, after - before if numbers else None)  # type: ignore[operator]  # two numbers
