"""First-class metrics: what each trainer calls them. Pure.

Sources: the metrics that verl 0.9.1 (`verl.trainer.ppo.metric_utils`, its SFT trainer) and TRL 1.16 (SFT, DPO, GRPO,
RLOO, PPO trainers) log, and our DPO on verl's engine.
"""

from collections.abc import Iterable, Mapping
from typing import Final

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "loss": ("loss", "train/loss", "actor/loss", "actor/pg_loss", "loss/policy_avg", "train_loss"),
    "reward_mean": ("critic/rewards/mean", "reward", "reward/mean", "objective/rlhf_reward", "rewards/chosen"),
    "reward_max": ("critic/rewards/max", "reward/max"),
    "reward_min": ("critic/rewards/min", "reward/min"),
    "kl_divergence": ("actor/kl_loss", "actor/reward_kl_penalty", "critic/kl", "kl", "objective/kl", "actor/ppo_kl"),
    "kl_divergence_max": ("actor/kl_loss_max", "actor/kl_max", "kl_max", "actor/ppo_kl_max"),
    "grad_norm_actor": ("actor/grad_norm", "train/grad_norm", "grad_norm"),
    "grad_norm_critic": ("critic/grad_norm",),
    "tokens_per_second": ("perf/throughput", "tokens_per_second", "train/tokens_per_second", "train_tokens_per_second"),
    "step_time": ("perf/time_per_step", "timing_s/step", "step_time", "train/step_time"),
    "gpu_memory_allocated_gib": (
        "actor/perf/max_memory_allocated_gb",
        "perf/max_memory_allocated_gb",
        "train/max_memory_allocated_gb",
        "gpu_memory_allocated_gib",
    ),
}
"""Name -> what trainers log it as; of several the first counts."""


def sources_in(names: Iterable[str]) -> dict[str, str]:
    """For each first-class metric that a run with these metrics has, the one it is taken from."""
    there = frozenset(names)
    return {
        name: source for name, sources in SOURCES.items() if (source := next(filter(there.__contains__, sources), ""))
    }
