"""What the collector of garbage need not look at again."""

import gc


def keep_what_is_loaded() -> None:
    """Call it when a process that goes on for long has started. Modules, views and models stay until its end, and each
    full collection would look through all of them: 140 ms in which no thread does anything."""
    gc.collect()
    gc.freeze()
