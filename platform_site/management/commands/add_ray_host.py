"""manage.py add_ray_host NAME --address URL --root FOLDER --python PATH: take a Ray cluster on as a host."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from environments.services.ray_hosts import enrol
from environments.transports import TransportError
from pipelines.services.builtin import PROJECT
from platform_site.common.errors import PlatformError
from platform_site.common.models import Project


class Command(BaseCommand):
    help = "Add a Ray cluster as a host, or renew what is known of one. The token is read from standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--address", required=True, help="of the Jobs API, such as https://ray-head:8265")
        parser.add_argument("--token-stdin", action="store_true", help="read the bearer token from standard input")
        parser.add_argument("--root", required=True, help="folder that this machine and the cluster's share")
        parser.add_argument("--python", required=True, help="Python of the training environment on the cluster")
        parser.add_argument("--slots", type=int, default=1, help="how many runs at a time")
        parser.add_argument("--label", action="append", default=[], help="a word that recipes may ask for; repeatable")

    def handle(self, *args: Any, **options: Any) -> None:
        token = sys.stdin.readline().strip() if options["token_stdin"] else ""
        project = Project.objects.filter(slug=PROJECT).first()
        if project is None:
            raise CommandError("There is no project yet. Run manage.py install_builtins.")
        try:
            found = enrol(
                name=options["name"],
                address=options["address"],
                token=token,
                root=options["root"],
                python=options["python"],
                slots=options["slots"],
                labels=options["label"],
                project=project,
                user="command line",
            )
        except (PlatformError, TransportError, ValidationError) as error:
            raise CommandError(str(error)) from None
        gpus = len(found.host.gpus)
        self.stdout.write(
            f"{found.host.name}: Ray {found.ray}, Python {found.python}, {gpus} GPUs; runs may start there."
        )
