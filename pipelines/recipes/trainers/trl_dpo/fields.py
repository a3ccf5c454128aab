"""The settings of TRL's DPO trainer that people tune."""

from typing import Final

from pipelines.recipes.fields import Field, Group
from pipelines.recipes.spec import gettext_noop

GROUPS: Final = (
    Group(
        gettext_noop("Preferences"),
        (
            Field(
                "beta",
                gettext_noop("Beta"),
                gettext_noop(
                    "How strongly the model is held to where it began. 0.1 is usual; less lets it go further."
                ),
            ),
            Field(
                "loss_type",
                gettext_noop("Loss"),
                gettext_noop("A list: sigmoid is DPO itself; several are added up, by their weights."),
            ),
            Field("loss_weights", gettext_noop("Weights of losses"), gettext_noop("As many as there are losses.")),
            Field(
                "label_smoothing",
                gettext_noop("Label smoothing"),
                gettext_noop("The share of pairs that are probably the wrong way round. Read by robust and exo_pair."),
            ),
            Field(
                "precompute_ref_log_probs",
                gettext_noop("Ask the reference beforehand"),
                gettext_noop("Once for all rows; the reference then takes no memory while training."),
            ),
        ),
    ),
    Group(
        gettext_noop("Length of the run"),
        (
            Field(
                "num_train_epochs",
                gettext_noop("Epochs"),
                gettext_noop("How often the data is gone through."),
            ),
            Field(
                "max_steps",
                gettext_noop("Steps"),
                gettext_noop("Instead of epochs. -1: epochs count."),
                gettext_noop("steps"),
            ),
            Field("save_strategy", gettext_noop("Checkpoints"), gettext_noop("By steps, by epochs, or none.")),
            Field(
                "save_steps",
                gettext_noop("Checkpoint every"),
                gettext_noop(
                    "A run that is interrupted goes on from its last checkpoint. The last step is always saved."
                ),
                gettext_noop("steps"),
            ),
            Field(
                "save_total_limit",
                gettext_noop("Checkpoints kept"),
                gettext_noop("Older ones are removed while training. Empty: all stay."),
            ),
            Field("seed", gettext_noop("Seed"), gettext_noop("Of the order of the data, and of new weights.")),
        ),
    ),
    Group(
        gettext_noop("Optimizer"),
        (
            Field(
                "learning_rate",
                gettext_noop("Learning rate"),
                gettext_noop("The most important one. 1e-6 is usual for a whole model, 1e-5 with LoRA."),
            ),
            Field("lr_scheduler_type", gettext_noop("Schedule"), gettext_noop("How the rate falls.")),
            Field(
                "warmup_steps",
                gettext_noop("Warm-up"),
                gettext_noop("Steps in which the rate rises from 0; below 1, a part of the run."),
            ),
            Field("optim", gettext_noop("Optimizer"), gettext_noop("How weights follow their gradients.")),
            Field("weight_decay", gettext_noop("Weight decay"), gettext_noop("Pulls weights towards 0.")),
            Field(
                "max_grad_norm",
                gettext_noop("Gradient clipping"),
                gettext_noop("Longer gradients are cut to this norm."),
            ),
        ),
    ),
    Group(
        gettext_noop("Batches and lengths"),
        (
            Field(
                "per_device_train_batch_size",
                gettext_noop("Micro batch"),
                gettext_noop("Pairs that a GPU takes at once; less needs less memory."),
                gettext_noop("pairs"),
            ),
            Field(
                "gradient_accumulation_steps",
                gettext_noop("Micro batches in a step"),
                gettext_noop("A step has so many of them, on each GPU."),
            ),
            Field(
                "max_length",
                gettext_noop("Longest row"),
                gettext_noop("Longer ones are cut at their end."),
                gettext_noop("tokens"),
            ),
        ),
    ),
    Group(
        gettext_noop("LoRA"),
        (
            Field("model.use_peft", gettext_noop("LoRA"), gettext_noop("Trains small matrices beside the model.")),
            Field("model.lora_r", gettext_noop("Rank"), gettext_noop("8 to 64: how small.")),
            Field("model.lora_alpha", gettext_noop("Alpha"), gettext_noop("Scales what LoRA adds; often the rank.")),
            Field("model.lora_dropout", gettext_noop("Dropout"), gettext_noop("The part that is left out at random.")),
            Field(
                "model.lora_target_modules",
                gettext_noop("Layers"),
                gettext_noop("A list of names such as [q_proj, v_proj], or [all-linear]."),
            ),
        ),
    ),
    Group(
        gettext_noop("Memory and speed"),
        (
            Field(
                "gradient_checkpointing",
                gettext_noop("Gradient checkpointing"),
                gettext_noop("Computes activations twice, and needs much less memory."),
            ),
            Field("bf16", gettext_noop("Half precision"), gettext_noop("Computes in bfloat16. Empty: where it can.")),
            Field("model.dtype", gettext_noop("Weights kept as"), gettext_noop("float32 or bfloat16.")),
            Field("torch_compile", gettext_noop("Compile"), gettext_noop("Pays off in long runs.")),
        ),
    ),
)
