"""The settings of verl's SFT trainer that people tune. Counted in verl's public scripts.

Type, default and range come from the trainer's own tree and `ranges`, never from here.
"""

from typing import Final

from pipelines.recipes.fields import Field, Group
from pipelines.recipes.spec import gettext_noop

GROUPS: Final = (
    Group(
        gettext_noop("Length of the run"),
        (
            Field(
                "trainer.total_epochs",
                gettext_noop("Epochs"),
                gettext_noop("How often the data is gone through."),
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
                gettext_noop("A run that is interrupted goes on from its last checkpoint. -1: only the last step."),
                gettext_noop("steps"),
            ),
            Field(
                "trainer.max_ckpt_to_keep",
                gettext_noop("Checkpoints kept"),
                gettext_noop("Older ones are removed while training. Empty: all stay."),
            ),
            Field("trainer.seed", gettext_noop("Seed"), gettext_noop("Of the order of the data.")),
        ),
    ),
    Group(
        gettext_noop("Optimizer"),
        (
            Field(
                "optim.lr",
                gettext_noop("Learning rate"),
                gettext_noop("The most important one. 1e-5 is usual for a whole model, 1e-4 with LoRA."),
            ),
            Field("optim.lr_scheduler_type", gettext_noop("Schedule"), gettext_noop("How the rate falls.")),
            Field(
                "optim.lr_warmup_steps_ratio",
                gettext_noop("Warm-up"),
                gettext_noop("The part of the run in which the rate rises from 0."),
            ),
            Field(
                "optim.min_lr_ratio",
                gettext_noop("Lowest rate"),
                gettext_noop("As a part of the learning rate, at the end of a cosine schedule."),
            ),
            Field("optim.weight_decay", gettext_noop("Weight decay"), gettext_noop("Pulls weights towards 0.")),
            Field("optim.betas", gettext_noop("Betas"), gettext_noop("Of Adam, as a list of two numbers.")),
            Field(
                "optim.clip_grad",
                gettext_noop("Gradient clipping"),
                gettext_noop("Longer gradients are cut to this norm."),
            ),
        ),
    ),
    Group(
        gettext_noop("Batches and lengths"),
        (
            Field(
                "data.train_batch_size",
                gettext_noop("Batch size"),
                gettext_noop("Rows in one step, over all GPUs."),
                gettext_noop("rows"),
            ),
            Field(
                "data.micro_batch_size_per_gpu",
                gettext_noop("Micro batch"),
                gettext_noop("Rows that a GPU takes at once; less needs less memory."),
                gettext_noop("rows"),
            ),
            Field(
                "data.max_length",
                gettext_noop("Longest row"),
                gettext_noop("Longer ones are treated as truncation says."),
                gettext_noop("tokens"),
            ),
            Field(
                "data.truncation",
                gettext_noop("Truncation"),
                gettext_noop("Cut rows that are too long at one end, or refuse them."),
            ),
            Field("data.pad_mode", gettext_noop("Padding"), gettext_noop("none packs rows without gaps.")),
            Field(
                "data.use_dynamic_bsz",
                gettext_noop("Batches by tokens"),
                gettext_noop("Fills a GPU by tokens instead of rows; the micro batch is ignored then."),
            ),
            Field(
                "data.max_token_len_per_gpu",
                gettext_noop("Tokens a GPU takes"),
                gettext_noop("With batches by tokens."),
                gettext_noop("tokens"),
            ),
            Field(
                "data.train_max_samples",
                gettext_noop("Rows used"),
                gettext_noop("-1: all of them."),
                gettext_noop("rows"),
            ),
        ),
    ),
    Group(
        gettext_noop("LoRA"),
        (
            Field(
                "model.lora_rank",
                gettext_noop("Rank"),
                gettext_noop("0 trains the whole model; 8 to 64 trains small matrices beside it."),
            ),
            Field("model.lora_alpha", gettext_noop("Alpha"), gettext_noop("Scales what LoRA adds; often the rank.")),
            Field(
                "model.target_modules",
                gettext_noop("Layers"),
                gettext_noop("all-linear, or a list of names such as [q_proj, v_proj]."),
            ),
        ),
    ),
    Group(
        gettext_noop("Memory and speed"),
        (
            Field(
                "model.enable_gradient_checkpointing",
                gettext_noop("Gradient checkpointing"),
                gettext_noop("Computes activations twice, and needs much less memory."),
            ),
            Field(
                "model.use_remove_padding",
                gettext_noop("Packing"),
                gettext_noop("Computes nothing for padding. Needs flash-attn."),
            ),
            Field("model.use_liger", gettext_noop("Liger kernels"), gettext_noop("Faster layers on GPUs.")),
            Field("engine.strategy", gettext_noop("Sharding"), gettext_noop("How the model is spread over GPUs.")),
            Field(
                "engine.fsdp_size",
                gettext_noop("GPUs that share a copy"),
                gettext_noop("-1: all of them."),
                gettext_noop("GPUs"),
            ),
            Field(
                "engine.ulysses_sequence_parallel_size",
                gettext_noop("GPUs that share a row"),
                gettext_noop("For rows that are too long for one."),
                gettext_noop("GPUs"),
            ),
            Field(
                "engine.param_offload",
                gettext_noop("Weights in main memory"),
                gettext_noop("Between uses; slower, and needs less of the GPU."),
            ),
            Field(
                "engine.optimizer_offload",
                gettext_noop("Optimizer in main memory"),
                gettext_noop("Between uses; slower, and needs less of the GPU."),
            ),
            Field("engine.use_torch_compile", gettext_noop("Compile"), gettext_noop("Pays off in long runs.")),
            Field("engine.model_dtype", gettext_noop("Weights kept as"), gettext_noop("fp32 or bf16.")),
        ),
    ),
)
