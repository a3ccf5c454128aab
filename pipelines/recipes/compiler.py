"""Recipe revision + dataset version + place -> configuration, command, environment, target step.

Pure and deterministic: the same input gives the same bytes.
"""

import copy
import posixpath
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from platform_runtime import contract

from . import literals, places, resources, validate
from .spec import Compiled, DatasetRef, Json, Place, RecipeError, RecipeSpec
from .trainers import trainer_of


def compile_recipe(spec: RecipeSpec, dataset: DatasetRef, place: Place) -> Compiled:
    """What one attempt is started with.

    Permission to use an administrator's keys was judged when the recipe was saved. Raises RecipeError when the
    recipe does not fit the trainer, the dataset or the place.
    """
    unknown = validate.check_trainer(spec)
    if unknown is not None:
        raise RecipeError([unknown])
    trainer = trainer_of(spec.algorithm, spec.trainer)
    required = {**({} if place.cuda else trainer.cpu), **trainer.owned(spec, dataset, place)}
    rules = trainer.rules
    replaced = {key: new[0] for key, value in spec.params.items() if (new := rules.replacement(key, value))}
    adjusted = _adjusted(spec.params, {**replaced, **required})
    fitted = spec.merged({key: used for key, (_asked, used) in adjusted.items()})
    checked = validate.check(fitted, dataset=dataset, gpus=place.processes, admin=True)
    if not checked.valid:
        raise RecipeError(checked.errors)
    settings = validate.effective(fitted)
    target = trainer.steps(settings, dataset.rows, place.processes).target
    params = {
        key: value
        for key, value in fitted.params.items()
        if trainer.rules.ignored(key) is None and not resources.is_one(key)
    }
    config = _config(trainer.tree().raw, params, required)
    return Compiled(
        argv=trainer.argv(place, posixpath.join(place.attempt_folder, contract.CONFIG)),
        env=places.environment(place, target),
        config=config,
        config_yaml=to_yaml(config),
        target_step=target,
        checkpoint_required=trainer.saves_checkpoint(settings),
        adjusted=adjusted,
    )


def to_yaml(config: Mapping[str, Any]) -> str:
    """The configuration as YAML that OmegaConf loads and resolves to exactly these literals."""
    escaped = OmegaConf.create(literals.escape(config))
    return OmegaConf.to_yaml(escaped, resolve=False, sort_keys=False)


def _adjusted(params: Mapping[str, Json], required: Mapping[str, Json]) -> dict[str, tuple[Json, Json]]:
    return {
        key: (params[key], required[key])
        for key in sorted(required)
        if key in params and (params[key] != required[key] or type(params[key]) is not type(required[key]))
    }


def _config(defaults: Mapping[str, Any], params: Mapping[str, Json], imposed: Mapping[str, Json]) -> dict[str, Json]:
    """The whole tree as literals: the defaults, then the recipe, then what the platform and the place impose."""
    raw = copy.deepcopy(dict(defaults))
    for key in sorted(params):
        _set(raw, key, literals.escape(params[key]))
    for key, value in imposed.items():
        _set(raw, key, literals.escape(value))
    # Only the trainer's own `${…}` are left to resolve: everything put in is escaped.
    resolved = OmegaConf.to_container(OmegaConf.create(raw), resolve=True, throw_on_missing=False)
    if not isinstance(resolved, dict):
        raise TypeError("the configuration is not a tree")
    return resolved  # type: ignore[return-value]  # keys of a tree are text


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    for name in above:
        below = tree.get(name)
        if not isinstance(below, dict):
            below = tree[name] = {}
        tree = below
    tree[last] = value
