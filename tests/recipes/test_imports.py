"""Command lines in the style of those that people share become recipes; what does not fit is said."""

import pytest

from pipelines.recipes import imports, validate
from pipelines.recipes.trainers import TRAINERS

SFT = "python3 -m verl.trainer.sft_trainer"

SFT_SCRIPT = """#!/usr/bin/env bash
# Fine-tunes a small model. Usage: run.sh <gpus> <folder>   (don't forget the data)
set -xeuo pipefail

if [ "$#" -lt 2 ]; then
    echo "Give gpus and folder"
    exit 1
fi
gpus=$1
folder=$2
shift 2

export WANDB_API_KEY=not-to-be-shown
MODEL=${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}
train_a=$HOME/data/a.parquet
train_b=$HOME/data/b.parquet
train_files="['$train_a', '$train_b']"
MAX=$((1024 * 2))
OPTIM=(
    optim.lr=${LR:-2e-5}
    optim.betas="[0.9,0.95]"   # of Adam
    optim.lr_scheduler_type=cosine
)

torchrun --standalone --nnodes=1 --nproc_per_node=$gpus \\
    -m verl.trainer.sft_trainer \\
    data.train_files="$train_files" \\
    data.train_batch_size=128 \\
    data.micro_batch_size_per_gpu=4 \\
    data.max_length=${MAX} \\
    data.truncation='right' \\
    model.path="$MODEL" \\
    model.target_modules='["q_proj","v_proj"]' \\
    model.lora_rank=32 \\
    +model.override_config.attn_implementation=sdpa \\
    ++model.use_liger=True \\
    "${OPTIM[@]}" \\
    trainer.default_local_dir="$folder" \\
    trainer.experiment_name=small-$(date +%s) \\
    trainer.project_name='my project' \\
    trainer.logger='["console","wandb"]' \\
    trainer.save_freq=-1 \\
    trainer.total_epochs=$EPOCHS "$@" 2>&1 | tee train.log
"""

GRPO_SCRIPT = """set -x

python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator=grpo \\
    data.train_files=$HOME/data/train.parquet \\
    data.train_batch_size=256 \\
    data.max_prompt_length=512 \\
    actor_rollout_ref.model.path=Qwen/Qwen2.5-3B-Instruct \\
    actor_rollout_ref.actor.optim.lr=1e-6 \\
    actor_rollout_ref.actor.use_kl_loss=True \\
    actor_rollout_ref.actor.use_dynamic_bsz=True \\
    actor_rollout_ref.rollout.n=5 \\
    critic.optim.lr=1e-5 \\
    trainer.test_freq=5 \\
    trainer.n_gpus_per_node=8 \\
    trainer.total_epochs=15 $@
"""


def problems(found):
    return [(one.line, one.problem.key, one.problem.message) for one in found.problems]


def left_out(found):
    return {one.key: one.value for one in found.left_out}


def one(argument):
    """What becomes of one argument."""
    return imports.read(f"{SFT} {argument}")


def test_a_script_for_sft_becomes_a_recipe():
    found = imports.read(SFT_SCRIPT)
    assert (found.spec.algorithm, found.spec.trainer) == ("sft", "verl")
    assert found.spec.base_model == "Qwen/Qwen2.5-0.5B-Instruct"
    assert found.spec.params == {
        "data.train_batch_size": 128,
        "data.micro_batch_size_per_gpu": 4,
        "data.max_length": 2048,
        "data.truncation": "right",
        "model.target_modules": ["q_proj", "v_proj"],
        "model.lora_rank": 32,
        "model.override_config.attn_implementation": "sdpa",
        "model.use_liger": True,
        "optim.lr": 2e-5,
        "optim.betas": [0.9, 0.95],
        "optim.lr_scheduler_type": "cosine",
        "trainer.save_freq": -1,
    }
    assert validate.check(found.spec).valid


