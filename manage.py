#!/usr/bin/env python
"""Django's command line for Anneal."""

import os
import sys

from django.core.management import execute_from_command_line

from platform_site.environ import WrongValue

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except WrongValue as error:
        sys.exit(f"anneal: {error}")
