"""`manage.py set_up_host NAME`: what the button on a host's page does, followed in the terminal."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from environments.models import Host
from environments.services import hosts
from pipelines.models import Stage
from pipelines.services.logs import read_log
from pipelines.services.setup_host import administrator, set_up
from pipelines.states import STAGE_TERMINAL, StageStatus
from platform_site.common.errors import PlatformError

LOOK_S = 0.5


class Command(BaseCommand):
    help = "Sets up the training environment of a host and follows the log. The platform has to be running."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument("--cuda", action="store_const", const="cuda", dest="packages", help="for NVIDIA GPUs")
        kind.add_argument("--cpu", action="store_const", const="cpu", dest="packages", help="for the processor alone")
        parser.add_argument("--wheelhouse", action="store_true", help="from the wheels in the data folder, no index")

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["name"]).first()
        if host is None:
            raise CommandError(f"there is no host {options['name']!r}")
        user = administrator()
        if user is None:
            raise CommandError("There is no administrator yet. Make one: manage.py create_user NAME --role admin")
        try:
            hosts.check(host)
            pipeline = set_up(user, host, packages=options["packages"] or "", wheelhouse=bool(options["wheelhouse"]))
        except PlatformError as error:
            raise CommandError(error.message) from error
        stage = self._follow(Stage.objects.get(pipeline=pipeline))
        if stage.status != StageStatus.COMPLETED:
            raise CommandError(stage.error_message or stage.status)
        self.stdout.write(f"Host {host.name} is ready.")

    def _follow(self, stage: Stage) -> Stage:
        """Writes the log as it grows, until the stage has ended."""
        offset, waiting = 0, ""
        while True:
            stage.refresh_from_db()
            ended = stage.status in STAGE_TERMINAL
            try:
                piece = read_log(stage, offset=offset)
            except PlatformError as error:
                self.stderr.write(error.message)
            else:
                offset = piece.next_offset
                self.stdout.write(piece.text, ending="")
            if stage.status == StageStatus.QUEUED and stage.waiting_for != waiting:
                waiting = stage.waiting_for
                self.stderr.write(f"It waits for {waiting}")
            if ended:
                return stage
            time.sleep(LOOK_S)
