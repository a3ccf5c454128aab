"""A recipe, a dataset version and a place become the same bytes each time, and those say exactly what was meant."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pipelines.recipes import builtin, literals
from pipelines.recipes.compiler import compile_recipe, to_yaml
from pipelines.recipes.spec import RecipeError
from pipelines.recipes.trainers import trainer_of

from .cases import RUN, UUID, dataset, dataset_of, place, place_of, recipe

GOLDEN = Path(__file__).parent / "golden"


def loaded(text, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    config = OmegaConf.load(file)
    return OmegaConf.to_container(config, resolve=True)


def flat(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize("wanted", builtin.RECIPES, ids=lambda wanted: wanted.slug)
def test_a_built_in_recipe_compiles_to_the_golden_bytes(wanted):
    compiled = compile_recipe(wanted.spec, dataset_of(wanted), place_of(wanted))
    rest = {
        "argv": compiled.argv,
        "env": compiled.env,
        "target_step": compiled.target_step,
        "checkpoint_required": compiled.checkpoint_required,
    }
    assert compiled.config_yaml.encode() == (GOLDEN / f"{wanted.slug}.yaml").read_bytes()
    assert json.dumps(rest, indent=2) + "\n" == (GOLDEN / f"{wanted.slug}.json").read_text()


def test_the_same_input_gives_the_same_bytes_whatever_the_order_of_the_keys():
    params = {"optim.lr": 1e-5, "model.override_config.b": 1, "model.override_config.a": 2}
    turned = dict(reversed(params.items()))
    assert compile_recipe(recipe(params), dataset(), place()) == compile_recipe(recipe(turned), dataset(), place())
    one = compile_recipe(recipe(params), dataset(), place()).config_yaml
    assert one == compile_recipe(recipe(turned), dataset(), place()).config_yaml


def test_the_configuration_carries_every_value_of_the_tree(tmp_path):
    compiled = compile_recipe(recipe(), dataset(), place())
    written = dict(flat(loaded(compiled.config_yaml, tmp_path)))
    assert written == dict(flat(compiled.config))
    original = OmegaConf.to_container(OmegaConf.create(trainer_of("sft", "verl").tree().raw), resolve=True)
    missing = {key for key, _ in flat(original)} - set(written) - {"model.override_config"}
    assert not missing
    assert written["optim.lr"] == 0.001
    assert written["engine._target_"] == "verl.workers.config.FSDPEngineConfig"


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:SECRET}",
        "\\${oc.env:SECRET}",
        "\\\\${x}",
        "${",
        "${${a}}",
        "a\\",
        "${a}\\",
        "'${a}'",
        "1e-4",
        "true",
        "null",
        "",
        " x ",
        "{{ x }}\n{% y %}",
        "a: b # c",
        "\u2028\u0085\t",
        "!!python/object:os.system",
    ],
)
def test_a_value_is_a_literal(text, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "leaked")
    compiled = compile_recipe(recipe({"model.custom_chat_template": text}), dataset(), place())
    assert compiled.config["model"]["custom_chat_template"] == text
    assert loaded(compiled.config_yaml, tmp_path)["model"]["custom_chat_template"] == text


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("${}\\'\"\n\t"), max_size=20)
NAMES = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT.filter(lambda text: text != "???" and literals.value_problem("x", text) is None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(VALUES)
def test_any_value_survives_the_way_through_yaml_and_omegaconf(value):
    text = to_yaml({"value": value})
    assert OmegaConf.to_container(OmegaConf.create(text), resolve=True) == {"value": value}


def test_what_the_checkpoint_loads_follows_what_it_saves():
    compiled = compile_recipe(recipe({"checkpoint.save_contents": ["model"]}), dataset(), place())
    assert compiled.config["checkpoint"]["load_contents"] == ["model"]


def test_the_platform_sets_what_is_its_own():
    config = compile_recipe(recipe(), dataset(), place()).config
    assert config["model"]["path"] == "builtin:tiny-llama"
    assert config["data"]["train_files"] == "/data/datasets/ab/abc.jsonl"
    assert config["data"]["val_files"] is None
    trainer = config["trainer"]
    assert trainer["default_local_dir"] == f"{RUN}/checkpoints/attempt-1"
    assert trainer["logger"] == ["console"]
    assert (trainer["project_name"], trainer["experiment_name"]) == ("tiny-sft", UUID)
    assert trainer["resume_mode"] == "disable"


def test_a_resumed_attempt_names_its_checkpoint():
    last = f"{RUN}/checkpoints/attempt-1/global_step_8"
    trainer = compile_recipe(recipe(), dataset(), place(resume_from=last)).config["trainer"]
    assert trainer["resume_mode"] == "resume_path"
    assert trainer["resume_from_path"] == last


def test_a_cpu_gets_what_it_needs_and_says_what_it_changed():
    asked = recipe({"model.use_remove_padding": True, "engine.strategy": "fsdp2"})
    compiled = compile_recipe(asked, dataset(), place())
    assert compiled.config["trainer"]["device"] == "cpu"
    assert compiled.config["model"]["use_remove_padding"] is False
    assert compiled.config["engine"]["mixed_precision"]["param_dtype"] == "fp32"
    assert compiled.adjusted == {"model.use_remove_padding": (True, False)}
    assert compiled.env["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_keeps_the_recipe_as_it_is():
    compiled = compile_recipe(recipe({"model.use_remove_padding": True}), dataset(), place(cuda=True, gpus=1))
    assert compiled.config["trainer"]["device"] == "cuda"
    assert compiled.config["model"]["use_remove_padding"] is True
    assert "mixed_precision" not in compiled.config["engine"]
    assert not compiled.adjusted
    assert "CUDA_VISIBLE_DEVICES" not in compiled.env


def test_several_gpus_get_a_process_each():
    compiled = compile_recipe(recipe({"data.micro_batch_size_per_gpu": 4}), dataset(), place(cuda=True, gpus=4))
    assert "--nproc-per-node=4" in compiled.argv
    assert compiled.config["trainer"]["n_gpus_per_node"] == 4
    assert "RANK" not in compiled.env


def test_the_command_holds_nothing_of_the_recipe():
    compiled = compile_recipe(recipe({"model.custom_chat_template": "$(id)"}, base_model="/m/`id`"), dataset(), place())
    assert compiled.argv == [
        "/checkout/.training/venv/bin/python",
        "-P",
        "-m",
        "platform_runtime.trainers.verl_sft",
        "--config",
        f"{RUN}/attempt-1/config.yaml",
    ]


def test_the_environment_is_minimal(monkeypatch):
    monkeypatch.setenv("ANNEAL_SECRET_KEY", "planted")
    env = compile_recipe(recipe(), dataset(), place()).env
    assert "planted" not in json.dumps(env)
    assert not {name for name in env if "SECRET" in name or "DATABASE" in name or "REDIS" in name or "KEY" in name}
    assert (env["PYTHONPATH"], env["PYTHONSAFEPATH"]) == ("/data/runtime/abc", "1")


@pytest.mark.parametrize(
    ("params", "rows", "target"),
    [
        ({}, 384, 48),
        ({}, 399, 48),
        ({"trainer.total_epochs": 1}, 384, 24),
        ({"trainer.total_training_steps": 7}, 384, 7),
        ({"data.train_max_samples": 100}, 384, 12),
        ({"data.train_batch_size": 32, "data.micro_batch_size_per_gpu": 16}, 384, 24),
    ],
)
def test_the_target_step_is_what_the_trainer_will_reach(params, rows, target):
    assert compile_recipe(recipe(params), dataset(rows=rows), place()).target_step == target


def test_rows_are_shared_out_before_they_are_batched():
    # 7 rows on 2 GPUs: each has 3, and a batch of 4 takes 2 of them.
    params = {"data.train_batch_size": 4, "data.micro_batch_size_per_gpu": 2, "trainer.total_epochs": 1}
    assert compile_recipe(recipe(params), dataset(rows=7), place(cuda=True, gpus=2)).target_step == 1


def test_a_recipe_that_saves_no_weights_needs_no_checkpoint():
    assert compile_recipe(recipe(), dataset(), place()).checkpoint_required
    saves_none = recipe({"checkpoint.save_contents": ["extra"]})
    assert not compile_recipe(saves_none, dataset(), place()).checkpoint_required


def test_a_recipe_that_does_not_fit_is_not_compiled():
    with pytest.raises(RecipeError, match="fewer than one batch"):
        compile_recipe(recipe(), dataset(rows=3), place())
