"""The form that makes a pipeline: the source of truth of the editor. What is drawn beside it is made from it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext as _

from platform_site.common.queues import STAGE_QUEUES

from .forms import literal
from .graph import Node
from .kinds import kind_of, names
from .models import Pipeline
from .pipeline_templates import PipelineTemplate
from .services.create import MOST_STAGES, PipelineSpec, StageSpec

MOST_ROWS: Final = 60
"""Stages that the form takes: each offers all the others to run after. As many as a graph shows one by one."""
MOST_RETRIES: Final = 100
LONGEST_TIMEOUT_S: Final = 10**7
LONGEST_NUMBER: Final = 9
FIELDS: Final = ("name", "kind", "params", "after", "queue", "timeout_s", "max_retries")
PLACES: Final = {"task": "kind", "depends_on": "after"}
"""What the service calls a field, where the form calls it otherwise."""


class Unreadable(ValueError):
    """Parameters that are neither lines of `key = value` nor a JSON object. The message says where."""


def read_params(text: str) -> dict[str, Any]:
    """Lines of `key = value`, values as `literal` reads them; `a.b.c = 1` is the key `b.c` of the object `a`. Or a
    JSON object. Raises Unreadable."""
    text = text.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise Unreadable(_("This is no JSON object: %(error)s") % {"error": error}) from error
        if not isinstance(found, dict):
            raise Unreadable(_("This is no JSON object."))
        return found
    read: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        outer, dot, inner = key.strip().partition(".")
        if not equals or not outer or (dot and not inner):
            raise Unreadable(_("Line %(number)s: write key = value.") % {"number": number})
        inside = read.setdefault(outer, {}) if dot else read
        name = inner if dot else outer
        if not isinstance(inside, dict) or name in inside:
            raise Unreadable(_("Line %(number)s: %(key)s stands here twice.") % {"number": number, "key": key.strip()})
        inside[name] = literal(value)
    return read


def write_params(params: Mapping[str, Any]) -> str:
    """What `read_params` reads as `params`: lines where that can be, else JSON."""
    lines = []
    for key, value in params.items():
        inner = value.items() if isinstance(value, dict) and value else None
        pairs = [(key, value)] if inner is None else [(f"{key}.{name}", item) for name, item in inner]
        lines += [f"{name} = {_typed(item)}" for name, item in pairs]
    text = "\n".join(lines)
    try:
        same = read_params(text) == dict(params)
    except Unreadable:
        same = False
    return text if same else json.dumps(params, ensure_ascii=False, indent=2)


def _typed(value: Any) -> str:
    if isinstance(value, str) and literal(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


@dataclass
class StageRow:
    """One stage as typed. `key` names the row within the form, whatever its stage is called; `after` has keys."""

    key: str
    name: str = ""
    kind: str = ""
    params: str = ""
    after: list[str] = field(default_factory=list)
    queue: str = ""
    timeout_s: str = ""
    max_retries: str = "0"
    errors: dict[str, list[str]] = field(default_factory=dict)
    unread: bool = False

    def refuse(self, name: str, message: str) -> None:
        self.errors.setdefault(name, []).append(message)

    @property
    def example(self) -> str:
        """Parameters that a stage of its kind could have; empty when there is no such kind."""
        return kind_of(self.kind).example if self.kind in names() else ""

    @property
    def has_more(self) -> bool:
        """Whether something stands, or is wrong, in what is folded away at first."""
        return bool(self.queue or self.timeout_s or self.max_retries not in ("", "0")) or any(
            name in self.errors for name in ("queue", "timeout_s", "max_retries")
        )


@dataclass
class PipelineForm:
    name: str = ""
    description: str = ""
    priority: str = "5"
    max_retries: str = "0"
    rows: list[StageRow] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)
    ready: bool = False
    fresh: str = ""
    """The key of the row that was just added: its name gets the focus."""

    @classmethod
    def blank(cls) -> "PipelineForm":
        return cls(rows=[StageRow("0", kind=_first_kind())])

    @classmethod
    def of(cls, pipeline: Pipeline) -> "PipelineForm":
        """The same again, to be changed."""
        stages = list(pipeline.stages.all())
        keys = {stage.pk: str(position) for position, stage in enumerate(stages)}
        return cls(
            name=pipeline.name,
            description=pipeline.description,
            priority=str(pipeline.priority),
            max_retries=str(pipeline.max_retries),
            rows=[
                StageRow(
                    key=keys[stage.pk],
                    name=stage.name,
                    kind=stage.kind,
                    params=write_params(stage.params),
                    after=[keys[above.pk] for above in stage.depends_on.all()],
                    queue="" if stage.queue == kind_of(stage.kind).queue else stage.queue,
                    timeout_s=str(stage.timeout_s or ""),
                    max_retries=str(stage.max_retries),
                )
                for stage in stages
            ],
        )

    @classmethod
    def of_template(cls, template: PipelineTemplate) -> "PipelineForm":
        """The template as it is, in the reader's language."""
        keys = {stage.name: str(position) for position, stage in enumerate(template.stages)}
        return cls(
            name=_(template.name),
            rows=[
                StageRow(
                    key=keys[stage.name],
                    name=stage.name,
                    kind=stage.task,
                    params=write_params(stage.params),
                    after=[keys[above] for above in stage.depends_on],
                    queue=stage.queue,
                    timeout_s=str(stage.timeout_s or ""),
                    max_retries=str(stage.max_retries),
                )
                for stage in template.stages
            ],
        )

    @classmethod
    def from_post(cls, data: QueryDict) -> "PipelineForm":
        keys = [key for key in dict.fromkeys(data.getlist("row")) if key.isascii() and key.isdigit()][: MOST_ROWS + 1]

        def typed(name: str) -> str:
            return str(data.get(name, "")).strip()

        rows = [
            StageRow(
                key,
                name=typed(f"stage-{key}-name"),
                kind=typed(f"stage-{key}-kind"),
                params=str(data.get(f"stage-{key}-params", "")),
                after=[other for other in data.getlist(f"stage-{key}-after") if other in keys],
                queue=typed(f"stage-{key}-queue"),
                timeout_s=typed(f"stage-{key}-timeout_s"),
                max_retries=typed(f"stage-{key}-max_retries"),
            )
            for key in keys
        ]
        return cls(
            name=typed("name"),
            description=typed("description"),
            priority=typed("priority"),
            max_retries=typed("max_retries"),
            rows=rows,
        )

    # --- More and fewer stages ---

    def add(self) -> None:
        """One more at the end, after the one that stands there: a chain is what most want. None beyond MOST_ROWS."""
        if self.full:
            self.refuse("stages", too_many())
            return
        key = str(max((int(row.key) for row in self.rows), default=-1) + 1)
        after = [self.rows[-1].key] if self.rows else []
        self.rows.append(StageRow(key, kind=self.rows[-1].kind if self.rows else _first_kind(), after=after))
        self.fresh = key

    def remove(self, key: str) -> None:
        """What ran after it runs after what it ran after."""
        gone = next((row for row in self.rows if row.key == key), None)
        if gone is None:
            return
        self.rows.remove(gone)
        for row in self.rows:
            if key in row.after:
                kept = [*(other for other in row.after if other != key), *gone.after]
                row.after = [other for other in dict.fromkeys(kept) if other != row.key]

    # --- What it says ---

    @property
    def full(self) -> bool:
        return len(self.rows) >= MOST_ROWS

    def label(self, row: StageRow) -> str:
        return row.name or _("Stage %(number)s") % {"number": self.rows.index(row) + 1}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The graph as typed, by key: unnamed stages and those of the same name stay apart."""
        return tuple(Node(row.key, tuple(row.after)) for row in self.rows)

    def choices(self, row: StageRow) -> list[tuple[str, str, bool]]:
        """The other stages as (key, label, whether `row` runs after it)."""
        return [(other.key, self.label(other), other.key in row.after) for other in self.rows if other is not row]

    def spec(self) -> PipelineSpec:
        """What is asked for. What cannot be read is noted at its field, and stands in for nothing."""
        self._check_own()
        name_of = {row.key: row.name for row in self.rows}
        return PipelineSpec(
            name=self.name,
            description=self.description,
            priority=_whole(self.priority, 5),
            max_retries=_whole(self.max_retries, 0),
            stages=[
                StageSpec(
                    name=row.name,
                    task=row.kind,
                    params=self._params(row),
                    depends_on=tuple(name_of[key] for key in row.after),
                    queue=row.queue,
                    timeout_s=_whole(row.timeout_s, 0) or None,
                    max_retries=_whole(row.max_retries, 0),
                )
                for row in self.rows
            ],
        )

    def _check_own(self) -> None:
        if len(self.rows) > MOST_ROWS:
            self.refuse("stages", too_many())
        if not self.name:
            self.refuse("name", _("Give the pipeline a name."))
        elif len(self.name) > 200:
            self.refuse("name", _("At most %(most)s characters.") % {"most": 200})
        if not _between(self.priority, 1, 10):
            self.refuse("priority", _("A whole number from %(low)s to %(high)s.") % {"low": 1, "high": 10})
        retries = _("A whole number from %(low)s to %(high)s.") % {"low": 0, "high": MOST_RETRIES}
        if not _between(self.max_retries or "0", 0, MOST_RETRIES):
            self.refuse("max_retries", retries)
        for row in self.rows:
            if not _between(row.max_retries or "0", 0, MOST_RETRIES):
                row.refuse("max_retries", retries)
            if row.timeout_s and not _between(row.timeout_s, 1, LONGEST_TIMEOUT_S):
                row.refuse(
                    "timeout_s",
                    _("A whole number from %(low)s to %(high)s.") % {"low": 1, "high": LONGEST_TIMEOUT_S},
                )

    def _params(self, row: StageRow) -> dict[str, Any]:
        try:
            return read_params(row.params)
        except Unreadable as error:
            row.refuse("params", str(error))
            row.unread = True
            return {}

    # --- What is wrong with it ---

    def refuse(self, name: str, message: str) -> None:
        self.errors.setdefault(name, []).append(message)

    def place(self, problems: Mapping[str, str]) -> None:
        """Put the service's problems, by dotted field, where they hurt. Without any, and none of its own, the form is
        ready."""
        for where, told in problems.items():
            parts = where.split(".", 3)
            if parts[0] != "stages" or len(parts) < 3:
                self.refuse(where, told)
                continue
            row, name = self.rows[int(parts[1])], PLACES.get(parts[2], parts[2])
            if name == "params":
                # A text that cannot be read has no parameters: that they are missing goes without saying.
                if row.unread:
                    continue
                row.refuse("params", f"{parts[3]}: {told}" if len(parts) > 3 else told)
            elif name == "name" and not row.name:
                row.refuse("name", _("Give the stage a name."))
            else:
                row.refuse(name if name in FIELDS else "name", told)
        self.ready = not self.errors and not any(row.errors for row in self.rows)

    def forget_blanks(self) -> None:
        """While somebody still types, that a name is missing is no news."""
        if not self.name:
            self.errors.pop("name", None)
        for row in self.rows:
            if not row.name:
                row.errors.pop("name", None)
            if not row.params.strip():
                row.errors.pop("params", None)


def too_many() -> str:
    """What to do with a pipeline that has more stages than the form takes."""
    told = _("This form takes at most %(rows)s stages. Larger pipelines, up to %(stages)s, are made over the API.")
    return told % {"rows": MOST_ROWS, "stages": MOST_STAGES}


def kinds() -> list[str]:
    return names()


def queues() -> Iterable[str]:
    return STAGE_QUEUES


def _first_kind() -> str:
    known = names()
    return "train_model" if "train_model" in known else known[0]


def _between(text: str, low: int, high: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER and low <= int(text) <= high


def _whole(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER else otherwise
