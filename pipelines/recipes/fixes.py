"""What a problem suggests, done: another value for its key, or the key that was meant."""

from collections.abc import Mapping

from . import yaml_text
from .spec import Json
from .trainers import Trainer
from .yaml_text import YamlProblem


def fixed(trainer: Trainer, params: Mapping[str, Json], key: str, suggestion: str) -> dict[str, Json]:
    """The settings with `suggestion` followed; as they are where it cannot be."""
    leaf = trainer.tree().leaves.get(key)
    if leaf is not None:
        try:
            value = suggestion if leaf.types == {"string"} else yaml_text.read_value(suggestion)
        except YamlProblem:
            return dict(params)
        return {**params, key: value}
    if key not in params or suggestion in params:
        return dict(params)
    return {suggestion if name == key else name: value for name, value in params.items()}
