"""The tree of the installed verl is read without running verl."""

import json
import subprocess
import sys

import pytest

from pipelines.recipes.trainers import UnknownTrainerError, trainer_of


def leaves():
    return trainer_of("sft", "verl").tree().leaves


def test_neither_torch_nor_verl_is_imported(tmp_path):
    script = (
        "import json, sys\n"
        "from pipelines.recipes import builtin, compiler\n"
        "from pipelines.recipes.trainers import trainer_of\n"
        "from tests.recipes.cases import dataset, place\n"
        "compiler.compile_recipe(builtin.TINY_SFT.spec, dataset(), place())\n"
        "print(json.dumps([len(trainer_of('sft', 'verl').tree().leaves), sorted(sys.modules)]))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    count, modules = json.loads(answer.stdout)
    assert count > 150
    tops = {name.partition(".")[0] for name in modules}
    assert not tops & {"torch", "verl", "ray", "trl", "transformers", "django"}


def test_leaves_have_the_types_and_defaults_of_verl():
    tree = leaves()
    assert (tree["optim.lr"].type, tree["optim.lr"].default) == ("number", 0.001)
    assert (tree["data.train_batch_size"].type, tree["data.train_batch_size"].default) == ("integer", 256)
    assert (tree["model.use_liger"].type, tree["model.use_liger"].default) == ("boolean", False)
    assert tree["optim.betas"].default == [0.9, 0.999]


@pytest.mark.parametrize(
    ("key", "types"),
    [
        ("model.custom_chat_template", {"null", "string"}),
        ("optim.min_lr_ratio", {"null", "number"}),
        ("profiler.tool_config.precision_debugger.stages", {"null", "array"}),
        ("trainer.total_training_steps", {"null", "integer"}),
    ],
)
def test_a_null_default_takes_its_type_from_the_class_that_reads_it(key, types):
    assert leaves()[key].types == types


def test_keys_that_a_class_takes_but_the_tree_leaves_out_are_known():
    tree = leaves()
    assert tree["engine.mixed_precision"].open
    assert tree["checkpoint.save_lora_only"].default is False


def test_what_verl_sets_while_it_runs_is_no_setting():
    tree = leaves()
    assert not {"model.tokenizer", "model.hf_config", "engine.micro_batch_size_per_gpu"} & set(tree)


def test_open_subtrees_are_marked():
    opened = {key for key, leaf in leaves().items() if leaf.open}
    assert {
        "model.override_config",
        "engine.mixed_precision",
        "optim.override_optimizer_config",
        "data.apply_chat_template_kwargs",
    } <= opened


def test_code_naming_keys_are_no_leaves():
    assert not [key for key in leaves() if "_target_" in key]


def test_the_tree_is_read_once_a_process():
    assert leaves() is leaves()


def test_an_unknown_pair_is_refused():
    with pytest.raises(UnknownTrainerError):
        trainer_of("sft", "trl")
