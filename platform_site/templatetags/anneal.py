"""The tags and filters that our templates share."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from environments import training
from environments.models import Host
from environments.services.hosts import is_being_checked
from monitoring import told
from monitoring import unread as unread_of
from notifications.models import Notification
from pipelines import selectors
from pipelines.gpu_selectors import gpu_hours_of, needed
from pipelines.kinds import summary_of
from pipelines.live import bells
from pipelines.models import Attempt, Job, Pipeline, Stage
from pipelines.notices import PIPELINE_DONE
from pipelines.pictures import Folded
from pipelines.pipeline_form import write_params
from pipelines.recipe_form import field_id
from platform_site import display
from platform_site.common.severity import Severity

register = template.Library()

NOTHING = "\u2013"
THEMES = ("auto", "light", "dark")


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A decorative drawing of the sprite (partials/sprite.html); what it says must stand beside it as text."""
    return format_html(
        '<svg class="icon {}" width="16" height="16" aria-hidden="true" focusable="false"><use href="#i-{}"/></svg>',
        extra,
        name,
    )


@register.simple_tag
def status_pill(status: str, label: str = "") -> SafeString:
    """Icon, colour and word: never colour alone."""
    shape = display.status_shape(status)
    return format_html(
        '<span class="status" data-shape="{}">{}<span>{}</span></span>',
        shape,
        icon(shape),
        label or display.status_label(status),
    )


@register.filter
def being_checked(host: Host) -> bool:
    return is_being_checked(host)


@register.filter
def stat_label(name: str) -> str:
    return display.stat_label(name)


@register.filter
def unread(warnings: list[dict[str, Any]]) -> list[str]:
    """What of a stream could not be used."""
    return unread_of.warnings(warnings)


@register.filter
def status_label(status: str) -> str:
    return display.status_label(status)


@register.filter
def status_shape(status: str) -> str:
    return display.status_shape(status)


@register.filter
def duration(seconds: float | None) -> str:
    return display.duration(seconds)


@register.filter
def about(seconds: float | None) -> str:
    return display.about(seconds)


@register.filter
def memory_size(size: float | None) -> str:
    return display.memory_size(size)


@register.filter
def moment(seconds: float | None) -> str:
    return display.moment(seconds)


@register.filter
def metric_value(value: object) -> str:
    return display.metric_value(value)


@register.filter
def signed(value: float) -> str:
    """A difference, with its sign."""
    return (
        f"+{display.metric_value(value)}"
        if value > 0
        else display.metric_value(value).replace("-", "\N{MINUS SIGN}", 1)
    )


@register.filter
def localised(text: str) -> str:
    """What the platform brought along, such as built-in recipes, in the reader's language; other text as it is."""
    return gettext(text) if text else ""


@register.filter
def json_value(value: object) -> str:
    """As it would be typed into a form: `true`, `null`, `[1, 2]`; text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@register.filter
def host_of(stage: Stage) -> str:
    """Where it runs or ran: the latest attempt's host, before the first the one it was asked for."""
    attempts = list(stage.attempts.all())
    host = (attempts[-1].host if attempts else None) or stage.host
    return host.name if host is not None else ""


@register.filter
def gpu_hours(stage: Stage) -> float:
    """Of all its attempts."""
    return gpu_hours_of(stage)


@register.filter
def gpus_needed(stage: Stage) -> str:
    """What it asked for, as 4 GPUs with 80 GiB each."""
    return needed(stage.gpus, stage.gpu_memory_gib)


@register.filter
def percent(fraction: float | None) -> str:
    """`0.5` as `50`. Rounded down: nothing says 100 before it is done."""
    return str(int(max(0.0, min(1.0, fraction or 0.0)) * 100))


@dataclass(frozen=True)
class Progress:
    """`fraction` 0-1, None while nobody knows; `eta_s` seconds, None when it cannot be told."""

    step: int | None
    target: int | None
    fraction: float | None
    eta_s: float | None
    waiting_for: str


@register.simple_tag
def progress_of(job: Job) -> Progress:
    """How far a run is. The stage must have `job` loaded on it: Django does so for the one it came from."""
    stage = job.stage
    found = selectors.stage_progress(stage)
    return Progress(
        step=found.step,
        target=found.target_step,
        fraction=found.fraction,
        eta_s=found.eta_s,
        waiting_for=selectors.waiting_for(stage) if stage.status != "pending" else "",
    )


@register.simple_tag
def stage_progress(stage: Stage) -> Progress:
    """How far a stage is, and why it waits. Its attempts, needs and job must be at hand."""
    found = selectors.stage_progress(stage)
    return Progress(
        step=found.step,
        target=found.target_step,
        fraction=found.fraction,
        eta_s=found.eta_s,
        waiting_for=selectors.waiting_for(stage),
    )


@register.simple_tag
def pipeline_progress(pipeline: Pipeline) -> selectors.PipelineProgress:
    """How far a pipeline is. Its stages must be at hand."""
    return selectors.pipeline_progress(pipeline)


