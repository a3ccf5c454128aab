"""Lines and one progress bar for the terminal; plain lines where there is none."""

import sys
from typing import Final

WIDTH: Final = 28


class Terminal:
    """Progress overwrites its own line on a terminal; elsewhere each new text is a line, at most one per tenth."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._open = False
        self._last = ("", -1)

    def say(self, text: str) -> None:
        self.close()
        print(text, flush=True)

    def warn(self, text: str) -> None:
        self.close()
        print(f"anneal: {text}", file=sys.stderr, flush=True)

    def progress(self, percent: int | None, text: str) -> None:
        if self._live:
            done = WIDTH * (percent or 0) // 100
            bar = "#" * done + "." * (WIDTH - done)
            print(f"\r\033[K  [{bar}] {'' if percent is None else f'{percent}% '}{text[:60]}", end="", flush=True)
            self._open = True
        elif (text, (percent or 0) // 10) != self._last:
            self._last = (text, (percent or 0) // 10)
            print(f"  {'' if percent is None else f'{percent}% '}{text}", flush=True)

    def close(self) -> None:
        if self._open:
            print(flush=True)
            self._open = False
