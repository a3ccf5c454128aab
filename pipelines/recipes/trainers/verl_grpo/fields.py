"""The settings of verl's PPO trainer that people tune for GRPO.

Type, default and range come from the trainer's own tree and `ranges`, never from here.
"""

from typing import Final

from pipelines.recipes.fields import Field, Group
from pipelines.recipes.spec import gettext_noop

_ACTOR: Final = "actor_rollout_ref.actor"
_REF: Final = "actor_rollout_ref.ref"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_MODEL: Final = "actor_rollout_ref.model"
_REWARD: Final = "reward.custom_reward_function.reward_kwargs"

GROUPS: Final = (
    Group(
        gettext_noop("Length of the run"),
        (
            Field(
                "trainer.total_epochs", gettext_noop("Epochs"), gettext_noop("How often the prompts are gone through.")
            ),
            Field(
                "trainer.total_training_steps",
                gettext_noop("Steps at most"),
                gettext_noop("Ends the run early, in the middle of an epoch too."),
                gettext_noop("steps"),
            ),
            Field(
                "trainer.save_freq",
                gettext_noop("Checkpoint every"),
                gettext_noop("And at the end. -1: none at all, so that the run leaves no model."),
                gettext_noop("steps"),
            ),
            Field(
                "trainer.max_actor_ckpt_to_keep",
                gettext_noop("Checkpoints kept"),
                gettext_noop("Older ones are removed while training. Empty: all stay."),
            ),
            Field("data.seed", gettext_noop("Seed"), gettext_noop("Of the order of the prompts.")),
        ),
    ),
    Group(
        gettext_noop("Reward"),
        (
            Field(
                f"{_REWARD}.exact_match",
                gettext_noop("Right answer"),
                gettext_noop("Weight of 1 point for what the row calls the answer; of numbers the last one counts."),
            ),
            Field(
                f"{_REWARD}.format",
                gettext_noop("Form"),
                gettext_noop("Weight of 1 point for an answer in which the pattern is found."),
            ),
            Field(
                f"{_REWARD}.format_pattern",
                gettext_noop("Pattern"),
                gettext_noop("A regular expression. As it stands: #### and a number."),
            ),
            Field(
                f"{_REWARD}.length",
                gettext_noop("Brevity"),
                gettext_noop("Weight of the penalty for long answers, up to 1 point."),
            ),
            Field(
                f"{_REWARD}.length_free",
                gettext_noop("Free length"),
                gettext_noop("So much costs nothing."),
                gettext_noop("characters"),
            ),
            Field(
                f"{_REWARD}.length_limit",
                gettext_noop("Length of the whole penalty"),
                gettext_noop("From here on an answer costs a point."),
                gettext_noop("characters"),
            ),
            Field(
                f"{_REWARD}.digits",
                gettext_noop("Digits"),
                gettext_noop("Weight of the share of digits in an answer: for trying things out."),
            ),
        ),
    ),
    Group(
        gettext_noop("Answers"),
        (
            Field(
                f"{_ROLLOUT}.n",
                gettext_noop("Answers to a prompt"),
                gettext_noop("They are compared with each other: two or more, often 8."),
            ),
            Field(
                "data.max_prompt_length",
                gettext_noop("Longest prompt"),
                gettext_noop("Of the dataset, with the chat template."),
                gettext_noop("tokens"),
            ),
            Field(
                "data.max_response_length",
                gettext_noop("Longest answer"),
                gettext_noop("Where it is cut."),
                gettext_noop("tokens"),
            ),
            Field(
                f"{_ROLLOUT}.temperature",
                gettext_noop("Temperature"),
                gettext_noop("More makes answers differ more. 1 is usual."),
            ),
            Field(
                f"{_ROLLOUT}.top_p",
                gettext_noop("Top p"),
                gettext_noop("Chooses from the likeliest words with so much of the probability."),
            ),
            Field(f"{_ROLLOUT}.top_k", gettext_noop("Top k"), gettext_noop("Of so many words. -1: of all.")),
            Field(
                f"{_ROLLOUT}.name",
                gettext_noop("Engine"),
                gettext_noop("What answers on GPUs. On a CPU it is transformers."),
            ),
            Field(
                f"{_ROLLOUT}.tensor_model_parallel_size",
                gettext_noop("GPUs that share the engine's model"),
                gettext_noop("For models too large for one."),
                gettext_noop("GPUs"),
            ),
            Field(
                f"{_ROLLOUT}.gpu_memory_utilization",
                gettext_noop("Memory of the engine"),
                gettext_noop("Its part of the GPU's memory while it answers, 0 to 1."),
            ),
        ),
    ),
    Group(
        gettext_noop("Optimizer"),
        (
            Field(
                f"{_ACTOR}.optim.lr",
                gettext_noop("Learning rate"),
                gettext_noop("1e-6 is usual for a whole model, 1e-5 with LoRA."),
            ),
            Field(f"{_ACTOR}.optim.lr_scheduler_type", gettext_noop("Schedule"), gettext_noop("How the rate falls.")),
            Field(
                f"{_ACTOR}.optim.lr_warmup_steps_ratio",
                gettext_noop("Warm-up"),
                gettext_noop("The part of the run in which the rate rises from 0."),
            ),
            Field(
                f"{_ACTOR}.optim.weight_decay", gettext_noop("Weight decay"), gettext_noop("Pulls weights towards 0.")
            ),
            Field(
                f"{_ACTOR}.optim.clip_grad",
                gettext_noop("Gradient clipping"),
                gettext_noop("Longer gradients are cut to this norm."),
            ),
        ),
    ),
    Group(
        gettext_noop("Algorithm"),
        (
            Field(
                "algorithm.adv_estimator",
                gettext_noop("Advantages"),
                gettext_noop("How an answer's reward is compared: grpo, or one of its kin."),
            ),
            Field(
                "algorithm.norm_adv_by_std_in_grpo",
                gettext_noop("Divide by the spread"),
                gettext_noop("As GRPO does; Dr. GRPO does not."),
            ),
            Field(
                f"{_ACTOR}.use_kl_loss",
                gettext_noop("Stay near the base model"),
                gettext_noop("Adds the divergence from it to the loss."),
            ),
            Field(f"{_ACTOR}.kl_loss_coef", gettext_noop("How near"), gettext_noop("Weight of that divergence.")),
            Field(f"{_ACTOR}.kl_loss_type", gettext_noop("Divergence"), gettext_noop("How it is estimated.")),
            Field(
                f"{_ACTOR}.entropy_coeff",
                gettext_noop("Entropy"),
                gettext_noop("More keeps answers varied."),
            ),
            Field(
                f"{_ACTOR}.clip_ratio_low",
                gettext_noop("Clipping below"),
                gettext_noop("How much less likely a step may make a word."),
            ),
            Field(
                f"{_ACTOR}.clip_ratio_high",
                gettext_noop("Clipping above"),
                gettext_noop("How much more likely a step may make a word."),
            ),
            Field(
                f"{_ACTOR}.loss_agg_mode",
                gettext_noop("Mean of the loss"),
                gettext_noop("Over all words, or over answers."),
            ),
        ),
    ),
    Group(
        gettext_noop("Batches"),
        (
            Field(
                "data.train_batch_size",
                gettext_noop("Prompts in a step"),
                gettext_noop("Each is answered several times."),
                gettext_noop("prompts"),
            ),
            Field(
                f"{_ACTOR}.ppo_mini_batch_size",
                gettext_noop("Prompts in an update"),
                gettext_noop("Less than a step's makes several updates of one step."),
                gettext_noop("prompts"),
            ),
            Field(
                f"{_ACTOR}.ppo_micro_batch_size_per_gpu",
                gettext_noop("Micro batch"),
                gettext_noop("Answers that a GPU learns from at once; less needs less memory."),
                gettext_noop("answers"),
            ),
            Field(
                f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu",
                gettext_noop("Micro batch of the probabilities"),
                gettext_noop("Answers that a GPU judges at once."),
                gettext_noop("answers"),
            ),
            Field(
                f"{_REF}.log_prob_micro_batch_size_per_gpu",
                gettext_noop("Micro batch of the base model"),
                gettext_noop("The same, where the divergence from it counts."),
                gettext_noop("answers"),
            ),
            Field(
                f"{_ACTOR}.use_dynamic_bsz",
                gettext_noop("Batches by tokens"),
                gettext_noop("Fills a GPU by tokens instead of answers; micro batches are ignored then."),
            ),
            Field(
                f"{_ACTOR}.ppo_max_token_len_per_gpu",
                gettext_noop("Tokens a GPU takes"),
                gettext_noop("With batches by tokens."),
                gettext_noop("tokens"),
            ),
        ),
    ),
    Group(
        gettext_noop("LoRA"),
        (
            Field(
                f"{_MODEL}.lora_rank",
                gettext_noop("Rank"),
                gettext_noop("0 trains the whole model; 8 to 64 trains small matrices beside it."),
            ),
            Field(
                f"{_MODEL}.lora_alpha", gettext_noop("Alpha"), gettext_noop("Scales what LoRA adds; often the rank.")
            ),
            Field(
                f"{_MODEL}.target_modules",
                gettext_noop("Layers"),
                gettext_noop("all-linear, or a list of names such as [q_proj, v_proj]."),
            ),
        ),
    ),
    Group(
        gettext_noop("Memory and speed"),
        (
            Field(
                f"{_MODEL}.enable_gradient_checkpointing",
                gettext_noop("Gradient checkpointing"),
                gettext_noop("Computes activations twice, and needs much less memory."),
            ),
            Field(
                f"{_MODEL}.use_remove_padding",
                gettext_noop("Packing"),
                gettext_noop("Computes nothing for padding. Needs flash-attn."),
            ),
            Field(
                f"{_ACTOR}.fsdp_config.param_offload",
                gettext_noop("Weights in main memory"),
                gettext_noop("Between uses; slower, and needs less of the GPU."),
            ),
            Field(
                f"{_ACTOR}.fsdp_config.optimizer_offload",
                gettext_noop("Optimizer in main memory"),
                gettext_noop("Between uses; slower, and needs less of the GPU."),
            ),
        ),
    ),
)
