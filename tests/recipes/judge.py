"""What the real loaders say of keys and types. A program for the training environment: a question a line on standard
input, an answer a line on standard output, so that hundreds take one start.

`{"trainer": "sft" | "dpo" | "grpo" | "trl", "values": {key: value}}` →
`{key: {"taken": bool, "fits": bool | null, "why": str}}`. `taken`: there is such a key. `fits`: the value's type is
what the trainer's own class, or its default, has there; null where neither says.
`{"trainer": …, "config": path}` → what is wrong with a compiled configuration, or nothing.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from trl import DPOConfig, ModelConfig
from verl.trainer.ppo.utils import need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from platform_runtime import literals
from platform_runtime.trainers import dpo_loss

Answer = dict[str, Any]


@functools.cache
def hints_of(owner: type) -> dict[str, Any]:
    return typing.get_type_hints(owner)


@functools.cache
def adapter(owner: type, name: str) -> TypeAdapter | None:
    """What judges the values of a field; None where its class says nothing that JSON has a value for."""
    hint = hints_of(owner).get(name, Any)
    inside = (hint, *typing.get_args(hint))
    if Any in inside or any(dataclasses.is_dataclass(part) for part in inside):
        return None
    try:
        # JSON has one kind of list, and a whole number is a number; beyond that nothing is converted.
        return TypeAdapter(without_values(hint), config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except PydanticUserError:
        return None


def without_values(hint: Any) -> Any:
    """Types alone: which words a `Literal` takes is another question."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return typing.Union[tuple(type(value) for value in arguments)]  # noqa: UP007 - made here
        case typing.Union | types.UnionType:
            return typing.Union[tuple(without_values(one) for one in arguments)]  # noqa: UP007
    return hint


def hint_takes(owner: type, name: str, value: Any) -> bool | None:
    """Whether a value is what the class says that its field holds; None where it says nothing."""
    judge = adapter(owner, name)
    if judge is None:
        return None
    try:
        judge.validate_json(json.dumps(value))
    except ValidationError:
        return False
    return True


def like(value: Any, default: Any) -> bool | None:
    """Whether a value has the type of the default; None where that says nothing."""
    if default is None:
        return True if value is None else None
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, ListConfig | list):
        same = isinstance(value, list) and all(default and like(item, default[0]) for item in value)
        # A list of other things than the default's, which may have none: nobody says that it is wrong.
        return True if same else None if isinstance(value, list) else False
    if isinstance(default, DictConfig | dict):
        return isinstance(value, dict)
    return type(value) is type(default)


def fits(owner: type, name: str, value: Any, default: Any) -> bool | None:
    """The class has the say; where its own default is none of what it says, that counts too."""
    said = hint_takes(owner, name, value)
    if said is None:
        return like(value, default)
    if not said and hint_takes(owner, name, plain(default)) is False:
        return like(value, default)
    return said


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


