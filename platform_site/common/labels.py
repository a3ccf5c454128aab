"""Words that hosts carry and runs ask for. Free of Django."""

import re
from typing import Final

LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def is_label(word: object) -> bool:
    return isinstance(word, str) and LABEL.fullmatch(word) is not None
