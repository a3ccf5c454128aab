"""Checks a recipe against the trainer's own tree before anything is run."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from platform_runtime import models

from . import diagnosability, literals, resources, schema
from .spec import Checked, DatasetRef, Json, Leaf, Problem, RecipeSpec, gettext_noop
from .trainers import Rules, Trainer, supported, trainer_of

BUILTIN_MODELS: Final = models.NAMES
MAX_KEYS: Final = 2_000
MAX_SEARCHES: Final = 50

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "learning_rate": ("lr", "learning_rate"),
    "lr": ("lr", "learning_rate"),
    "epochs": ("total_epochs", "num_train_epochs"),
    "num_epochs": ("total_epochs", "num_train_epochs"),
    "num_train_epochs": ("total_epochs", "num_train_epochs"),
    "max_steps": ("total_training_steps", "max_steps"),
    "batch_size": ("train_batch_size", "per_device_train_batch_size"),
    "warmup_ratio": ("lr_warmup_steps_ratio", "warmup_ratio"),
    "save_steps": ("save_freq", "save_steps"),
}
"""What other trainers call a setting -> what those here may call it."""

UNKNOWN: Final = gettext_noop("The trainer has no such setting.")
A_GROUP: Final = gettext_noop("This is a group of settings: name one of them, such as %(example)s.")
WRONG_TYPE: Final = gettext_noop("Must be %(expected)s, not %(given)s (%(value)s).")
WRONG_ITEM: Final = gettext_noop("The list must hold %(expected)s, not %(value)s.")

_BESIDE: Final = frozenset({"base_model", "dataset"})
"""What may be wrong beside the settings."""

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHOWN: Final = 80


def check(
    spec: RecipeSpec,
    *,
    dataset: DatasetRef | None = None,
    gpus: int | None = None,
    admin: bool = False,
    inherited: Mapping[str, Json] | None = None,
) -> Checked:
    """Everything that is wrong with a recipe, all at once.

    `dataset` adds the checks that need its size. `gpus` is the number of trainer processes; where nobody knows it yet,
    as many are taken as the recipe asks for, or its settings need. `admin` allows the keys of `Rules.admin`;
    `inherited` is what somebody who may has saved before: equal values pass.
    """
    unknown = check_trainer(spec)
    if unknown is not None:
        return Checked(errors=(unknown,))
    trainer = trainer_of(spec.algorithm, spec.trainer)
    errors = list(base_model_problems(spec.base_model))
    if dataset is not None and dataset.kind != trainer.dataset_kind:
        errors.append(
            Problem(
                "dataset",
                gettext_noop("A dataset of kind %(kind)s does not fit a recipe for %(algorithm)s."),
                {"kind": dataset.kind, "algorithm": spec.algorithm},
            )
        )
    if len(spec.params) > MAX_KEYS:
        errors.append(Problem("params", gettext_noop("More than %(limit)d parameters."), {"limit": MAX_KEYS}))
        return Checked(errors=tuple(errors))
    warnings: list[Problem] = []
    judged = _Judge(trainer, admin, inherited or {})
    for key, value in spec.params.items():
        instead = trainer.rules.replacement(key, value)
        if instead is not None:
            warnings.append(Problem(key, instead[1], suggestion=instead[0]))
            continue
        found = judged.problem(key, value)
        if found is not None:
            errors.append(found)
        elif (why := trainer.rules.ignored(key)) is not None:
            # People bring whole scripts: what they say of paths and machines does no harm, and counts for nothing.
            warnings.append(Problem(key, why))
        elif literals.holds_substitution(value):
            warnings.append(Problem(key, gettext_noop("${…} is taken as it is written: nothing is put in its place.")))
    told = {problem.key for problem in errors}
    errors.extend(problem for problem in resources.problems(spec.params) if problem.key not in told)
    errors.extend(_overlaps(spec.params))
    # A key that the trainer does not have says nothing of the others; a wrong value would be judged twice.
    strange = {one.key for one in errors if one.template in (UNKNOWN, A_GROUP)}
    if all(one.key in strange or one.key in _BESIDE for one in errors):
        settings = effective(replace(spec, params={key: spec.params[key] for key in spec.params.keys() - strange}))
        fewest = trainer.fewest(settings)
        processes = gpus or resources.of_recipe(spec, fewest).gpus or fewest
        errors.extend(trainer.problems(settings, dataset, processes))
        warnings.extend(trainer.warnings(settings))
        warnings.extend(diagnosability.blind_spots(settings, trainer.rules.platform))
    return Checked(errors=tuple(errors), warnings=tuple(warnings))


def effective(spec: RecipeSpec) -> dict[str, Any]:
    """The value of every key that is a recipe's to set: the recipe's, else the trainer's default."""
    trainer = trainer_of(spec.algorithm, spec.trainer)
    values = {**{key: leaf.default for key, leaf in trainer.tree().leaves.items()}, **spec.params}
    return {
        key: instead[0] if (instead := trainer.rules.replacement(key, value)) else value
        for key, value in values.items()
        if trainer.rules.ignored(key) is None
    }


