"""`manage.py rotate_secrets`: after a new key was put first into ANNEAL_FERNET_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from environments.models import Host
from notifications.models import Target
from platform_site.common import crypto
from platform_site.common.errors import PlatformError


class Command(BaseCommand):
    help = "Writes all that is sealed (credentials of hosts, addresses that messages are sent to) anew under the first \
of the keys; the others can be removed then."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            hosts = Host.objects.select_for_update().exclude(secret="")
            sealed: list[Host | Target] = [*hosts, *Target.objects.select_for_update()]
            for one in sealed:
                try:
                    one.secret = crypto.rotate(one.secret)
                except PlatformError as error:
                    raise CommandError(f"{one.name}: {error.message}") from error
                one.save(update_fields=["secret"])
        self.stdout.write(f"{len(sealed)} written anew")