def test_what_the_platform_sets_itself_is_left_out_and_said():
    found = imports.read(SFT_SCRIPT)
    assert left_out(found) == {
        "data.train_files": "['$HOME/data/a.parquet', '$HOME/data/b.parquet']",
        "trainer.default_local_dir": "$2",
        "trainer.experiment_name": "small-$(date +%s)",
        "trainer.project_name": "my project",
        "trainer.logger": '["console","wandb"]',
        "WANDB_API_KEY": "",
    }
    rules = TRAINERS["sft", "verl"].rules.platform
    assert all(one.template == rules[one.key] for one in found.left_out if one.key in rules)


def test_what_the_script_does_not_tell_is_reported_with_its_line_and_left_alone():
    line = next(at for at, text in enumerate(SFT_SCRIPT.splitlines(), 1) if "$EPOCHS" in text)
    assert problems(imports.read(SFT_SCRIPT)) == [
        (line, "trainer.total_epochs", "$EPOCHS is not set in the script."),
    ]


def test_a_script_for_grpo_is_recognised():
    found = imports.read(GRPO_SCRIPT)
    assert (found.spec.algorithm, found.spec.trainer) == ("grpo", "verl")
    assert found.spec.base_model == "Qwen/Qwen2.5-3B-Instruct"
    assert found.spec.params["actor_rollout_ref.rollout.n"] == 5
    assert left_out(found).keys() == {
        "data.train_files",
        "trainer.n_gpus_per_node",
        "trainer.test_freq",
        "critic.optim.lr",
    }
    assert problems(found) == []
    assert validate.check(found.spec, gpus=8).valid


@pytest.mark.parametrize("estimator", ["algorithm.adv_estimator=gae", ""])
def test_ppo_with_a_critic_is_told_from_grpo(estimator):
    found = imports.read(f"python3 -m verl.trainer.main_ppo {estimator} data.train_batch_size=4")
    ((_line, key, told),) = problems(found)
    assert key == "algorithm.adv_estimator"
    assert "PPO with a critic" in told


@pytest.mark.parametrize(
    "command",
    [
        "python -m verl.trainer.sft_trainer optim.lr=1",
        "PYTHONUNBUFFERED=1 nohup python3 -u -m verl.trainer.sft_trainer optim.lr=1 > log &",
        "torchrun --nnodes=2 --node_rank=$RANK -m verl.trainer.sft_trainer optim.lr=1",
        "ray job submit --address=$A --runtime-env=x.yaml -- python3 -m verl.trainer.sft_trainer_ray optim.lr=1",
        "torchrun --nproc_per_node=8 $ROOT/verl/trainer/sft_trainer.py optim.lr=1",
        'LAUNCH=(uv run python3)\n"${LAUNCH[@]}" -m verl.trainer.sft_trainer optim.lr=1',
        'ARGS="optim.lr=1"\nsrun python3 -m verl.trainer.sft_trainer $ARGS',
        "if true; then\n  python3 -m verl.trainer.sft_trainer optim.lr=1\nfi",
        "$ python3 -m verl.trainer.sft_trainer optim.lr=1",
        "python3 -m verl.trainer.sft_trainer --config-name=sft_trainer_engine optim.lr=1",
    ],
)
def test_a_command_is_found_however_it_is_started(command):
    found = imports.read(command)
    assert (found.spec.algorithm, found.spec.params) == ("sft", {"optim.lr": 1})
    assert problems(found) == []


def test_the_base_model_of_an_older_release_is_known():
    assert imports.read("python3 -m verl.trainer.fsdp_sft_trainer model.partial_pretrain=a/b").spec.base_model == "a/b"


