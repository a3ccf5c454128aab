"""Slugs made from names that people give."""

import hashlib
from typing import Final

from django.utils.text import slugify

from .paths import ROUTE_WORDS, SLUG

_LONGEST: Final = 54


def slug_from(name: str, kind: str) -> str:
    """A valid slug for `name`: its letters where it has Latin ones, else `kind` and a short hash of it.

    The same name always gives the same slug.
    """
    made = slugify(name)[:_LONGEST].strip("-_")
    if SLUG.fullmatch(made) and made not in ROUTE_WORDS:
        return made
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
