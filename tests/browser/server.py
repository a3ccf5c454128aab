"""The web process of the browser tests: the platform's own, on the tests' database, static files from the tree.

`python -m tests.browser.server PORT DATABASE`
"""

import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = sys.argv[2]
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_USE_FINDERS = True
    settings.WHITENOISE_AUTOREFRESH = True
    django.setup()
    from django.core.management import call_command

    call_command("web", port=int(sys.argv[1]))