@pytest.mark.parametrize(
    ("argument", "params"),
    [
        ("optim.lr=1e-5", {"optim.lr": 1e-5}),
        ("+optim.lr=.5", {"optim.lr": 0.5}),
        ("++model.use_liger=true", {"model.use_liger": True}),
        ("trainer.max_ckpt_to_keep=null", {"trainer.max_ckpt_to_keep": None}),
        ("optim.optimizer=", {"optim.optimizer": ""}),
        ("optim.optimizer='\"1\"'", {"optim.optimizer": "1"}),
        ("'model.target_modules=[q_proj, \"k proj\"]'", {"model.target_modules": ["q_proj", "k proj"]}),
        ("'+model.override_config={a: {b: [1, {c: 2}]}}'", {"model.override_config.a.b": [1, {"c": 2}]}),
        ("'+optim={lr: 1, betas: [0, 1]}'", {"optim.lr": 1, "optim.betas": [0, 1]}),
        ("'optim.lr=float(3)'", {"optim.lr": 3.0}),
        ("'optim.name=${oc.env:HOME}'", {"optim.name": "${oc.env:HOME}"}),
    ],
)
def test_values_are_read_by_hydras_own_grammar(argument, params):
    found = one(argument)
    assert found.spec.params == params
    assert problems(found) == []


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("optim.lr=$X", "$X is not set in the script."),
        ("optim.lr=$(cat x)", "would have to be run"),
        ("model.path=$X", "$X is not set in the script."),
        ("$EXTRA", "$EXTRA is not set in the script."),
        ("optim.lr=1,2", "stands for several runs"),
        ("'optim.lr=choice(1,2)'", "stands for several runs"),
        ("'optim.lr=glob(*)'", "stands for several runs"),
        ("optim.lr=[1", "Hydra cannot read it"),
        ("optim.lr=nan", "must be finite"),
        ("word", "is no setting"),
        ("hydra.run.dir=x", "Hydra's own settings"),
        ("+model._target_=os.system", "name code to run"),
        ("'+model.override_config={_target_: os.system}'", "name code to run"),
        ("a@b=1", "not a dotted key"),
        ("optim.lr=" + "[" * 1500 + "]" * 1500, "nested too deeply"),
        ("optim.name=" + "x" * 5000, "longer than 4096"),
    ],
    ids=range(16),
)
def test_what_cannot_be_taken_is_said_and_not_in_the_recipe(argument, told):
    found = one(argument)
    assert found.spec.params == {}
    ((line, _key, said),) = problems(found)
    assert line == 1
    assert told in said


def test_the_last_of_two_counts_and_the_first_is_said():
    found = one("optim.lr=1 \\\n optim.lr=2")
    assert found.spec.params == {"optim.lr": 2}
    assert [(one.key, one.value, one.line) for one in found.left_out] == [("optim.lr", "1", 1)]


def test_a_deleted_key_and_another_configuration_are_left_out():
    found = one("~optim.betas --config-name=other --config-path ./config")
    assert left_out(found) == {"optim.betas": "", "--config-name": "other", "--config-path": "./config"}


def test_what_a_comment_cuts_off_is_told():
    found = imports.read(f"{SFT} \\\n  optim.lr=1 \\\n  # data.max_length=3 \\\n  optim.clip_grad=2\n")
    assert found.spec.params == {"optim.lr": 1}
    assert [(line, key) for line, key, _told in problems(found)] == [(4, "optim.clip_grad")]


def test_a_second_command_is_told():
    ((line, _key, told),) = problems(imports.read(f"{SFT} optim.lr=1\n{SFT} optim.lr=2\n"))
    assert line == 2
    assert "second command" in told


def test_a_flood_of_settings_ends_in_time():
    found = imports.read(SFT + "".join(f" optim.a{n}=[1,2,3]" for n in range(6_000)))
    assert len(found.spec.params) <= imports.MOST_KEYS
    assert any("longer than" in told for _line, _key, told in problems(found))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "There is no command of verl"),
        ("optim.lr=1", "There is no command of verl"),
        ("echo 'python3 -m verl.trainer.sft_trainer'", "There is no command of verl"),
        ("python3 -m verl.trainer.main_eval x=1", "Line 1: verl.trainer.main_eval cannot be taken over"),
        ("python3 -m recipe.dapo.main_dapo x=1", "Line 1: recipe.dapo.main_dapo cannot be taken over"),
        (f"{SFT} optim.lr='1", "Line 1: ' is opened and never closed"),
    ],
)
def test_a_text_without_a_command_that_can_be_taken_is_refused(text, told):
    with pytest.raises(imports.ShellProblem) as refused:
        imports.read(text)
    assert str(refused.value).startswith(told)


