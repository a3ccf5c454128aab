"""A recipe is told everything that is wrong with it before anything runs."""

import pytest

from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.validate import check

from .cases import dataset, place, recipe


def only(params, **options):
    """The one error that these parameters give."""
    errors = check(recipe(params), **options).errors
    assert len(errors) == 1, [f"{error.key}: {error.message}" for error in errors]
    return errors[0]


def test_the_built_in_recipe_is_valid_without_a_warning():
    checked = check(recipe(), dataset=dataset())
    assert checked.valid
    assert not checked.warnings


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trainer.tota_epochs", "trainer.total_epochs"),
        ("data.train_batchsize", "data.train_batch_size"),
        ("trainer.lr", "optim.lr"),
        ("lr", "optim.lr"),
        ("actor.optim.lr", "optim.lr"),
        ("model.lora_rnk", "model.lora_rank"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_real_one(key, meant):
    error = only({key: 1})
    assert (error.key, error.suggestion) == (key, meant)


def test_nonsense_gets_no_suggestion():
    assert only({"zzzzqqqq.xxxxyyyy": 1}).suggestion is None


def test_a_group_is_not_a_setting():
    error = only({"profiler": {"enable": True}})
    assert error.suggestion == "profiler.tool"


@pytest.mark.parametrize(
    ("key", "value", "suggestion"),
    [
        ("data.train_batch_size", "16", "16"),
        ("data.train_batch_size", 16.5, None),
        ("data.train_batch_size", 16.0, "16"),
        ("data.train_batch_size", True, None),
        ("data.train_batch_size", None, None),
        ("data.train_batch_size", [16], None),
        ("optim.lr", "1e-4", "0.0001"),
        ("optim.lr", True, None),
        ("model.use_liger", "True", "true"),
        ("model.use_liger", 1, None),
        ("optim.optimizer", 3, None),
        ("optim.betas", ["a", "b"], None),
        ("optim.betas", 0.9, None),
        ("model.override_config", "text", None),
        ("trainer.total_training_steps", "many", None),
    ],
)
def test_a_wrong_type_is_refused(key, value, suggestion):
    error = only({key: value})
    assert (error.key, error.suggestion) == (key, suggestion)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.lr", 1),
        ("optim.betas", [0.9, 0.95]),
        ("optim.betas", [0, 1]),
        ("trainer.total_training_steps", None),
        ("trainer.save_freq", "after_each_epoch"),
        ("model.target_modules", "all-linear"),
        ("model.target_modules", ["q_proj", "v_proj"]),
        ("model.override_config.num_hidden_layers", 2),
        ("model.override_config", {"rope": {"theta": 1e6}}),
        ("engine.mixed_precision.param_dtype", "bf16"),
        ("data.apply_chat_template_kwargs.enable_thinking", False),
        ("model.custom_chat_template", None),
        ("model.custom_chat_template", "{{ messages }}"),
    ],
)
def test_what_verl_takes_is_taken(key, value):
    assert check(recipe({key: value}), dataset=dataset()).valid


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.train_batch_size", 0),
        ("data.train_batch_size", -16),
        ("optim.lr", -0.1),
        ("optim.lr_warmup_steps_ratio", 1.5),
        ("trainer.total_epochs", 0),
        ("trainer.total_training_steps", 0),
        ("trainer.save_freq", 0),
        ("trainer.save_freq", "sometimes"),
        ("data.truncation", "middle"),
        ("engine.strategy", "megatron"),
        ("checkpoint.save_contents", ["models"]),
        ("optim.betas", [0.9]),
    ],
)
def test_what_makes_no_sense_is_refused(key, value):
    assert only({key: value}).key == key


@pytest.mark.parametrize(
    "key",
    [
        "+optim.lr",
        "++optim.lr",
        "~optim.lr",
        "hydra.run.dir",
        "hydra",
        "model._target_",
        "_target_",
        "model.override_config._target_",
        "model.override_config._args_",
        "optim.lr=1",
        "optim lr",
        "optim..lr",
        ".lr",
        "optim.lr\n",
        "${optim.lr}",
        "",
        "optim.$(id)",
        "-rf",
    ],
)
def test_syntax_beyond_plain_keys_is_refused(key):
    assert only({key: "x"}).key == key


