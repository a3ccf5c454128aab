"""A verl command line, or a script that ends in one, as a recipe. Read as text: nothing of it is run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from . import literals, resources, shell
from .shell import Arg, Command, ShellProblem
from .spec import SFT, VERL, Json, Problem, RecipeSpec, gettext_noop
from .trainers import TRAINERS, Trainer

__all__ = ["Imported", "LeftOut", "Located", "ShellProblem", "read"]

GRPO: Final = "grpo"
ESTIMATOR: Final = "algorithm.adv_estimator"
NAME: Final = "trainer.experiment_name"
MOST_KEYS: Final = 2_000
LONGEST_VALUE: Final = 4_096
LONGEST_OVERRIDES: Final = 32_768
"""Characters that Hydra's parser is given altogether: it takes a second for ten thousand."""


@dataclass(frozen=True)
class Entry:
    """What a module of verl trains. `model_keys` name the base model, the later one where a release renamed it.

    `configs`: names of its own configuration, so that naming one changes nothing.
    """

    algorithm: str
    model_keys: tuple[str, ...]
    configs: tuple[str, ...]
    unused: tuple[str, ...] = ()
    """Beginnings of keys of the module that say nothing of this algorithm."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Hydra's choices of a file for a group of settings -> the one that is taken without a word."""


_SFT_GROUPS: Final = {"engine": "fsdp", "optim": "fsdp", "model": "hf_model"}

ENTRIES: Final[Mapping[str, Entry]] = {
    # verl/trainer/sft_trainer.py, @hydra.main(config_name=…); sft_trainer_ray.py has the same tree.
    "verl.trainer.sft_trainer": Entry(SFT, ("model.path",), ("sft_trainer_engine",), groups=_SFT_GROUPS),
    "verl.trainer.sft_trainer_ray": Entry(SFT, ("model.path",), ("sft_trainer_engine",), groups=_SFT_GROUPS),
    # Until verl 0.7.
    "verl.trainer.fsdp_sft_trainer": Entry(SFT, ("model.path", "model.partial_pretrain"), ("sft_trainer",)),
    # verl/trainer/main_ppo.py
    "verl.trainer.main_ppo": Entry(GRPO, ("actor_rollout_ref.model.path",), ("ppo_trainer",), ("critic.",)),
}
"""Module -> what it trains."""


@dataclass(frozen=True)
class LeftOut:
    """A setting of the command that the recipe does without. `value` is how it is written there."""

    key: str
    value: str
    line: int
    template: str


@dataclass(frozen=True)
class Located:
    """A problem and the line of the text it is in."""

    line: int
    problem: Problem


@dataclass(frozen=True)
class Imported:
    """`spec.slug` is empty: the recipe has no name yet. `name` is what the command calls its run."""

    spec: RecipeSpec
    name: str
    line: int
    left_out: tuple[LeftOut, ...]
    problems: tuple[Located, ...]


def read(text: str) -> Imported:
    """Raises ShellProblem where the text is no script, or no command in it starts a trainer of verl."""
    script = shell.read(text)
    found = [(command, *entry) for command in script.commands if (entry := _entry(command)) is not None]
    if not found:
        raise _no_command(script.commands)
    command, module, at = found[0]
    reading = _Reading(ENTRIES[module])
    args = iter(command.args[at:])
    for arg in args:
        # `--config-name NAME` in two words.
        following = next(args, None) if arg.text in _TWO_WORDS else None
        reading.take(arg, following)
    for other, name, _at in found[1:]:
        reading.tell(other.line, "", OTHER_COMMAND, module=name)
    for other in script.commands:
        if other.line > command.line and _OVERRIDE.match(other.args[0].text):
            reading.tell(other.line, other.args[0].text.partition("=")[0], OUTSIDE)
            break
    for name, line in script.exported.items():
        # Its value may be a secret.
        reading.left_out.append(LeftOut(name, "", line, ENVIRONMENT))
    return reading.result(command.line)


