from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "monitoring"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # What is told of runs uses models, which can be imported only once all apps are loaded.
        from notifications.kinds import register  # noqa: PLC0415

        from .notices import ANOMALY, DISK_FILLING, STALLED  # noqa: PLC0415

        register(ANOMALY, STALLED, DISK_FILLING)
