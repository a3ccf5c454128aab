"""Recipes for DPO, by verl's engine and by TRL: what they may say, and how many steps they have."""

import re
from pathlib import Path

import pytest

import platform_runtime
from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.trainers import trainer_of, verl_dpo
from pipelines.recipes.validate import check

from .cases import dataset, place

PAIRS = {"kind": "preference"}


def verl(**params):
    return builtin.TINY_DPO.spec.merged({key.replace("__", "."): value for key, value in params.items()})


def trl(**params):
    return builtin.TINY_DPO_TRL.spec.merged({key.replace("__", "."): value for key, value in params.items()})


def wrong(spec, gpus=1):
    return [(error.key, error.suggestion) for error in check(spec, dataset=dataset(**PAIRS), gpus=gpus).errors]


def test_losses_are_those_of_the_trainer():
    source = (Path(platform_runtime.__file__).parent / "trainers" / "dpo_loss.py").read_text()
    losses = re.search(r"^LOSSES: .*?= {(.*?)^}", source, re.DOTALL | re.MULTILINE)
    smoothed = re.search(r"^SMOOTHED: Final = (\(.*\))$", source, re.MULTILINE)
    assert tuple(re.findall(r'"(\w+)"', losses[1])) == verl_dpo.LOSSES
    assert tuple(re.findall(r'"(\w+)"', smoothed[1])) == verl_dpo.SMOOTHED


@pytest.mark.parametrize("kind", ["sft", "prompts", "eval"])
@pytest.mark.parametrize("spec", [verl(), trl()], ids=["verl", "trl"])
def test_other_data_are_refused(spec, kind):
    assert [error.key for error in check(spec, dataset=dataset(kind=kind)).errors] == ["dataset"]


@pytest.mark.parametrize(
    ("params", "key", "suggestion"),
    [
        ({"dpo__beta": 0.0}, "dpo.beta", "0.1"),
        ({"dpo__beta": -1.0}, "dpo.beta", "0.0"),
        ({"dpo__beta": "0.1"}, "dpo.beta", "0.1"),
        ({"dpo__loss_type": "sigmoide"}, "dpo.loss_type", "sigmoid"),
        ({"dpo__label_smoothing": 0.7}, "dpo.label_smoothing", "0.5"),
        ({"dpo__label_smoothing": 0.5}, "dpo.label_smoothing", "0.1"),
        ({"dpo__label_smoothing": 0.1, "dpo__loss_type": "ipo"}, "dpo.label_smoothing", "0.0"),
        ({"dpo__sft_weight": -0.5}, "dpo.sft_weight", "0.0"),
        ({"dpo__betta": 0.1}, "dpo.betta", "dpo.beta"),
        ({"data__use_dynamic_bsz": True, "data__max_token_len_per_gpu": 500}, "data.max_token_len_per_gpu", "512"),
        ({"data__micro_batch_size_per_gpu": 3}, "data.train_batch_size", "9"),
    ],
)
def test_what_verls_trainer_would_not_do_is_told(params, key, suggestion):
    assert wrong(verl(**params)) == [(key, suggestion)]


@pytest.mark.parametrize(
    "key", ["data.messages_key", "data.custom_cls.path", "data.pad_mode", "model.lora_adapter_path"]
)
def test_settings_that_say_nothing_to_it_are_unknown(key):
    errors = check(builtin.TINY_DPO.spec.merged({key: "x"}), dataset=dataset(**PAIRS), admin=True).errors
    assert [error.key for error in errors] == [key]
    assert "no such setting" in errors[0].message


def test_a_recipe_that_says_nothing_learns_slowly():
    settings = trainer_of("dpo", "verl").tree().leaves
    assert (settings["optim.lr"].default, trainer_of("sft", "verl").tree().leaves["optim.lr"].default) == (1e-6, 0.001)


@pytest.mark.parametrize(
    ("params", "key", "suggestion"),
    [
        ({"beta": 0.0}, "beta", "0.1"),
        ({"loss_type": "sigmoid"}, "loss_type", None),
        ({"loss_type": ["sigmoide"]}, "loss_type", "sigmoid"),
        ({"loss_type": []}, "loss_type", "[sigmoid]"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "loss_weights", None),
        ({"loss_type": ["exo_pair"]}, "label_smoothing", "0.001"),
        ({"sync_ref_model": True, "model__use_peft": True}, "sync_ref_model", "false"),
        ({"save_steps": 0}, "save_steps", "500"),
        ({"save_steps": 9.5}, "save_steps", "9"),
        ({"max_steps": 0}, "max_steps", "-1"),
        ({"push_to_hub": True}, "push_to_hub", None),
        ({"learning_rat": 1e-4}, "learning_rat", "learning_rate"),
        ({"trust_remote_code": True}, "trust_remote_code", None),
        ({"model__attn_implementation": "somebody/kernel"}, "model.attn_implementation", None),
        ({"per_device_train_batch_size": 400, "dataloader_drop_last": True}, "per_device_train_batch_size", None),
    ],
)
def test_what_trls_trainer_would_not_do_is_told(params, key, suggestion):
    assert wrong(trl(**params)) == [(key, suggestion)]


@pytest.mark.parametrize(
    ("params", "gpus", "steps"),
    [
        ({"max_steps": -1, "num_train_epochs": 1.0}, 1, 48),
        ({"max_steps": -1, "num_train_epochs": 2.5}, 1, 120),
        ({"max_steps": -1, "num_train_epochs": 1.0, "gradient_accumulation_steps": 5}, 1, 10),
        ({"max_steps": -1, "num_train_epochs": 1.0, "per_device_train_batch_size": 7}, 1, 55),
        (
            {"max_steps": -1, "num_train_epochs": 1.0, "per_device_train_batch_size": 7, "dataloader_drop_last": True},
            1,
            54,
        ),
        ({"max_steps": -1, "num_train_epochs": 1.0, "per_device_train_batch_size": 7}, 2, 28),
        ({"max_steps": 5}, 4, 5),
    ],
)
def test_steps_are_counted_as_transformers_counts_them(params, gpus, steps):
    compiled = compile_recipe(trl(**params), dataset(**PAIRS), place(cuda=True, gpus=gpus))
    assert compiled.target_step == steps


def test_a_run_of_trl_is_the_platforms():
    compiled = compile_recipe(trl(), dataset(**PAIRS), place(resume_from="/data/runs/x/global_step_8"))
    config = compiled.config
    assert (config["resume_from_checkpoint"], config["use_cpu"]) == ("/data/runs/x/global_step_8", True)
    assert (config["logging_steps"], config["logging_nan_inf_filter"], config["report_to"]) == (1, False, "none")
    assert config["model"]["path"] == "builtin:tiny-llama"
    assert compile_recipe(trl(), dataset(**PAIRS), place(cuda=True, gpus=2)).argv[3] == "torch.distributed.run"
