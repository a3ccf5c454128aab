"""Naming what was probably meant."""

import difflib
from collections.abc import Iterable

from django.utils.translation import gettext as _


def unknown(name: str, known: Iterable[str]) -> str:
    """A sentence about a name nobody knows, with the nearest known one."""
    near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
    if near:
        return _("Unknown. Did you mean “{near}”?").format(near=near[0])
    return _("Unknown.")
