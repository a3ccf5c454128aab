"""A write that the disk cuts short costs that line alone: never the next one, never the training."""

import json
import subprocess
import sys

# A file size limit cuts a write short as a full disk does, and can be lifted again.
TRAINS = """
import json, logging, os, resource, sys
from platform_runtime.callback import PlatformCallback
logging.basicConfig(level=logging.WARNING)
callback = PlatformCallback("u", sys.argv[1])
callback.begin()
for step in range(1, 21):
    if step == 8:
        size = os.path.getsize(callback.metrics_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, resource.RLIM_INFINITY))
    if step == 14:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    callback.step(step, {"train/loss": 1.0 / step})
callback.end()
print(json.dumps({"dropped": callback.dropped, "lines": open(callback.metrics_path).read().splitlines()}))
"""


def test_only_what_did_not_fit_is_lost(tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", TRAINS, str(tmp_path)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["dropped"] == 6
    whole, torn = [], []
    for line in answer["lines"]:
        try:
            whole.append(json.loads(line)["step"])
        except ValueError:
            torn.append(line)
    assert whole == [*range(1, 8), *range(14, 21)]
    assert len(torn) == 1
    assert done.stderr.count("cannot be written, training goes on") <= 2
    assert "6 metric line(s) could not be written" in done.stderr
