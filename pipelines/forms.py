"""The forms that start runs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.models import Dataset
from environments.models import Host
from platform_site.common.errors import PlatformError

from .models import Job, Recipe, RecipeRevision


def literal(text: str) -> Any:
    """What a person means by a value: JSON where it is JSON (numbers, true, null, lists), else the text itself.

    Python's spellings of the same (True, None, 1e-4) are taken too. Non-finite numbers stay text.
    """
    text = text.strip()
    named = {"True": True, "False": False, "None": None}
    if text in named:
        return named[text]
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    return number if number - number == 0 else text


@dataclass
class OverrideRow:
    """One line of the form: a dotted key and the value as typed."""

    key: str = ""
    value: str = ""
    errors: list[str] = field(default_factory=list)


class Overrides:
    """The rows of settings that differ from the recipe, as the lists `key` and `value` of a form."""

    def __init__(self, rows: Iterable[OverrideRow] = ()) -> None:
        self.rows = list(rows)

    @classmethod
    def from_post(cls, data: QueryDict) -> "Overrides":
        pairs = zip(data.getlist("key"), data.getlist("value"), strict=False)
        return cls(OverrideRow(key.strip(), value) for key, value in pairs if key.strip() or value.strip())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Overrides":
        return cls(
            OverrideRow(key, value if isinstance(value, str) and literal(value) == value else json.dumps(value))
            for key, value in values.items()
        )

    def is_valid(self) -> bool:
        seen: set[str] = set()
        for row in self.rows:
            if not row.key:
                row.errors.append(_("Name the setting."))
            elif row.key in seen:
                row.errors.append(_("This setting stands here twice."))
            seen.add(row.key)
        return not any(row.errors for row in self.rows)

    @property
    def values(self) -> dict[str, Any]:
        return {row.key: literal(row.value) for row in self.rows}

    def add_error(self, key: str, messages: Iterable[str]) -> bool:
        """True when a row has that key."""
        for row in self.rows:
            if row.key == key:
                row.errors.extend(messages)
                return True
        return False

    @property
    def shown(self) -> list[OverrideRow]:
        """With one empty row at the end, for those who cannot add one."""
        return [*self.rows, OverrideRow()]


@dataclass(frozen=True)
class Pinned:
    """The very revision and version that a run had, as further choices: (`slug@number`, how it reads)."""

    recipe: tuple[str, str]
    dataset: tuple[str, str] | None = None

    @classmethod
    def of(cls, job: Job) -> "Pinned":
        revision, version = job.recipe_revision, job.dataset_version
        recipe = (
            f"{revision.recipe.slug}@{revision.number}",
            _("%(name)s, revision %(number)d") % {"name": _(revision.recipe.name), "number": revision.number},
        )
        if version is None:
            return cls(recipe)
        told = _("%(name)s, version %(number)d") % {"name": _(version.dataset.name), "number": version.number}
        return cls(recipe, (f"{version.dataset.slug}@{version.number}", told))


class NewRunForm(forms.Form):
    recipe = forms.ChoiceField(label=gettext_lazy("Recipe"))
    dataset = forms.ChoiceField(
        label=gettext_lazy("Dataset"),
        required=False,
        error_messages={"invalid_choice": gettext_lazy("The recipe learns from none of that name.")},
    )
    name = forms.CharField(label=gettext_lazy("Name"), required=False, max_length=200)
    host = forms.ChoiceField(label=gettext_lazy("Host"), required=False)
    step = forms.IntegerField(min_value=0, required=False, widget=forms.HiddenInput)
    """Of the run that is made once more: the checkpoint to begin from."""

    def __init__(
        self,
        *args: Any,
        recipes: Iterable[Recipe],
        datasets: Iterable[Dataset],
        hosts: Iterable[Host],
        lacking: Mapping[str, str],
        revision: RecipeRevision | None,
        pinned: Pinned | None = None,
        **kwargs: Any,
    ) -> None:
        """`lacking`: why no host can run these recipes, by slug. `revision`: the one that is chosen. `pinned`: what a
        run had that is to be made once more, first among the choices."""
        super().__init__(*args, **kwargs)
        first_recipe = [pinned.recipe] if pinned else []
        first_dataset = [pinned.dataset] if pinned and pinned.dataset else []
        own = [("", _("The recipe's own"))] if revision is not None and revision.dataset_id else []
        for name, choices in (
            ("recipe", [*first_recipe, *_grouped(recipes, lacking)]),
            (
                "dataset",
                [*first_dataset, *own, *((d.slug, f"{_(d.name)} · {d.get_kind_display()}") for d in datasets)],
            ),
            ("host", [("", _("Any free host")), *((h.name, h.name) for h in hosts)]),
        ):
            field_ = self.fields[name]
            assert isinstance(field_, forms.ChoiceField)  # for the type checker: set six lines above
            field_.choices = choices
        self.use_required_attribute = False
        if pinned is None:
            # Choosing another recipe shows what it is and the data for it, without losing what was typed.
            self.fields["recipe"].widget.attrs |= {
                "hx-get": reverse("job-new"), "hx-trigger": "change", "hx-target": "#recipe-aside",
                "hx-select": "#recipe-aside", "hx-swap": "outerHTML",
                "hx-select-oob": "#id_dataset", "hx-include": "#id_dataset",
            }  # fmt: skip
        for name in self.fields:
            self.fields[name].widget.attrs["autocomplete"] = "off"


def _grouped(recipes: Iterable[Recipe], lacking: Mapping[str, str]) -> list[Any]:
    """Choices: those that a host can run, then the others with what they lack."""
    fit, unfit = [], []
    for recipe in recipes:
        label = f"{_(recipe.name)} · {recipe.get_algorithm_display()}"
        if why := lacking.get(recipe.slug):
            unfit.append((recipe.slug, f"{label} · {why}"))
        else:
            fit.append((recipe.slug, label))
    return [*fit, (_("No host can run these now"), unfit)] if unfit else fit


def tell(form: forms.Form | None, overrides: Overrides, error: PlatformError) -> list[str]:
    """Put a service's refusal where it hurts: at the field, at the row, and what belongs to neither is returned."""
    rest: list[str] = []
    placed = False
    for name, messages in error.fields.items():
        if form is not None and name in form.fields:
            # "unknown" alone says little beside a field: the whole sentence does.
            form.add_error(name, error.message if len(error.fields) == 1 else messages)
            placed = True
        elif overrides.add_error(name.removeprefix("overrides."), messages):
            placed = True
        else:
            rest.extend(f"{name}: {message}" for message in messages)
    return rest or ([] if placed else [error.message])
