"""A worker process as the platform has one, with the scheduler in it, on the tests' database and with their kinds.

`python -m tests.ssh.worker_process DATABASE QUEUES`
"""

import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = sys.argv[1]
    django.setup()
    from django.core.management import call_command

    from tests.pipelines import conftest

    assert conftest.ScriptKind.name
    call_command("worker", queues=sys.argv[2], with_scheduler=True)