def test_a_plus_is_answered_with_the_plain_key():
    assert only({"++optim.lr": 0.1}).suggestion == "optim.lr"


@pytest.mark.parametrize(
    "value",
    [
        {"_target_": "os.system", "command": "id"},
        {"deep": {"_partial_": True}},
        {"listed": [{"_target_": "os.system"}]},
        {"a.b": 1},
        {"bad\n": 1},
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": 2**64},
        {"x": "???"},
        {"x": "\x00"},
        {"x": "\ud800"},
        {"x": "y" * 100_001},
        {"x": [[[[[[[[[[1]]]]]]]]]]},
        {"x": list(range(10_001))},
    ],
)
def test_nothing_hides_inside_a_value(value):
    error = only({"model.override_config": value})
    assert error.key.startswith("model.override_config")


def test_a_substitution_is_a_literal_and_said_to_be_one():
    checked = check(recipe({"model.custom_chat_template": "${oc.env:SECRET}"}), dataset=dataset())
    assert checked.valid
    assert [warning.key for warning in checked.warnings] == ["model.custom_chat_template"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.default_local_dir", "/tmp/x"),
        ("trainer.device", "cuda"),
        ("trainer.logger", ["wandb"]),
        ("trainer.project_name", "mine"),
        ("trainer.experiment_name", "mine"),
        ("trainer.resume_mode", "auto"),
        ("trainer.resume_from_path", "/x"),
        ("trainer.n_gpus_per_node", 8),
        ("data.train_files", "/etc/passwd"),
        ("model.path", "/models/x"),
    ],
)
def test_what_the_platform_sets_counts_for_nothing_and_says_who_sets_it(key, value):
    checked = check(recipe({key: value}), dataset=dataset())
    assert checked.valid
    assert [warning.key for warning in checked.warnings if "sets it" in warning.message] == [key]
    assert (
        compile_recipe(recipe({key: value}), dataset(), place()).config
        == compile_recipe(recipe(), dataset(), place()).config
    )


ADMINS = [
    ("model.trust_remote_code", True),
    ("model.external_lib", "os"),
    ("data.custom_cls.path", "/tmp/x.py"),
    ("optim.optimizer_impl", "os"),
    ("profiler.finish_hook_cmd", "id"),
]


@pytest.mark.parametrize(("key", "value"), ADMINS)
def test_what_runs_code_is_an_administrators(key, value):
    assert "administrator" in only({key: value}).message
    assert check(recipe({key: value}), admin=True).valid


@pytest.mark.parametrize(("key", "value"), ADMINS)
def test_what_an_administrator_saved_may_be_run_by_others(key, value):
    assert check(recipe({key: value}), inherited={key: value}).valid
    assert not check(recipe({key: value}), inherited={key: "something else"}).valid


@pytest.mark.parametrize(
    ("key", "value"), [("model.trust_remote_code", False), ("optim.optimizer_impl", "torch.optim")]
)
def test_the_harmless_value_is_anybodys(key, value):
    assert check(recipe({key: value})).valid


def test_a_batch_must_be_divisible_by_micro_batch_times_gpus():
    error = only({"data.train_batch_size": 20, "data.micro_batch_size_per_gpu": 8})
    assert (error.key, error.suggestion) == ("data.train_batch_size", "16")
    assert only({"data.train_batch_size": 16, "data.micro_batch_size_per_gpu": 8}, gpus=4).suggestion == "32"
    assert check(recipe({"data.train_batch_size": 32, "data.micro_batch_size_per_gpu": 8}), gpus=4).valid


def test_a_dynamic_batch_ignores_the_micro_batch():
    params = {"data.use_dynamic_bsz": True, "data.train_batch_size": 20, "data.micro_batch_size_per_gpu": 8}
    assert check(recipe(params)).valid
    assert only(params, gpus=8).key == "data.train_batch_size"


