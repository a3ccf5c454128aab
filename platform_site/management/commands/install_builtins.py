"""manage.py install_builtins: what every installation starts with. Safe to repeat."""

from typing import Any

from django.core.management.base import BaseCommand

from pipelines.services.builtin import install


class Command(BaseCommand):
    help = "Make the roles, the default project, queues, this machine's host, and the built-in datasets and recipes."

    def handle(self, *args: Any, **options: Any) -> None:
        made = install().made
        self.stdout.write("\n".join(f"made {what}" for what in made) if made else "nothing to do")
