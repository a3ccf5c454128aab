from django.apps import AppConfig


class PipelinesConfig(AppConfig):
    name = "pipelines"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # The kinds use models, which can be imported only once all apps are loaded.
        from notifications import kinds as told  # noqa: PLC0415

        from .kinds.cleanup_checkpoints import CleanupCheckpoints  # noqa: PLC0415
        from .kinds.noop import Noop  # noqa: PLC0415
        from .kinds.preprocess_dataset import PreprocessDataset  # noqa: PLC0415
        from .kinds.registry import register  # noqa: PLC0415
        from .kinds.run_evaluation import RunEvaluation  # noqa: PLC0415
        from .kinds.setup_host import SetupHost  # noqa: PLC0415
        from .kinds.train_model import TrainModel  # noqa: PLC0415
        from .notices import INTEGRITY, PIPELINE_DONE, STAGE_FAILED  # noqa: PLC0415

        register(CleanupCheckpoints())
        register(Noop())
        register(PreprocessDataset())
        register(RunEvaluation())
        register(SetupHost())
        register(TrainModel())
        told.register(PIPELINE_DONE, STAGE_FAILED, INTEGRITY)
