"""A recipe as a form: the settings people tune, grouped, and everything else as YAML. Or all of them as YAML.

The text in the fields is the truth: what cannot be read stays as it was typed, with what is wrong beside it.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext as _

from .models import Recipe
from .recipes import resources, yaml_text
from .recipes.diff import same
from .recipes.fields import Field
from .recipes.spec import SFT, VERL, Json, Leaf
from .recipes.trainers import TRAINERS, Rules, Trainer
from .recipes.yaml_text import YamlProblem
from .services.recipes import Draft

PLAIN: Final = ("name", "slug", "description", "base_model", "dataset", "on_critical", "on_stall")
SETTING: Final = "set:"
"""Stands before a setting's key in the names of controls."""


@dataclass
class Setting:
    """One control. Empty text means the trainer's default."""

    field: Field
    leaf: Leaf
    rules: Rules
    text: str = ""
    errors: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{SETTING}{self.field.key}"

    @property
    def id(self) -> str:
        return field_id(self.field.key)

    @property
    def default(self) -> str:
        return _shown(self.leaf.default)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """What may be chosen, where it is one of a few words; empty for a field to type in."""
        if self.leaf.types == {"boolean"}:
            words: Iterable[str] = ("true", "false")
        elif self.leaf.types == {"string"} and self.field.key in self.rules.words:
            words = self.rules.words[self.field.key]
        else:
            return []
        known = [*words, *([self.text] if self.text and self.text not in words else [])]
        return [("", _("%(value)s (default)") % {"value": self.default}), *((word, word) for word in known)]

    @property
    def numeric(self) -> bool:
        return self.leaf.types <= {"integer", "number", "null"}

    @property
    def range(self) -> str:
        least, most = self.rules.at_least.get(self.field.key), self.rules.at_most.get(self.field.key)
        if least is not None and most is not None:
            return _("From %(least)s to %(most)s.") % {"least": f"{least:g}", "most": f"{most:g}"}
        return _("At least %(least)s.") % {"least": f"{least:g}"} if least is not None else ""

    def value(self) -> Json:
        """Raises YamlProblem."""
        if self.leaf.types == {"string"}:
            return self.text
        return yaml_text.read_value(self.text)


@dataclass
class Section:
    name: str
    settings: list[Setting]

    @property
    def open(self) -> bool:
        """Whether there is something to see in it."""
        return any(setting.text or setting.errors for setting in self.settings)


class RecipeForm:
    """`whole`: all settings stand in `yaml`; else only those that no control has."""

    def __init__(self, algorithm: str = SFT, trainer: str = VERL) -> None:
        self.algorithm, self.trainer = algorithm, trainer
        self.plain = dict.fromkeys(PLAIN, "") | {
            "on_critical": Recipe.OnCritical.STOP.value,
            "on_stall": Recipe.OnStall.NOTIFY.value,
        }
        self.yaml = ""
        self.whole = False
        self.errors: dict[str, list[str]] = {}
        known = TRAINERS.get((algorithm, trainer))
        self.sections = _sections(known) if known is not None else []

    @property
    def settings(self) -> dict[str, Setting]:
        return {setting.field.key: setting for section in self.sections for setting in section.settings}

    @classmethod
    def of(
        cls, algorithm: str, trainer: str, params: Mapping[str, Json], plain: Mapping[str, str] | None = None
    ) -> "RecipeForm":
        form = cls(algorithm, trainer)
        form.plain |= plain or {}
        form.fill(params)
        return form

    @classmethod
    def from_post(cls, data: QueryDict, *, algorithm: str, trainer: str) -> "RecipeForm":
        form = cls(algorithm, trainer)
        form.plain = {name: data.get(name, form.plain[name]).strip() for name in PLAIN}
        form.yaml = data.get("yaml", "")
        form.whole = data.get("view") == "yaml"
        for setting in form.settings.values():
            setting.text = data.get(setting.name, "").strip()
        return form

    def fill(self, params: Mapping[str, Json]) -> None:
        """Put values where this view shows them."""
        known = {} if self.whole else self.settings
        for key, setting in self.settings.items():
            setting.text = _shown(params[key]) if key in params and key in known else ""
        self.yaml = yaml_text.write({key: value for key, value in params.items() if key not in known})

    def params(self) -> dict[str, Json]:
        """The settings that can be read; what cannot is noted at its field."""
        found: dict[str, Json] = {}
        if not self.whole:
            for key, setting in self.settings.items():
                if setting.text:
                    try:
                        found[key] = setting.value()
                    except YamlProblem as problem:
                        setting.errors.append(_(problem.template) % problem.values)
        try:
            for key, value in yaml_text.read(self.yaml).items():
                if key in found and not same(found[key], value):
                    self.fail("yaml", _("%(key)s stands above as well, with another value.") % {"key": key})
                found[key] = value
        except YamlProblem as problem:
            self.fail("yaml", _(problem.template) % problem.values)
        return found

    def draft(self, params: Mapping[str, Json], derived_from: str | None = None) -> Draft:
        return Draft(
            name=self.plain["name"],
            algorithm=self.algorithm,
            trainer=self.trainer,
            base_model=self.plain["base_model"],
            params=params,
            slug=self.plain["slug"],
            description=self.plain["description"],
            dataset=self.plain["dataset"] or None,
            derived_from=derived_from,
            on_critical=self.plain["on_critical"],
            on_stall=self.plain["on_stall"],
        )

    def missing(self) -> None:
        """Note what has to be given and is not."""
        for name in ("name", "base_model"):
            if not self.plain[name]:
                self.fail(name, _("This is needed."))
        if self.plain["on_critical"] not in Recipe.OnCritical.values:
            self.fail("on_critical", _("Choose one of these."))
        if self.plain["on_stall"] not in Recipe.OnStall.values:
            self.fail("on_stall", _("Choose one of these."))

    def place(self, fields: Mapping[str, Iterable[str]]) -> None:
        """Put what is wrong where it hurts: `name` or `params.KEY` -> sentences."""
        settings = {} if self.whole else self.settings
        for name, messages in fields.items():
            key = name.removeprefix("params.")
            if key in settings:
                settings[key].errors.extend(messages)
            elif name in PLAIN:
                for message in messages:
                    self.fail(name, message)
            else:
                for message in messages:
                    self.fail("yaml", f"{key}: {message}")

    def fail(self, name: str, message: str) -> None:
        self.errors.setdefault(name, []).append(message)

    @property
    def valid(self) -> bool:
        return not self.errors and not any(setting.errors for setting in self.settings.values())


def _sections(trainer: Trainer) -> list[Section]:
    leaves = trainer.tree().leaves
    return [
        Section(group.name, [Setting(one, leaves[one.key], trainer.rules) for one in group.fields])
        for group in (*trainer.groups, resources.GROUP)
    ]


def field_id(key: str) -> str:
    """The control of a setting on the page."""
    return f"set-{key.replace('.', '-')}"


def further_keys(algorithm: str, trainer: str) -> list[str]:
    """Every key that a recipe may set, for completion."""
    known = TRAINERS.get((algorithm, trainer))
    return [key for key in known.tree().leaves if key not in known.rules.platform] if known is not None else []


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else yaml_text.write_value(value)