def test_variables_that_multiply_nothing_are_counted_too():
    laughs = "A0=''\n" + "".join(f'A{n}="{f"$A{n - 1}" * 8}"\n' for n in range(1, 30))
    with pytest.raises(imports.ShellProblem, match="longer than"):
        imports.read(f"{laughs}python -m verl.trainer.main_ppo a.b=$A29\n")


OF_PPO = """
set -x
export VLLM_USE_V1=1
train_files="['$HOME/data/gsm8k/train.parquet', '$HOME/data/math/train.parquet']"
PYTHONUNBUFFERED=1 python3 -m verl.trainer.main_ppo --config-path=config --config-name='ppo_trainer.yaml' \\
    algorithm.adv_estimator=gae \\
    data.train_files="$train_files" \\
    actor_rollout_ref.model.path=Qwen/Qwen2.5-0.5B-Instruct \\
    actor_rollout_ref.rollout.name=sglang \\
    actor_rollout_ref.rollout.mode=sync \\
    actor_rollout_ref.rollout.n=8 \\
    +actor_rollout_ref.rollout.engine_kwargs.vllm.disable_mm_preprocessor_cache=True \\
    +actor_rollout_ref.model.override_config.max_position_embeddings=32768 \\
    critic.model.path=Qwen/Qwen2.5-0.5B-Instruct \\
    trainer.logger='["console","wandb"]' $@ 2>&1 | tee verl.log
"""


def test_a_script_for_ppo_is_a_recipe_for_grpo_and_says_so():
    found = imports.read(OF_PPO)
    ((line, key, told),) = problems(found)
    assert (line, key) == (6, "algorithm.adv_estimator")
    assert "PPO with a critic" in told
    assert found.spec.params == {
        "actor_rollout_ref.rollout.name": "sglang",
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.rollout.engine_kwargs.vllm.disable_mm_preprocessor_cache": True,
        "actor_rollout_ref.model.override_config.max_position_embeddings": 32768,
    }
    left = {one.key: one.template for one in found.left_out}
    assert "async counts" in left["actor_rollout_ref.rollout.mode"]
    assert left["critic.model.path"] == imports.UNUSED
    wrong = {one.key for one in validate.check(found.spec).errors}
    # Only what a script leaves to verl's defaults is still to be said.
    assert wrong == {
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
    }


def test_an_option_may_be_two_words():
    found = imports.read("python3 -m verl.trainer.main_ppo --config-path /x --config-name mine.yaml data.seed=1")
    assert [(one.key, one.value) for one in found.left_out] == [("--config-path", "/x"), ("--config-name", "mine.yaml")]
    assert "data.seed" in found.spec.params


def test_the_group_that_a_trainer_has_anyway_is_left_out_and_another_is_told():
    found = imports.read("torchrun -m verl.trainer.sft_trainer engine=fsdp optim=fsdp engine.fsdp_size=2")
    assert {one.key: one.template for one in found.left_out} == {
        "engine": imports.OWN_GROUP,
        "optim": imports.OWN_GROUP,
    }
    assert found.spec.params == {"engine.fsdp_size": 2}
    ((_line, key, told),) = problems(imports.read("torchrun -m verl.trainer.sft_trainer engine=megatron"))
    assert key == "engine"
    assert "megatron" in told


@pytest.mark.security
@pytest.mark.parametrize(
    ("name", "value", "anybodys"),
    [
        ("disable_mm_preprocessor_cache", True, True),
        ("swap_space", 16, True),
        ("trust_remote_code", True, False),
        ("worker_cls", "os.system", False),
        ("hf_overrides", {"auto_map": {"AutoModel": "x"}}, False),
    ],
)
def test_numbers_and_switches_for_an_engine_are_anybodys(name, value, anybodys):
    key = f"actor_rollout_ref.rollout.engine_kwargs.vllm.{name}"
    spec = imports.read("python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo").spec.merged({key: value})
    assert (key not in {one.key for one in validate.check(spec).errors}) == anybodys
    assert key not in {one.key for one in validate.check(spec, admin=True).errors}