def test_a_dataset_smaller_than_one_batch_is_refused():
    assert only({}, dataset=dataset(rows=15)).key == "data.train_batch_size"
    assert check(recipe(), dataset=dataset(rows=16)).valid


def test_a_limit_on_the_rows_counts():
    assert only({"data.train_max_samples": 8}, dataset=dataset()).key == "data.train_batch_size"


def test_a_run_that_ends_before_its_target_leaves_no_checkpoint_and_is_refused():
    error = only({"trainer.total_training_steps": 49}, dataset=dataset())
    assert (error.key, error.suggestion) == ("trainer.total_training_steps", "48")
    assert check(recipe({"trainer.total_training_steps": 48}), dataset=dataset()).valid


def test_saving_no_weights_is_warned_of():
    checked = check(recipe({"checkpoint.save_contents": ["extra"]}))
    assert checked.valid
    assert [warning.key for warning in checked.warnings] == ["checkpoint.save_contents"]


def test_a_dataset_of_another_kind_is_refused():
    assert only({}, dataset=dataset(kind="preference")).key == "dataset"


def test_an_override_of_a_whole_subtree_replaces_what_stood_below():
    spec = recipe({"model.override_config.a": 1, "model.override_configure": 2}).merged({"model.override_config": {}})
    assert {key for key in spec.params if "override" in key} == {"model.override_config", "model.override_configure"}


def test_a_key_and_one_below_it_cannot_both_be_given():
    error = only({"model.override_config": {"a": 1}, "model.override_config.b": 2})
    assert error.key == "model.override_config.b"


@pytest.mark.parametrize("model", ["builtin:tiny-llama", "Qwen/Qwen2.5-0.5B", "/models/smollm2 135M"])
def test_a_base_model_is_built_in_or_named_or_a_folder(model):
    assert check(recipe(base_model=model)).valid


@pytest.mark.parametrize(
    "model", ["", "builtin:nothing", "../x", "/models/../etc", "-rf/x", "a/b/c", "~/x", "a b/c", "${x}/y"]
)
def test_any_other_base_model_is_refused(model):
    errors = check(recipe(base_model=model)).errors
    assert [error.key for error in errors] == ["base_model"]


def test_an_algorithm_that_cannot_run_is_said_so():
    errors = check(recipe(trainer="trl")).errors
    assert [error.key for error in errors] == ["algorithm"]
    assert "sft (verl)" in errors[0].message


def test_all_errors_come_at_once():
    errors = check(recipe({"optim.lrr": 1, "data.max_length": "x", "optim.lr": -1})).errors
    assert {error.key for error in errors} == {"optim.lrr", "data.max_length", "optim.lr"}


def test_an_unknown_key_hides_nothing_of_what_does_not_go_together():
    errors = check(
        recipe({"optim.lrr": 1, "data.train_batch_size": 20, "data.micro_batch_size_per_gpu": 8}, base_model="?"),
        dataset=dataset(rows=4),
    ).errors
    assert {error.key for error in errors} >= {"optim.lrr", "data.train_batch_size", "base_model"}


def test_a_wrong_value_is_told_once():
    errors = check(recipe({"data.train_batch_size": "many", "data.micro_batch_size_per_gpu": 8})).errors
    assert [error.key for error in errors] == ["data.train_batch_size"]


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("learning_rate", "optim.lr"),
        ("epochs", "trainer.total_epochs"),
        ("batch_size", "data.train_batch_size"),
        ("max_steps", "trainer.total_training_steps"),
    ],
)
def test_a_name_of_other_trainers_is_understood(key, suggestion):
    assert only({key: 1}).suggestion == suggestion


@pytest.mark.parametrize(("key", "value"), [("optim.lr", -1), ("optim.lr", "NaN")])
def test_nothing_is_suggested_that_would_train_nothing_or_be_refused(key, value):
    assert only({key: value}).suggestion is None
