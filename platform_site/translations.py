"""Compile the translations without gettext's tools, so that a bare machine with Python alone can."""

import os
from pathlib import Path

import polib


class TranslationError(Exception):
    """A catalogue cannot be read; the message names the file and the line."""


def compile_all(folder: Path, *, force: bool = False) -> int:
    """Write each `*.po` below `folder` as `.mo` beside it when it is newer. Returns how many were written."""
    written = 0
    for source in sorted(folder.glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        if not force and target.is_file() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
            continue
        try:
            catalogue = polib.pofile(str(source))
        except (OSError, UnicodeDecodeError) as error:
            raise TranslationError(f"{source}: {error}") from error
        # Written aside and renamed: a process that starts meanwhile reads the old file or the new one, whole.
        aside = target.with_suffix(f".mo.{os.getpid()}")
        catalogue.save_as_mofile(str(aside))
        aside.replace(target)
        written += 1
    return written
