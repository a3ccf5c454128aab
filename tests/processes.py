"""Processes that a test looks at while they come and go."""

import psutil


def arguments(process: psutil.Process) -> list[str]:
    """Of one that has ended, and that its parent has not asked after yet, there are none."""
    try:
        return process.cmdline()
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return []
