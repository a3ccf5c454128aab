"""Lets verl 0.9.1 and TRL 1.16 live in one environment. Loaded by verl, named in VERL_USE_EXTERNAL_MODULES.

Where TRL is installed, `verl/models/transformers/monkey_patch.py` asks it for the value head that only verl's PPO
critics ever used, and that TRL 1.16 no longer has: every model would fail to load.
"""

import verl.models.transformers.monkey_patch as verl_patch

verl_patch.is_trl_available = lambda: False
