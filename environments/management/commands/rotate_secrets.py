"""`manage.py rotate_secrets`: after a new key was put first into ANNEAL_FERNET_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from environments.models import Host
from platform_site.common import crypto
from platform_site.common.errors import PlatformError


class Command(BaseCommand):
    help = "Writes the credentials of all hosts anew under the first of the keys; the others can be removed then."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            hosts = list(Host.objects.select_for_update().exclude(secret=""))
            for host in hosts:
                try:
                    host.secret = crypto.rotate(host.secret)
                except PlatformError as error:
                    raise CommandError(f"{host.name}: {error.message}") from error
                host.save(update_fields=["secret"])
        self.stdout.write(f"{len(hosts)} written anew")
