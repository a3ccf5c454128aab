"""Keeps a configuration's literals in every process of a run (see literals.py).

Loaded by verl, named in VERL_USE_EXTERNAL_MODULES before all else of ours: other modules of verl's take the function
that is replaced while they are imported.
"""

from platform_runtime import literals

literals.keep()
