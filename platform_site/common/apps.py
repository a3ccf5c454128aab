"""The bottom layer as a Django app, and the admin site under our name."""

from django.apps import AppConfig


class CommonConfig(AppConfig):
    name = "platform_site.common"
    label = "common"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models can be imported only now.
        from . import receivers  # noqa: PLC0415

        receivers.connect()