class Verl:
    """One of verl's Hydra trees, overridden by Hydra's own code and then made into verl's own classes."""

    def __init__(self, name: str, **sections: type) -> None:
        """`sections`: those that verl does not know, by the classes that are made of them."""
        self.sections = sections
        with initialize_config_module("verl.trainer.config", version_base=None):
            self.composed = compose(config_name=name)

    def answers(self, values: dict[str, Any]) -> dict[str, Answer]:
        config = copy.deepcopy(self.composed)
        return {key: self._answer(config, key, value) for key, value in values.items()}

    def _answer(self, config: DictConfig, key: str, value: Any) -> Answer:
        known = self._knows(key)
        default = self._at(self.composed, key) if known else None
        if isinstance(default, DictConfig) and self._chosen(key):
            default = None
        section, _, name = key.partition(".")
        if section in self.sections and name:
            return self._ours(self.sections[section], name, value)
        if isinstance(default, DictConfig) and default:
            return {"taken": False, "fits": None, "why": "a group"}
        kind = OverrideType.CHANGE if known else OverrideType.FORCE_ADD
        try:
            ConfigLoaderImpl._apply_overrides_to_config(
                [Override(kind, key, ValueType.ELEMENT, value, input_line=key)], config
            )
        except (HydraException, ValueError) as error:
            # ValueError: a name below a list.
            merging = str(error).startswith("Error merging")
            return {"taken": known, "fits": False if known and merging else None, "why": str(error)}
        above, owner, field = self._owner(config, key)
        if owner is None:
            return {"taken": known or self._open(key), "fits": like(value, default) if known else None, "why": ""}
        why = refused_by(owner, field)
        if why is not None and known:
            # verl never makes its class of such a group, whatever the group says.
            return {"taken": True, "fits": like(value, default), "why": why}
        if why is not None and self._open(key):
            return {"taken": True, "fits": None, "why": why}
        if why is not None:
            return {"taken": False, "fits": None, "why": why}
        if field in owner._mutable_fields and not self._knows(f"{above}.{field}".lstrip(".")):
            # The class has it, but verl itself writes it: what a recipe says there would count for nothing.
            return {"taken": False, "fits": None, "why": f"{owner.__name__} writes {field}"}
        why = f"{owner.__name__}.{field}: {hints_of(owner).get(field)}"
        if field == key[len(above) :].lstrip("."):
            # What the tree leaves out has the class's own default.
            default = default if known else default_of(owner, field)
            return {"taken": True, "fits": fits(owner, field, value, default), "why": why}
        # A group that stands below a field of the class, or keys that nobody lists.
        return {"taken": known or self._open(key), "fits": like(value, default) if known else None, "why": why}

    @staticmethod
    def _ours(owner: type, name: str, value: Any) -> Answer:
        if (why := refused_by(owner, name)) is not None:
            return {"taken": False, "fits": None, "why": why}
        return {"taken": True, "fits": hint_takes(owner, name, value), "why": owner.__name__}

    def _knows(self, key: str) -> bool:
        above, _, last = key.rpartition(".")
        group = self._at(self.composed, above) if above else self.composed
        return isinstance(group, DictConfig) and last in group.keys()  # noqa: SIM118 - `in` leaves missing values out

    def _chosen(self, key: str) -> bool:
        """Whether other settings say which group stands there: it is none of its own."""
        above, _, last = key.rpartition(".")
        group = self._at(self.composed, above) if above else self.composed
        _above, owner, field = self._owner(self.composed, key)
        free = owner is not None and hints_of(owner).get(field) is Any
        return free and OmegaConf.is_interpolation(group, last)

    @staticmethod
    def _at(config: DictConfig, key: str) -> Any:
        return OmegaConf.select(config, key, throw_on_resolution_failure=False)

    def _owner(self, config: DictConfig, key: str) -> tuple[str, type | None, str]:
        """The nearest group above a key that names its class, that class, and its field."""
        parts = key.split(".")
        for at in range(len(parts) - 1, -1, -1):
            above = ".".join(parts[:at])
            node = self._at(config, above) if above else config
            if isinstance(node, DictConfig) and "_target_" in node:
                return above, get_class(node["_target_"]), parts[at]
        return "", None, ""

    def _open(self, key: str) -> bool:
        """Whether some group above it is a mapping that verl's tree or class leaves empty."""
        parts = key.split(".")
        for at in range(len(parts) - 1, 0, -1):
            above = ".".join(parts[:at])
            found = self._at(self.composed, above)
            if isinstance(found, DictConfig):
                return not found
            if found is not None:
                return False
            _above, owner, field = self._owner(self.composed, above)
            if owner is not None and field == parts[at - 1] and hint_takes(owner, field, {"a": 1}):
                return True
        return False


def refused_by(owner: type, field: str) -> str | None:
    """What Python says of an argument that the class does not have."""
    try:
        inspect.signature(owner).bind_partial(**{field: None})
    except TypeError as error:
        return f"{owner.__name__}: {error}"
    return None


