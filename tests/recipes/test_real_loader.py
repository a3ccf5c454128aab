"""What the compiler writes is loaded by the real verl as it was meant."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

import platform_runtime
from pipelines.recipes import builtin, places
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import DPO, SFT

from .cases import RUN, dataset, dataset_of, place, place_of, recipe

pytestmark = pytest.mark.training

# Every part that names its class is made into one by verl's own loader, or TRL's; they check their values.
LOAD = """
import json, sys
from omegaconf import DictConfig, OmegaConf
from platform_runtime import literals
literals.keep()
def parts(node, at=""):
    # One makes the model itself, which is not there.
    if "_target_" in node and not node["_target_"].endswith("HFModelConfig"):
        yield at, node
    for name in node:
        if not OmegaConf.is_missing(node, name) and isinstance(node._get_node(name), DictConfig) and node[name]:
            yield from parts(node[name], f"{at}{name}.")
for path in sys.argv[1:]:
    config = OmegaConf.load(path)
    made = {}
    if "output_dir" in config:
        from trl import DPOConfig, ModelConfig
        del config["data"], config["model"]["path"]
        made["model"] = ModelConfig(**config.pop("model"))
        made["trainer"] = DPOConfig(**OmegaConf.to_container(config))
    else:
        from verl.utils.config import omega_conf_to_dataclass
        made = {at: omega_conf_to_dataclass(node) for at, node in parts(config)}
    engine, optim = made.get("engine."), made.get("optim.")
    print("LOADED", json.dumps({
        "classes": {at: type(value).__name__ for at, value in made.items()},
        "mixed": dict(engine.mixed_precision or {}) if engine else {},
        "betas": list(optim.betas) if optim else [],
        "save": list(made["checkpoint."].save_contents) if engine else [],
        "path": made["profiler."].save_path if engine else "",
    }))
"""


@pytest.fixture(scope="module")
def training_python():
    python = settings.TRAINING_PYTHON or str(Path(settings.CHECKOUT_DIR) / ".training" / "venv" / "bin" / "python")
    if not os.access(python, os.X_OK) and not os.environ.get("CI"):
        pytest.skip("no training environment")
    return python


def loaded(python, tmp_path, *compiled):
    """What the trainers' own classes made of the configurations."""
    files = [tmp_path / f"{number}.yaml" for number, _one in enumerate(compiled)]
    for file, one in zip(files, compiled, strict=True):
        file.write_text(one.config_yaml, encoding="utf-8")
    env = {
        **place_env(tmp_path),
        "PYTHONPATH": str(Path(platform_runtime.__file__).parent.parent),
        "VERL_USE_EXTERNAL_MODULES": "platform_runtime.cpu_platform",
        "PLANTED": "leaked",
    }
    answer = subprocess.run([python, "-P", "-c", LOAD, *files], env=env, capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in answer.stdout.splitlines() if line.startswith("LOADED ")]
    assert len(lines) == len(compiled), answer.stderr[-3000:]
    return [json.loads(line.removeprefix("LOADED ")) for line in lines]


def place_env(tmp_path):
    return places.environment(place(attempt_folder=str(tmp_path)), None)


def test_every_built_in_recipe_for_sft_and_dpo_is_loaded(training_python, tmp_path):
    recipes = [one for one in builtin.RECIPES if one.algorithm in (SFT, DPO)]
    compiled = [compile_recipe(one.spec, dataset_of(one), place_of(one)) for one in recipes]
    made = dict(zip([one.slug for one in recipes], loaded(training_python, tmp_path, *compiled), strict=True))
    parts = {"engine.": "FSDPEngineConfig", "optim.": "FSDPOptimizerConfig", "checkpoint.": "CheckpointConfig"}
    assert made["tiny-sft"]["classes"].items() >= {**parts, "profiler.": "ProfilerConfig"}.items()
    for slug in ("tiny-sft", "tiny-dpo", "smollm2-sft", "smollm2-dpo"):
        assert made[slug]["mixed"] == {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
        assert made[slug]["path"] == f"{RUN}/attempt-1/profile"
    assert made["tiny-dpo-trl"]["classes"] == {"model": "ModelConfig", "trainer": "DPOConfig"}


@pytest.mark.security
def test_a_substitution_is_never_looked_up(training_python, tmp_path):
    params = {
        "engine.mixed_precision.note": "${oc.env:PLANTED}",
        "engine.mixed_precision.listed": ["\\${oc.env:PLANTED}", "${engine.dtype}", "${"],
        "optim.betas": [0.5, 0.75],
        "checkpoint.save_contents": ["model"],
    }
    (made,) = loaded(training_python, tmp_path, compile_recipe(recipe(params), dataset(), place()))
    assert made["mixed"]["note"] == params["engine.mixed_precision.note"]
    assert made["mixed"]["listed"] == params["engine.mixed_precision.listed"]
    assert (made["betas"], made["save"]) == ([0.5, 0.75], ["model"])
