"""manage.py create_api_token USER --scope read|operate|admin --days N"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from platform_site.common import tokens
from platform_site.common.errors import Invalid
from platform_site.common.models import ApiToken, User


class Command(BaseCommand):
    help = "Makes an API token and prints its key alone, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--scope", required=True, choices=ApiToken.Scope.values)
        parser.add_argument("--days", required=True, type=int)
        parser.add_argument("--name", default="", help="What it is for.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(_("There is no active user {name}.").format(name=options["user"]))
        try:
            _token, key = tokens.issue(
                user,
                scope=options["scope"],
                days=options["days"],
                name=options["name"][:100],
                by="command line",
            )
        except Invalid as error:
            problems = [problem for found in error.fields.values() for problem in found]
            raise CommandError(" ".join([error.message, *problems])) from None
        self.stdout.write(key)