def resources_of(spec: RecipeSpec) -> resources.Resources:
    """What a run of a sound recipe asks of its host."""
    return resources.of_recipe(spec, trainer_of(spec.algorithm, spec.trainer).fewest(effective(spec)))


class _Judge:
    """Judges one key and its value at a time."""

    def __init__(self, trainer: Trainer, admin: bool, inherited: Mapping[str, Json]) -> None:
        self._tree = trainer.tree().leaves
        self._rules = trainer.rules
        self._settable = [name for name in self._tree if name not in self._rules.platform]
        self._admin = admin
        self._inherited = inherited
        self._searches = 0

    def problem(self, key: str, value: Json) -> Problem | None:
        """The first thing wrong with it."""
        found = literals.key_problem(key)
        if found is not None:
            return self._with_suggestion(found)
        if self._rules.ignored(key) is not None:
            return literals.value_problem(key, value)
        leaf = self._tree.get(key)
        if leaf is None:
            return self._unlisted(key, value)
        found = literals.value_problem(key, value) or _type_problem(leaf, value)
        found = found or _range_problem(self._rules, key, value)
        return found or self._permission(key, value, leaf.default)

    def _unlisted(self, key: str, value: Json) -> Problem | None:
        """A key that the tree does not list: fine below an open leaf, else unknown."""
        above = [key[:at] for at, letter in enumerate(key) if letter == "."]
        if any(name in self._tree and self._tree[name].open for name in above):
            return literals.value_problem(key, value) or self._permission(key, value, None)
        inside = [name for name in self._tree if name.startswith(f"{key}.")]
        if inside:
            return Problem(
                key,
                A_GROUP,
                {"example": inside[0]},
                suggestion=inside[0],
            )
        return Problem(key, UNKNOWN, suggestion=self._nearest(key))

    def _permission(self, key: str, value: Json, default: Json) -> Problem | None:
        why = None if self._admin else self._rules.reserved(key, value, default)
        if why is None or (key in self._inherited and self._inherited[key] == value):
            return None
        return Problem(key, why)

    def _nearest(self, key: str) -> str | None:
        """The nearest real key; a search takes a millisecond, so thousands of wrong keys get no more of them."""
        self._searches += 1
        return nearest(key, self._settable) if self._searches <= MAX_SEARCHES else None

    def _with_suggestion(self, problem: Problem) -> Problem:
        """Proposes the plain key only if there is one."""
        if problem.suggestion is None or problem.suggestion in self._tree:
            return problem
        return Problem(problem.key, problem.template, problem.values, self._nearest(problem.suggestion))


def nearest(key: str, settable: Sequence[str]) -> str | None:
    """The real key that was probably meant: the same last word elsewhere, else the closest spelling."""
    last = key.rpartition(".")[2].lower()
    for alias in ALIASES.get(last, ()):
        meant = [name for name in settable if name.rpartition(".")[2] == alias]
        if meant:
            return min(meant, key=len)
    close = difflib.get_close_matches(key, settable, n=1, cutoff=0.75)
    same_word = [name for name in settable if name.rpartition(".")[2].lower() == last]
    if same_word and not close:
        return max(same_word, key=lambda name: difflib.SequenceMatcher(None, key, name).ratio())
    if close:
        return close[0]
    loose = difflib.get_close_matches(key, settable, n=1, cutoff=0.5)
    return loose[0] if loose else None


def check_trainer(spec: RecipeSpec) -> Problem | None:
    """What is wrong where the recipe names a trainer that there is not."""
    if (spec.algorithm, spec.trainer) in supported():
        return None
    known = ", ".join(f"{algorithm} ({trainer})" for algorithm, trainer in supported())
    return Problem(
        "algorithm",
        gettext_noop("%(algorithm)s with %(trainer)s cannot be run here. Available: %(known)s."),
        {"algorithm": spec.algorithm, "trainer": spec.trainer, "known": known},
    )


