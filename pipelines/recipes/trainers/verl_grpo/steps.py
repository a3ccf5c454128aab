"""How many steps a run of verl's PPO trainer (verl/trainer/ppo/v1/trainer_base.py) has, and what people trip over."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.recipes.spec import DatasetRef, Problem, gettext_noop
from pipelines.recipes.trainers.base import Steps
from pipelines.recipes.trainers.verl_sft.steps import enough_data
from platform_runtime import rewards

from . import parallel, ranges

USUAL_MICRO: Final = 8
"""Answers that a GPU takes at once, where nothing is said: more of them need more memory than most have."""
REWARDS: Final = "reward.custom_reward_function.reward_kwargs"
_ACTOR: Final = "actor_rollout_ref.actor"
_REF: Final = "actor_rollout_ref.ref"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_SAVE_CONTENTS: Final = f"{_ACTOR}.checkpoint.save_contents"


def steps(settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
    """The incomplete rest of an epoch is dropped, whatever the number of processes."""
    limit = settings["data.train_max_samples"]
    rows = min(rows, limit) if limit > 0 else rows
    per_epoch = rows // settings["data.train_batch_size"]
    return Steps(per_epoch, settings["trainer.total_training_steps"] or per_epoch * settings["trainer.total_epochs"])


def saves_checkpoint(settings: Mapping[str, Any]) -> bool:
    """Unlike the SFT trainer, it saves its last step only where it saves at all."""
    return settings["trainer.save_freq"] > 0 and bool({"model", "hf_model"} & set(settings[_SAVE_CONTENTS]))


def uses_reference(settings: Mapping[str, Any]) -> bool:
    """verl/trainer/ppo/utils.py, need_reference_policy."""
    return bool(settings["algorithm.use_kl_in_reward"] or settings[f"{_ACTOR}.use_kl_loss"])


def problems(settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
    """Errors that arise from several keys together."""
    if settings["algorithm.adv_estimator"] in ranges.IN_GROUPS and settings[f"{_ROLLOUT}.n"] < 2:
        yield Problem(
            f"{_ROLLOUT}.n",
            gettext_noop("%(estimator)s compares the answers to a prompt with each other: it needs two or more."),
            {"estimator": settings["algorithm.adv_estimator"]},
            suggestion="8",
        )
    yield from parallel.problems(settings, processes)
    yield from _validation(settings)
    yield from _batches(settings, processes)
    yield from _lengths(settings)
    yield from _rewards(settings)
    if dataset is not None:
        yield from enough_data(settings, dataset, steps(settings, dataset.rows, processes))


def warnings(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """What runs, but probably not as meant."""
    if settings["trainer.save_freq"] <= 0:
        yield Problem(
            "trainer.save_freq",
            gettext_noop(
                "No checkpoint is saved, not of the last step either: the run leaves no model and cannot be resumed."
            ),
            suggestion="10",
        )
    elif not saves_checkpoint(settings):
        yield Problem(
            _SAVE_CONTENTS,
            gettext_noop("Neither model nor hf_model is saved: the run leaves no checkpoint and cannot be resumed."),
        )
    if settings["algorithm.use_kl_in_reward"] and settings[f"{_ACTOR}.use_kl_loss"]:
        yield Problem(
            "algorithm.use_kl_in_reward",
            gettext_noop("The divergence counts twice: in the reward, and in the loss by actor.use_kl_loss."),
        )
    if settings[f"{_ROLLOUT}.temperature"] == 0:
        yield Problem(
            f"{_ROLLOUT}.temperature",
            gettext_noop("Without chance all answers to a prompt are the same, and there is nothing to learn."),
            suggestion="1.0",
        )
    if settings["data.filter_overlong_prompts"]:
        yield Problem(
            "data.filter_overlong_prompts",
            gettext_noop(
                "If prompts are left out, the run may end before its planned last step, and then counts as failed."
            ),
        )


def _batches(settings: Mapping[str, Any], processes: int) -> Iterator[Problem]:
    """A step's prompts, `n` answers each, are learned from in mini batches, of which a GPU takes micro batches
    (verl/trainer/ppo/v1/trainer_base.py, verl/workers/engine/utils.py)."""
    batch, mini = settings["data.train_batch_size"], settings[f"{_ACTOR}.ppo_mini_batch_size"]
    if mini > batch or batch % mini:
        yield Problem(
            f"{_ACTOR}.ppo_mini_batch_size",
            gettext_noop("data.train_batch_size %(batch)d is no multiple of %(mini)d."),
            {"batch": batch, "mini": mini},
            suggestion=str(batch),
        )
        return
    answers, shards = (
        settings[f"{_ROLLOUT}.n"],
        max(1, processes // settings[f"{_ACTOR}.ulysses_sequence_parallel_size"]),
    )
    if mini * answers % shards:
        yield Problem(
            f"{_ACTOR}.ppo_mini_batch_size",
            gettext_noop("%(mini)d prompts with %(answers)d answers each cannot be divided among %(gpus)d GPUs."),
            {"mini": mini, "answers": answers, "gpus": shards},
        )
        return
    if settings[f"{_ACTOR}.use_dynamic_bsz"]:
        return  # verl cuts by tokens and ignores the micro batch sizes.
    wanted = [
        (f"{_ACTOR}.ppo_micro_batch_size_per_gpu", mini),
        (f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu", batch),
    ]
    if uses_reference(settings):
        wanted.append((f"{_REF}.log_prob_micro_batch_size_per_gpu", batch))
    for key, prompts in wanted:
        old = key.removesuffix("_per_gpu")
        if settings[old] is not None:
            yield Problem(
                old,
                gettext_noop("verl takes this older setting or %(key)s, not both: leave this one out."),
                {"key": key},
                suggestion="null",
            )
        share = prompts * answers // shards
        micro = settings[key]
        if micro is None or share % micro:
            template = (
                gettext_noop("It must be set, to a divisor of the %(share)d answers that a GPU gets.")
                if micro is None
                else gettext_noop("The %(share)d answers that a GPU gets are no multiple of %(micro)d.")
            )
            yield Problem(
                key, template, {"share": share, "micro": micro}, suggestion=str(_divisor(share, micro or USUAL_MICRO))
            )


def _divisor(share: int, wanted: int) -> int:
    """The largest that is not larger than what was wanted."""
    return next((size for size in range(min(share, wanted), 0, -1) if share % size == 0), 1)


def _validation(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """verl/utils/config.py checks it, whether a run validates or not."""
    if settings[f"{_ROLLOUT}.val_kwargs.do_sample"] and settings[f"{_ROLLOUT}.temperature"] <= 0:
        yield Problem(
            f"{_ROLLOUT}.val_kwargs.do_sample",
            gettext_noop("It draws answers by chance, and %(key)s is 0."),
            {"key": f"{_ROLLOUT}.temperature"},
            suggestion="false",
        )


def _lengths(settings: Mapping[str, Any]) -> Iterator[Problem]:
    longest = settings["data.max_prompt_length"] + settings["data.max_response_length"]
    limits = {f"{_ROLLOUT}.max_model_len": settings[f"{_ROLLOUT}.max_model_len"]}
    if settings[f"{_ACTOR}.use_dynamic_bsz"]:
        key = f"{_ACTOR}.ppo_max_token_len_per_gpu"
        limits[key] = settings[key] * settings[f"{_ACTOR}.ulysses_sequence_parallel_size"]
    for key, limit in limits.items():
        if limit is not None and limit < longest:
            yield Problem(
                key,
                gettext_noop("A prompt and its answer may have %(longest)d tokens, and this allows %(limit)d."),
                {"longest": longest, "limit": limit},
                suggestion=str(longest),
            )


def _rewards(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["reward.custom_reward_function.path"] is not None:
        return
    options = {key[len(REWARDS) + 1 :]: value for key, value in settings.items() if key.startswith(f"{REWARDS}.")}
    try:
        rewards.Settings.of(options)
    except rewards.RewardError as error:
        yield Problem(
            f"{REWARDS}.{error.key}", gettext_noop("The reward cannot be computed: %(why)s"), {"why": error.why}
        )