@register.filter
def severity_shape(severity: str) -> str:
    return display.SEVERITY_SHAPES[severity]


@register.filter
def notification_shape(notification: Notification) -> str:
    """Good news has a shape of its own."""
    good = notification.severity == Severity.INFO and notification.kind == PIPELINE_DONE.slug
    return "completed" if good else display.SEVERITY_SHAPES[notification.severity_word]


@register.inclusion_tag("notifications/_bell.html", takes_context=True)
def bell(context: dict[str, Any]) -> dict[str, Any]:
    """How much is unread, on every page of somebody with a role."""
    return bells.context(context["request"].user.pk)


@register.filter
def severity_tone(severity: str) -> str:
    return display.SEVERITY_TONES[severity]


@register.filter
def rule_title(rule: str) -> str:
    return told.rule_title(rule)


@register.simple_tag
def parameter_url(job: Job, key: str) -> str:
    """Where a parameter of a run's recipe is changed. A built-in recipe is derived from."""
    recipe = job.recipe_revision.recipe
    where = (
        f"{reverse('recipe-new')}?from={recipe.slug}"
        if recipe.is_template
        else reverse("recipe-edit", args=[recipe.slug])
    )
    return f"{where}#{field_id(key)}"


@register.filter
def kind_label(kind: str) -> str:
    return display.kind_label(kind)


@register.filter
def result_summary(stage: Stage) -> str:
    """What matters most of a stage's result; empty where nothing stands out."""
    return summary_of(stage.kind, stage.result)


@register.filter
def task_state(attempt: Attempt) -> str:
    return selectors.task_state(attempt)


@register.filter
def params_text(params: dict[str, Any]) -> str:
    """Parameters as they would be typed into a form."""
    return write_params(params or {})


@register.filter
def result_text(result: dict[str, Any] | None) -> str:
    """What a stage left, as parameters are written, without what is empty and without the end of its log: the whole log
    has a place of its own. By name, since not every database keeps the order. The API tells all of it."""
    empty: tuple[Any, ...] = (None, "", [], {})
    told = {key: value for key, value in sorted((result or {}).items()) if key != "logs_tail" and value not in empty}
    return write_params(told) if told else ""


@register.filter
def short(text: str, most: int) -> str:
    """No longer than `most` characters: a drawing cannot wrap."""
    return text if len(text) <= most else text[: most - 1] + "…"


@register.simple_tag
def node_line(stage: Stage, progress: Progress) -> str:
    """What a node of the graph says below its name: the status, and how far or how long."""
    label = display.status_label(stage.status)
    if stage.completed_at is not None and stage.started_at is not None:
        return f"{label} · {display.duration((stage.completed_at - stage.started_at).total_seconds())}"
    if progress.fraction is not None and stage.status == "running":
        return f"{label} · {percent(progress.fraction)} %"
    return label


@register.simple_tag
def fold_name(fold: Folded) -> str:
    """How many stages stand together, and of which kind."""
    many = len(fold.stages)
    if not fold.kind:
        return ngettext("%(n)d stage", "%(n)d stages", many) % {"n": many}
    return f"{many} \N{MULTIPLICATION SIGN} {display.kind_label(fold.kind)}"


@register.filter
def fold_line_y(index: int) -> int:
    """Where in its node a count of a fold stands, in pixels."""
    return 32 + 17 * index


@register.simple_tag
def ago(at: datetime | None) -> SafeString | str:
    """A moment, as the time passed since. core.js keeps it fresh and puts the local time in its title."""
    if at is None:
        return NOTHING
    return format_html('<time datetime="{}" data-ago>{}</time>', at.isoformat(), display.ago(at))


@register.simple_tag
def elapsed(started: datetime | None, ended: datetime | None = None) -> SafeString | str:
    """How long something took; while it still goes on, core.js lets it count."""
    if started is None:
        return NOTHING
    if ended is not None:
        return display.duration((ended - started).total_seconds())
    text = display.duration((timezone.now() - started).total_seconds())
    return format_html('<time datetime="{}" data-elapsed>{}</time>', started.isoformat(), text)


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> str:
    """The theme that the visitor chose; it travels in a cookie, so that no page flashes in the wrong one."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme", "auto") if request is not None else "auto"
    return chosen if chosen in THEMES else "auto"


@register.simple_tag(takes_context=True)
def section(context: dict[str, Any]) -> str:
    """The first part of the page's address: which entry of the navigation is the current one."""
    request = context.get("request")
    return request.path.strip("/").split("/")[0] if request is not None else ""


@register.filter
def lookup(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key, "") if mapping else ""


@register.inclusion_tag("partials/_training_banner.html", takes_context=True)
def training_banner(context: dict[str, Any]) -> dict[str, Any]:
    """Says on every page, to those who signed in, that runs have to wait for the training environment."""
    user = context.get("user")
    if user is None or not user.is_authenticated:
        return {"training": None}
    host = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    return {"training": training.state(host) if host is not None else None}