def default_of(owner: type, name: str) -> Any:
    """None where it is computed, or there is none."""
    found = next(field for field in dataclasses.fields(owner) if field.name == name)
    return None if found.default in (dataclasses.MISSING, MISSING) else found.default


class Trl:
    """TRL's arguments, as its own scripts take them: one class at the top, and one below `model`."""

    def __init__(self) -> None:
        self.made = {
            ModelConfig: ModelConfig(),
            DPOConfig: DPOConfig(output_dir="unused", use_cpu=True, report_to="none"),
        }

    def answers(self, values: dict[str, Any]) -> dict[str, Answer]:
        return {key: self._answer(key, value) for key, value in values.items()}

    def _answer(self, key: str, value: Any) -> Answer:
        section, _, rest = key.partition(".")
        owner, name = (ModelConfig, rest) if section == "model" and rest else (DPOConfig, key)
        field, dot, _below = name.partition(".")
        if (why := refused_by(owner, field)) is not None:
            return {"taken": False, "fits": None, "why": why}
        why = f"{owner.__name__}.{field}: {hints_of(owner).get(field)}"
        if dot:
            return {"taken": hint_takes(owner, field, {"a": 1}) is True, "fits": None, "why": why}
        return {"taken": True, "fits": fits(owner, field, value, getattr(self.made[owner], field)), "why": why}


LOADERS: Final[dict[str, Callable[[], Verl | Trl]]] = {
    "sft": lambda: Verl("sft_trainer_engine"),
    "dpo": lambda: Verl("sft_trainer_engine", dpo=dpo_loss.Settings),
    "grpo": lambda: Verl("ppo_trainer"),
    "trl": Trl,
}


def construct(trainer: str, path: str) -> str:
    """A compiled configuration loaded as a run loads it. What is wrong with it, or nothing."""
    config = OmegaConf.load(path)
    if trainer == "trl":
        del config["data"], config["model"]["path"]
        ModelConfig(**OmegaConf.to_container(config.pop("model")))
        DPOConfig(**OmegaConf.to_container(config))
        return ""
    literals.keep()
    for node in made_by_ppo(config) if trainer == "grpo" else parts(config):
        omega_conf_to_dataclass(node)
    return ""


def made_by_ppo(config: DictConfig) -> Iterator[DictConfig]:
    """What verl's PPO trainer checks and makes classes of: no critic's settings, nor a reward's, and a reference
    model's only if the run needs it, by the actor's names (verl/workers/engine_workers.py, ActorRolloutRefWorker)."""
    reference = need_reference_policy(config)
    validate_config(config, use_reference_policy=reference, use_critic=False)
    actor, rollout, ref = (config.actor_rollout_ref[name] for name in ("actor", "rollout", "ref"))
    yield actor
    yield rollout
    if reference:
        ref.ppo_mini_batch_size = actor.ppo_mini_batch_size
        for name in ("micro_batch_size", "micro_batch_size_per_gpu", "max_token_len_per_gpu"):
            ref[f"ppo_{name}"] = ref.pop(f"log_prob_{name}")
        ref.use_dynamic_bsz = ref.pop("log_prob_use_dynamic_bsz")
        yield ref


def parts(node: DictConfig) -> Iterator[DictConfig]:
    """The outermost groups that name their class, which Hydra makes with all that is inside; one of them would load
    the model itself."""
    if "_target_" in node and not node["_target_"].endswith("HFModelConfig"):
        yield node
        return
    for name in node:
        if not OmegaConf.is_missing(node, name) and isinstance(node._get_node(name), DictConfig) and node[name]:
            yield from parts(node[name])


def main() -> None:
    made: dict[str, Verl | Trl] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["trainer"]
        if name not in made:
            made[name] = LOADERS[name]()
        if "config" in asked:
            try:
                # verl prints what it finds good.
                with contextlib.redirect_stdout(sys.stderr):
                    said: Any = construct(name, asked["config"])
            except Exception as error:  # whatever a loader raises is what is asked for
                said = f"{type(error).__name__}: {error}"
        else:
            said = made[name].answers(asked["values"])
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
