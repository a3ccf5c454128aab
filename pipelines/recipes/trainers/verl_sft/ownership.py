"""Keys that are not a recipe's to set: some belong to the platform, some only an administrator may touch."""

from collections.abc import Mapping
from typing import Final

from pipelines.recipes.spec import gettext_noop

PLATFORM: Final[Mapping[str, str]] = {
    "trainer.default_local_dir": gettext_noop("The platform sets it: every attempt has its own checkpoint folder."),
    "trainer.default_hdfs_dir": gettext_noop("The platform sets it: checkpoints stay in the run's folder."),
    "trainer.project_name": gettext_noop("The platform sets it from the recipe's name."),
    "trainer.experiment_name": gettext_noop("The platform sets it from the job's uuid."),
    "trainer.logger": gettext_noop("The platform sets it: it reads the metrics itself."),
    "trainer.device": gettext_noop("The platform sets it from the host: cuda, or cpu where there is no GPU."),
    "trainer.nnodes": gettext_noop("The platform sets it from the host."),
    "trainer.n_gpus_per_node": gettext_noop("The platform sets it from the GPUs that the run is given on its host."),
    "trainer.resume_mode": gettext_noop("The platform sets it: it resumes a run from the last good checkpoint."),
    "trainer.resume_from_path": gettext_noop("The platform sets it: it resumes a run from the last good checkpoint."),
    "data.train_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "trainer.test_freq": gettext_noop(
        "The platform sets it: there is no validation data. Evaluate in a stage of its own, or watch the training loss."
    ),
    "data.val_files": gettext_noop("The platform sets it from the dataset: name the dataset instead."),
    "model.path": gettext_noop("The platform sets it from the recipe's base model: change base_model instead."),
    "optim.total_training_steps": gettext_noop("verl sets it itself: change trainer.total_training_steps instead."),
    "profiler.save_path": gettext_noop("The platform sets it: profiles stay in the run's folder."),
}
"""key -> who sets it."""

ADMIN: Final[Mapping[str, str]] = {
    "model.trust_remote_code": gettext_noop(
        "Only an administrator may set it: it lets the model's files run their own code on the host."
    ),
    "model.external_lib": gettext_noop("Only an administrator may set it: it makes the trainer import a module."),
    "data.custom_cls.path": gettext_noop("Only an administrator may set it: it makes the trainer run a file."),
    "data.custom_cls.name": gettext_noop("Only an administrator may set it: it makes the trainer run a file."),
    "optim.optimizer_impl": gettext_noop("Only an administrator may set it: it makes the trainer import a module."),
    "profiler.finish_hook_cmd": gettext_noop("Only an administrator may set it: it runs a command on the host."),
}
"""key -> why. The key's default is anybody's; so is what an administrator has already saved in the recipe."""

# The modules that verl documents.
HARMLESS: Final = {"optim.optimizer_impl": frozenset({"torch.optim", "torchao.optim", "bitsandbytes.optim"})}
"""Values of such keys that are anybody's."""