OTHER_COMMAND: Final = gettext_noop("A second command, %(module)s, is not taken: import it by itself.")
OUTSIDE: Final = gettext_noop(
    "This stands behind the end of the command and is no part of it: a comment or an empty line between continued "
    "lines ends it."
)
ENVIRONMENT: Final = gettext_noop("An environment variable is no setting of the trainer: a run gets its own few.")
OTHER_CONFIG: Final = gettext_noop("Another configuration file is not read: what it sets is missing here.")
UNUSED: Final = gettext_noop("GRPO has no critic.")
OWN_GROUP: Final = gettext_noop("It is what the trainer takes anyway.")
OTHER_GROUP: Final = gettext_noop(
    "%(value)s in place of %(usual)s cannot be taken over: runs here have %(usual)s, and its settings."
)
DELETED: Final = gettext_noop("A setting cannot be taken away: it has the trainer's default.")
AGAIN: Final = gettext_noop("It is set again further on, and the last one counts.")
SWEEP: Final = gettext_noop("%(value)s stands for several runs. Give one value.")
NO_OVERRIDE: Final = gettext_noop("%(text)s is no setting: key=value is expected.")
UNREAD: Final = gettext_noop("Hydra cannot read it: %(problem)s")
TOO_LONG: Final = gettext_noop("The text is longer than %(limit)d characters.")
TOO_MANY: Final = gettext_noop("More than %(limit)d parameters.")
CRITIC: Final = gettext_noop(
    "The advantages are estimated by %(estimator)s, which is PPO with a critic: GRPO is what can be run here."
)

_TWO_WORDS: Final = frozenset({"--config-name", "--config-path", "--config-dir", "-cn", "-cp", "-cd"})
_MODULE: Final = re.compile(r"(?:verl|recipe)(?:\.\w+)+")
_FILE: Final = re.compile(r"(?:.*/)?(verl/trainer/\w+)\.py")
_OVERRIDE: Final = re.compile(r"(?:\+\+?|~)?[A-Za-z_]\w*(?:[./@]\w+)+=")
_PREFIXED: Final = re.compile(r"(\+\+?|~)?([^=]*)(=?)(.*)", re.DOTALL)


def _entry(command: Command) -> tuple[str, int] | None:
    """The module of verl that a command runs, and where its own arguments begin."""
    for module, at in _modules(command):
        if module in ENTRIES:
            return module, at
    return None


def _modules(command: Command) -> Iterator[tuple[str, int]]:
    for at, arg in enumerate(command.args):
        if at and command.args[at - 1].text == "-m" and _MODULE.fullmatch(arg.text):
            yield arg.text, at + 1
        elif found := _FILE.fullmatch(arg.text):
            yield found[1].replace("/", "."), at + 1


def _no_command(commands: tuple[Command, ...]) -> ShellProblem:
    known = ", ".join(ENTRIES)
    for command in commands:
        for module, _at in _modules(command):
            return ShellProblem(
                gettext_noop("Line %(line)d: %(module)s cannot be taken over. What can: %(known)s."),
                line=command.line,
                module=module,
                known=known,
            )
    return ShellProblem(
        gettext_noop("There is no command of verl in it, such as python3 -m MODULE key=value …; modules: %(known)s."),
        known=known,
    )


