"""`manage.py verify_env [--host NAME] [--json]`: an environment against version.json, also one of another host."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from environments.models import Host
from environments.services.drift import verify
from environments.transports import TransportError


class Command(BaseCommand):
    help = "Compares the training environment of a host with version.json: Python, packages, verl, GPUs, disk."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="local", help="its name (%(default)s)")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["host"]).first()
        if host is None:
            known = ", ".join(Host.objects.values_list("name", flat=True))
            raise CommandError(f"there is no host {options['host']!r} (there are: {known})")
        if host.kind == Host.Kind.RAY:
            raise CommandError("the environment of a Ray cluster is its own: run environments/verify_env.py there")
        if not host.root:
            raise CommandError(f"host {host.name} was not checked yet: its page or hosts/{host.name}/check/ does")
        try:
            done = verify(host, *(["--json"] if options["json"] else []))
        except TransportError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(done.stdout.decode(errors="replace"), ending="")
        self.stderr.write(done.stderr.decode(errors="replace"), ending="")
        sys.exit(done.code)
