from django.apps import AppConfig


class EnvironmentsConfig(AppConfig):
    name = "environments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # What is told of hosts uses their model, which can be imported only once all apps are loaded.
        from notifications.kinds import register  # noqa: PLC0415

        from .notices import HOST_UNREACHABLE  # noqa: PLC0415

        register(HOST_UNREACHABLE)