@dataclass
class _Reading:
    """Takes one argument after the other."""

    entry: Entry
    params: dict[str, tuple[Json, Arg]] = field(default_factory=dict)
    base_model: str = ""
    name: str = ""
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[Located] = field(default_factory=list)
    parsed: int = 0

    def __post_init__(self) -> None:
        self.trainer: Trainer | None = TRAINERS.get((self.entry.algorithm, VERL))
        self.platform = self.trainer.rules.platform if self.trainer is not None else {}
        self.parser = OverridesParser.create()

    def tell(self, line: int, key: str, template: str, **values: object) -> None:
        self.problems.append(Located(line, Problem(key, template, values)))

    def take(self, arg: Arg, following: Arg | None = None) -> None:
        """`following`: the value of an option that is a word of its own."""
        text = arg.text
        if text.startswith("-"):
            self._flag(arg, following)
            return
        _sign, key, equals, value = _split(text)
        if key in self.entry.model_keys and equals:
            self._note_hints(key, arg)
            self.base_model = self._text(arg) if not arg.missing else ""
        elif key in self.platform:
            if key == NAME and not arg.missing:
                self.name = self._text(arg)[:200]
            elif key == resources.OF_SCRIPTS and value.isdecimal() and 0 < int(value) <= resources.MOST_GPUS:
                self.params[resources.GPUS] = (int(value), arg)  # what a run is given, it may ask for
            self.left_out.append(LeftOut(key, shell.shown(value), arg.line, self.platform[key]))
        elif key.startswith(self.entry.unused):
            self.left_out.append(LeftOut(key, shell.shown(value), arg.line, UNUSED))
        elif key in self.entry.groups and not value.startswith("{"):
            usual = self.entry.groups[key]
            if value == usual:
                self.left_out.append(LeftOut(key, value, arg.line, OWN_GROUP))
            else:
                self.tell(arg.line, key, OTHER_GROUP, value=shell.shown(value), usual=usual)
        elif text.startswith("~"):
            self.left_out.append(LeftOut(key, shell.shown(value), arg.line, DELETED))
        elif not equals:
            self._note_hints("", arg)
            if not arg.missing:
                self.tell(arg.line, "", NO_OVERRIDE, text=shell.shown(text))
        else:
            self._note_hints(key, arg)
            if not arg.missing:
                self._set(key, arg)

    def result(self, line: int) -> Imported:
        params = {key: value for key, (value, _arg) in self.params.items()}
        if self.entry.algorithm == GRPO and ESTIMATOR not in self.platform:
            # verl/trainer/config/algorithm.py: without a word it is gae.
            estimator, arg = self.params.get(ESTIMATOR, ("gae", None))
            if estimator == "gae":
                self.tell(arg.line if arg else line, ESTIMATOR, CRITIC, estimator=estimator)
                params.pop(ESTIMATOR, None)
        spec = RecipeSpec("", self.entry.algorithm, VERL, self.base_model, params)
        return Imported(spec, self.name, line, tuple(self.left_out), tuple(self.problems))

    def _flag(self, arg: Arg, following: Arg | None) -> None:
        """An option of Hydra's own, such as --config-name."""
        name, _equals, value = arg.text.partition("=")
        value = following.text if following is not None else value
        if name not in ("--config-name", "-cn") or value.removesuffix(".yaml") not in self.entry.configs:
            self.left_out.append(LeftOut(name, shell.shown(value), arg.line, OTHER_CONFIG))

    def _note_hints(self, key: str, arg: Arg) -> None:
        for hint in arg.hints:
            self.tell(hint.line, key, hint.template, **hint.values)

    def _set(self, key: str, arg: Arg) -> None:
        override = self._parsed(key, arg)
        if override is None:
            return
        if override.is_sweep_override():
            self.tell(arg.line, key, SWEEP, value=shell.shown(arg.text.partition("=")[2]))
            return
        for name, value in self._leaves(key, override.value()):
            problem = literals.key_problem(name) or literals.value_problem(name, value)
            if problem is not None:
                self.problems.append(Located(arg.line, problem))
            elif name in self.platform:
                self.left_out.append(LeftOut(name, shell.shown(str(value)), arg.line, self.platform[name]))
            elif name != ESTIMATOR and (instead := self._replacement(name, value)) is not None:
                self.left_out.append(LeftOut(name, shell.shown(str(value)), arg.line, instead))
            elif len(self.params) >= MOST_KEYS:
                self.tell(arg.line, name, TOO_MANY, limit=MOST_KEYS)
            else:
                if name in self.params:
                    old = self.params.pop(name)[1]
                    self.left_out.append(LeftOut(name, shell.shown(_split(old.text)[3]), old.line, AGAIN))
                self.params[name] = (value, arg)

    def _replacement(self, key: str, value: Json) -> str | None:
        """Why another value counts in place of this one; the trainer has that without a word."""
        found = self.trainer.rules.replacement(key, value) if self.trainer is not None else None
        return found[1] if found is not None else None

    def _text(self, arg: Arg) -> str:
        """A value that is text whatever it looks like: 2024 as the name of a run."""
        override = self._parsed(_split(arg.text)[1], arg)
        return str(override.value()) if override is not None and not override.is_sweep_override() else ""

    def _parsed(self, key: str, arg: Arg) -> Override | None:
        """By Hydra's own grammar; None where it cannot be read, which is told."""
        self.parsed += len(arg.text)
        if len(arg.text) > LONGEST_VALUE or self.parsed > LONGEST_OVERRIDES:
            limit = LONGEST_VALUE if len(arg.text) > LONGEST_VALUE else LONGEST_OVERRIDES
            self.tell(arg.line, key, TOO_LONG, limit=limit)
            return None
        try:
            return self.parser.parse_override(arg.text)
        except HydraException as error:
            self.tell(arg.line, key, UNREAD, problem=str(error).partition("\n")[0])
        except RecursionError:
            self.tell(arg.line, key, gettext_noop("The value is nested too deeply or has too many parts."))
        return None

    def _leaves(self, key: str, value: Any) -> Iterator[tuple[str, Json]]:
        """`group={a: 1}` is the settings of the group, as Hydra merges it."""
        leaf = self.trainer.tree().leaves.get(key) if self.trainer is not None else None
        if isinstance(value, dict) and value and (leaf is None or leaf.open):
            for name, inner in value.items():
                yield from self._leaves(f"{key}.{name}", inner)
        else:
            yield key, value


def _split(text: str) -> tuple[str, str, str, str]:
    """Sign, key, whether there is a value, value."""
    found = _PREFIXED.fullmatch(text)
    assert found is not None  # for the type checker: it matches any text
    return found[1] or "", found[2], found[3], found[4]
