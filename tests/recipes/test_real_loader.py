"""What the compiler writes is loaded by the real verl as it was meant."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

import platform_runtime
from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.trainers import trainer_of
from pipelines.recipes.trainers.verl_sft import VerlSft

from .cases import dataset, dataset_of, place, recipe

pytestmark = pytest.mark.training

LOAD = """
import json, sys
from omegaconf import OmegaConf
from verl.utils import config as verl_config
from platform_runtime import literals
literals.keep()
config = OmegaConf.load(sys.argv[1])
made = {}
for name in ("engine", "optim", "checkpoint", "profiler"):
    made[name] = verl_config.omega_conf_to_dataclass(config[name])
print("LOADED", json.dumps({
    "classes": {name: type(value).__name__ for name, value in made.items()},
    "mixed": dict(made["engine"].mixed_precision),
    "betas": list(made["optim"].betas),
    "save": list(made["checkpoint"].save_contents),
    "path": made["profiler"].save_path,
}))
"""


@pytest.fixture(scope="module")
def training_python():
    python = settings.TRAINING_PYTHON or str(Path(settings.CHECKOUT_DIR) / ".training" / "venv" / "bin" / "python")
    if not os.access(python, os.X_OK):
        pytest.skip("no training environment")
    return python


def loaded(python, spec, tmp_path, data=None):
    compiled = compile_recipe(spec, data or dataset(), place(attempt_folder=str(tmp_path)))
    file = tmp_path / "config.yaml"
    file.write_text(compiled.config_yaml, encoding="utf-8")
    env = {
        **compiled.env,
        "PYTHONPATH": str(Path(platform_runtime.__file__).parent.parent),
        "VERL_USE_EXTERNAL_MODULES": "platform_runtime.cpu_platform",
        "PLANTED": "leaked",
    }
    answer = subprocess.run([python, "-P", "-c", LOAD, file], env=env, capture_output=True, text=True, cwd=tmp_path)
    line = next((line for line in answer.stdout.splitlines() if line.startswith("LOADED ")), None)
    assert line is not None, answer.stderr[-3000:]
    return json.loads(line.removeprefix("LOADED "))


OF_SFT_TREE = [one for one in builtin.RECIPES if isinstance(trainer_of(one.algorithm, one.trainer), VerlSft)]


@pytest.mark.parametrize("wanted", OF_SFT_TREE, ids=lambda wanted: wanted.slug)
def test_every_built_in_recipe_is_loaded(training_python, wanted, tmp_path):
    made = loaded(training_python, wanted.spec, tmp_path, dataset_of(wanted))
    assert made["classes"] == {
        "engine": "FSDPEngineConfig",
        "optim": "FSDPOptimizerConfig",
        "checkpoint": "CheckpointConfig",
        "profiler": "ProfilerConfig",
    }
    assert made["mixed"] == {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    assert made["path"] == str(tmp_path / "profile")


@pytest.mark.security
def test_a_substitution_is_never_looked_up(training_python, tmp_path):
    params = {
        "engine.mixed_precision.note": "${oc.env:PLANTED}",
        "engine.mixed_precision.listed": ["\\${oc.env:PLANTED}", "${engine.dtype}", "${"],
        "optim.betas": [0.5, 0.75],
        "checkpoint.save_contents": ["model"],
    }
    made = loaded(training_python, recipe(params), tmp_path)
    assert made["mixed"]["note"] == params["engine.mixed_precision.note"]
    assert made["mixed"]["listed"] == params["engine.mixed_precision.listed"]
    assert (made["betas"], made["save"]) == ([0.5, 0.75], ["model"])
