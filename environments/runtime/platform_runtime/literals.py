"""Values of a configuration stay what they are, however often verl resolves them.

config.yaml writes a literal `${` as `\\${`, which OmegaConf undoes once. verl turns whole sections into dataclasses
by Hydra's `instantiate`, which resolves twice: first the tree in place, then each value as it is read. What came out
of the first would be looked up by the second, environment variables included.
"""

import functools
import re
from typing import Any

_SUBSTITUTION = re.compile(r"(\\*)\$\{")


def escape(value: Any) -> Any:
    """The value so that OmegaConf, resolving it once, gives exactly the value."""
    if isinstance(value, str):
        return _SUBSTITUTION.sub(lambda found: found.group(1) * 2 + "\\${", value)
    if isinstance(value, dict):
        return {name: escape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [escape(inner) for inner in value]
    return value


def keep() -> None:
    """Makes verl's conversion of sections take them literally. Once a process, before a trainer is built."""
    # Only the training side has these.
    import verl.utils.config as verl_config  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    original = verl_config.omega_conf_to_dataclass
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def convert(config: Any, dataclass_type: Any = None) -> Any:
        if dataclass_type is None and OmegaConf.is_dict(config):
            config = OmegaConf.create(escape(escape(OmegaConf.to_container(config, resolve=True))))
        return original(config, dataclass_type)

    verl_config.omega_conf_to_dataclass = convert
