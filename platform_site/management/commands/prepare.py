"""`manage.py prepare`: migrations, built-in recipes and data, the first admin.

All in one process, as each start of Django costs a second.
"""

import io
import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from platform_site.common.models import User
from platform_site.common.roles import Role, ensure_roles, grant

ADMIN = "admin"


class Command(BaseCommand):
    help = "Brings the database up to date and makes the first admin. Safe to repeat."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # Announcing changes needs Redis, which is not up yet; and nobody listens.
        logging.getLogger("platform_site.common.live").setLevel(logging.ERROR)
        call_command("migrate", interactive=False, verbosity=0)
        ensure_roles()
        call_command("install_builtins", stdout=io.StringIO())  # what it made interests nobody here
        file = Path(settings.DATA_DIR) / "admin_password"
        password = first_admin(file)
        if password:
            self.stdout.write(f"The first admin is {ADMIN!r} with the password {password}")
            self.stdout.write(f"It is shown this once, and kept in {file}")


def first_admin(file: Path) -> str | None:
    """Make the first admin with a random password, kept in `file` (mode 0600); None when there are users already."""
    if User.objects.exists():
        return None
    password = secrets.token_urlsafe(15)
    # The file first: a crash between the two leaves a password without a user, which the next start replaces.
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w") as opened:
        opened.write(password + "\n")
    Path(temporary).replace(file)
    with transaction.atomic():
        user = User.objects.create_user(ADMIN, password=password)
        grant(user, Role.ADMIN)
    return password
