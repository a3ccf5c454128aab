"""Keys that are not a recipe's to set: some belong to the platform, some only an administrator may touch."""

from collections.abc import Mapping
from typing import Final

from pipelines.recipes.spec import gettext_noop

_NO_VALIDATION: Final = gettext_noop("The platform sets it: there is no validation data.")

PLATFORM: Final[Mapping[str, str]] = {
    "trainer.default_local_dir": gettext_noop("The platform sets it: every attempt has its own checkpoint folder."),
    "trainer.default_hdfs_dir": gettext_noop("The platform sets it: checkpoints stay in the run's folder."),
    "trainer.rollout_data_dir": gettext_noop("The platform sets it: answers stay in the run's folder."),
    "trainer.validation_data_dir": _NO_VALIDATION,
    "trainer.test_freq": _NO_VALIDATION,
    "trainer.val_before_train": _NO_VALIDATION,
    "trainer.val_only": _NO_VALIDATION,
    "trainer.project_name": gettext_noop("The platform sets it from the recipe's name."),
    "trainer.experiment_name": gettext_noop("The platform sets it from the job's uuid."),
    "trainer.logger": gettext_noop("The platform sets it: it reads the metrics itself."),
    "trainer.device": gettext_noop("The platform sets it from the host: cuda, or cpu where there is no GPU."),
    "trainer.nnodes": gettext_noop("The platform sets it from the host."),
    "trainer.n_gpus_per_node": gettext_noop("The platform sets it from the GPUs that the run is given on its host."),
    "trainer.resume_mode": gettext_noop("The platform sets it: it resumes a run from the last good checkpoint."),
    "trainer.resume_from_path": gettext_noop("The platform sets it: it resumes a run from the last good checkpoint."),
    "trainer.del_local_ckpt_after_load": gettext_noop("The platform sets it: what a run goes on from stays."),
    "trainer.use_v1": gettext_noop("The platform sets it: verl's older trainer is not supported."),
    "data.train_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "data.val_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "actor_rollout_ref.model.path": gettext_noop(
        "The platform sets it from the recipe's base model: change base_model instead."
    ),
    "actor_rollout_ref.actor.optim.total_training_steps": gettext_noop(
        "verl sets it itself: change trainer.total_training_steps instead."
    ),
    "global_profiler.save_path": gettext_noop("The platform sets it: profiles stay in the run's folder."),
}
"""key -> who sets it."""

_RUNS_FILE: Final = gettext_noop("Only an administrator may set it: it makes the trainer run a file.")
_IMPORTS: Final = gettext_noop("Only an administrator may set it: it makes the trainer import a module.")
_CONNECTS: Final = gettext_noop("Only an administrator may set it: it makes the trainer talk to another service.")
_ENGINE: Final = gettext_noop("Only an administrator may set it: it goes to the engine as it is.")

ADMIN: Final[Mapping[str, str]] = {
    "actor_rollout_ref.model.trust_remote_code": gettext_noop(
        "Only an administrator may set it: it lets the model's files run their own code on the host."
    ),
    "data.trust_remote_code": gettext_noop(
        "Only an administrator may set it: it lets the model's files run their own code on the host."
    ),
    "actor_rollout_ref.model.external_lib": _IMPORTS,
    "actor_rollout_ref.actor.optim.optimizer_impl": _IMPORTS,
    "actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module": _IMPORTS,
    "actor_rollout_ref.rollout.checkpoint_engine.engine_kwargs": _ENGINE,
    "actor_rollout_ref.rollout.checkpoint_manager_class": _IMPORTS,
    "actor_rollout_ref.rollout.agent.agent_loop_manager_class": _IMPORTS,
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": _RUNS_FILE,
    "actor_rollout_ref.rollout.agent.custom_async_server.path": _RUNS_FILE,
    "actor_rollout_ref.rollout.agent.custom_async_server.name": _RUNS_FILE,
    "actor_rollout_ref.rollout.multi_turn.tool_config_path": _RUNS_FILE,
    "actor_rollout_ref.rollout.multi_turn.function_tool_path": _RUNS_FILE,
    "actor_rollout_ref.rollout.router_config_path": _RUNS_FILE,
    "actor_rollout_ref.rollout.custom": _ENGINE,
    "actor_rollout_ref.rollout.engine_kwargs.vllm": _ENGINE,
    "actor_rollout_ref.rollout.engine_kwargs.sglang": _ENGINE,
    "actor_rollout_ref.rollout.engine_kwargs.trtllm": _ENGINE,
    "actor_rollout_ref.rollout.trace.backend": _CONNECTS,
    "data.custom_cls.path": _RUNS_FILE,
    "data.custom_cls.name": _RUNS_FILE,
    "data.tool_config_path": _RUNS_FILE,
    "data.function_tool_path": _RUNS_FILE,
    "reward.custom_reward_function.path": _RUNS_FILE,
    "reward.custom_reward_function.name": _RUNS_FILE,
    "reward.reward_manager.source": _IMPORTS,
    "reward.reward_manager.module.path": _RUNS_FILE,
    "reward.reward_manager.module.name": _RUNS_FILE,
    "reward.sandbox_fusion.url": _CONNECTS,
    "trainer.checkpoint_callback_class": _IMPORTS,
    "trainer.v1.sampler.custom_sampler.path": _RUNS_FILE,
    "trainer.v1.sampler.custom_sampler.name": _RUNS_FILE,
    # Ray puts them into a shell's command line (ray/_private/runtime_env/nsight.py).
    "global_profiler.global_tool_config.nsys.controller_nsight_options": _ENGINE,
    "global_profiler.global_tool_config.nsys.worker_nsight_options": _ENGINE,
    "global_profiler.finish_hook_cmd": gettext_noop("Only an administrator may set it: it runs a command on the host."),
}
"""key -> why. The key's default is anybody's; so is what an administrator has already saved in the recipe."""

# The modules that verl documents.
HARMLESS: Final = {
    "actor_rollout_ref.actor.optim.optimizer_impl": frozenset({"torch.optim", "torchao.optim", "bitsandbytes.optim"})
}
"""Values of such keys that are anybody's."""

PLAIN: Final = tuple(f"actor_rollout_ref.rollout.engine_kwargs.{name}." for name in ("vllm", "sglang", "trtllm"))
"""Of what goes to an engine as it is, numbers and switches name no code, file or address."""

_NOT_GRPO: Final = gettext_noop("A run of GRPO has neither a critic nor a second answer without chance: grpo counts.")
REPLACED: Final = {
    "algorithm.adv_estimator": {"gae": ("grpo", _NOT_GRPO), "remax": ("grpo", _NOT_GRPO)},
    "actor_rollout_ref.rollout.mode": {
        "sync": ("async", gettext_noop("verl has one way to ask an engine by now: async counts."))
    },
}
"""key -> value of scripts for PPO, or for older releases -> what counts instead, and why."""

IDLE: Final = {"critic.": gettext_noop("GRPO has no critic.")}
"""What scripts that were made from one for PPO still say."""
