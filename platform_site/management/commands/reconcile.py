"""One observe-and-repair pass over everything."""

from typing import Any

from django.core.management.base import BaseCommand

from pipelines.services.reconcile import reconcile


class Command(BaseCommand):
    help = "Look at every host and pipeline once, repair what is not as it should be, and say what was changed."

    def handle(self, *args: Any, **options: Any) -> None:
        changed = reconcile()
        for sentence in changed:
            self.stdout.write(sentence)
        self.stdout.write(f"{len(changed)} changed")
