"""manage.py create_user NAME --role viewer|operator|admin --password-stdin"""

import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.translation import gettext as _

from platform_site.common import audit, roles
from platform_site.common.models import User


class Command(BaseCommand):
    help = "Makes a user with a role. The password is one line on standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--role", required=True, choices=list(roles.ROLE_BY_SLUG))
        parser.add_argument(
            "--password-stdin", action="store_true", required=True, help="Never an argument: those are visible to all."
        )
        parser.add_argument("--email", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        name: str = options["name"]
        password = sys.stdin.readline().rstrip("\r\n")
        user = User(username=name, email=options["email"])
        try:
            user.full_clean(exclude=["password"])
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        user.set_password(password)
        with transaction.atomic():
            user.save(force_insert=True)
            roles.grant(user, roles.ROLE_BY_SLUG[options["role"]])
            audit.record("user.create", "command line", user, role=options["role"])
        self.stdout.write(_("Made the user {name} ({role}).").format(name=name, role=options["role"]))