def base_model_problems(name: str) -> Iterator[Problem]:
    """What is wrong with the name of a base model. Whether there is such a model, its host knows."""
    if name.startswith("builtin:"):
        if name not in BUILTIN_MODELS:
            yield Problem(
                "base_model",
                gettext_noop("There is no such built-in model. Available: %(known)s."),
                {"known": ", ".join(BUILTIN_MODELS)},
                suggestion=next(iter(difflib.get_close_matches(name, BUILTIN_MODELS, n=1)), BUILTIN_MODELS[0]),
            )
        return
    absolute = name.startswith("/") and literals.value_problem("base_model", name) is None
    if ".." in name.split("/") or not (absolute or _HUB_NAME.fullmatch(name)):
        yield Problem(
            "base_model",
            gettext_noop(
                "Give a built-in model, a name such as organisation/model, or an absolute folder on the host."
            ),
        )


def _type_problem(leaf: Leaf, value: Json) -> Problem | None:
    given = schema.json_type(value)
    allowed = leaf.types
    fits = given in allowed or ("any" in allowed and given != "object") or (given == "integer" and "number" in allowed)
    if fits and given == "array":
        return _items_problem(leaf, value)
    if fits:
        return None
    return Problem(
        leaf.key,
        WRONG_TYPE,
        {"expected": " or ".join(sorted(allowed)), "given": given, "value": _shown(value)},
        suggestion=_converted(value, allowed),
    )


def _items_problem(leaf: Leaf, value: Any) -> Problem | None:
    """Lists hold what the trainer says, else what the default list holds; without an example, anything flat."""
    samples = {schema.json_type(item) for item in leaf.default} if isinstance(leaf.default, (list, tuple)) else set()
    said = set(leaf.items.split("|")) if leaf.items else set()
    expected = said or samples or {"string", "number", "integer", "boolean", "null"}
    if "number" in expected:
        expected = expected | {"integer"}
    for item in value:
        if schema.json_type(item) not in expected:
            return Problem(
                leaf.key,
                WRONG_ITEM,
                {"expected": " or ".join(sorted(expected)), "value": _shown(item)},
            )
    return None


def _range_problem(rules: Rules, key: str, value: Any) -> Problem | None:
    given = schema.json_type(value)
    if given in ("integer", "number"):
        least, most = rules.at_least.get(key), rules.at_most.get(key)
        if least is not None and value < least:
            # At a rate of 0 nothing is learned.
            suggestion = None if key.endswith("lr") else str(least)
            return Problem(key, gettext_noop("Must be at least %(least)s."), {"least": least}, suggestion=suggestion)
        if most is not None and value > most:
            return Problem(key, gettext_noop("Must be at most %(most)s."), {"most": most}, suggestion=str(most))
        if key in rules.not_zero and value == 0:
            return Problem(key, gettext_noop("Cannot be 0: use -1 to switch it off."), suggestion="-1")
    if given == "array" and key in rules.lengths and len(value) != rules.lengths[key]:
        return Problem(key, gettext_noop("The list must have %(count)d items."), {"count": rules.lengths[key]})
    if key in rules.words:
        words = value if given == "array" else [value]
        for word in words:
            if isinstance(word, str) and word not in rules.words[key]:
                close = difflib.get_close_matches(word, rules.words[key], n=1)
                return Problem(
                    key,
                    gettext_noop("%(value)s is not one of %(words)s."),
                    {"value": _shown(word), "words": ", ".join(rules.words[key])},
                    suggestion=close[0] if close else None,
                )
    return None


def _overlaps(params: Mapping[str, Json]) -> Iterator[Problem]:
    """A key and one below it cannot both be given."""
    for key in params:
        for at, letter in enumerate(key):
            if letter == "." and key[:at] in params:
                yield Problem(
                    key, gettext_noop("%(above)s is given too: one would hide the other."), {"above": key[:at]}
                )


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _converted(value: Json, allowed: frozenset[str]) -> str | None:
    """What the text was probably meant to be: "1e-4" for a number, "True" for a boolean."""
    if not isinstance(value, str):
        return str(int(value)) if isinstance(value, float) and value.is_integer() and "integer" in allowed else None
    if "boolean" in allowed and value.lower() in ("true", "false"):
        return value.lower()
    for name, convert in (("integer", int), ("number", float)):
        if name in allowed:
            try:
                converted = convert(value)
            except ValueError:
                continue
            return str(converted) if math.isfinite(converted) else None
    return None
