"""The demo, for real: followed, left, followed again, and not started twice."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_site.environ import CHECKOUT
from tests.faults.training_platform import PYTHON, TrainingPlatform

DEMO = ("demo", "--template", "tiny-sft-pipeline")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[TrainingPlatform]:
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")
    with TrainingPlatform(tmp_path / "data folder") as started:
        yield started


@pytest.mark.timeout(600)
def test_the_demo_is_followed_left_and_followed_again(platform: TrainingPlatform) -> None:
    argv = [sys.executable, CHECKOUT / "manage.py", *DEMO]
    said = ""
    # What a shell began in its background ignores this signal, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(argv, env=platform.env, stdout=subprocess.PIPE, text=True) as followed:
        assert followed.stdout is not None
        while "baseline  " not in said and (line := followed.stdout.readline()):
            said += line
        followed.send_signal(signal.SIGINT)
        said += followed.stdout.read()
    assert followed.returncode == 130, said
    page = re.findall(r"/pipelines/[0-9a-f-]{36}/", said)
    assert len(set(page)) == 1
    assert f"The demo goes on; its page is http://127.0.0.1:{platform.port}{page[0]}" in said

    again = platform.manage(*DEMO, timeout=400)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"Watch it at http://127.0.0.1:{platform.port}{page[0]}" in again.stdout
    assert re.search(r"^train +completed, [0-9.]+ s  step 48 · loss 0\.", again.stdout, re.MULTILINE)
    assert re.search(r"^Score before 0\.\d\d, after 0\.\d\d \(60 samples\)$", again.stdout, re.MULTILINE)

    once = platform.manage("demo", "--once")
    assert once.returncode == 0
    assert "has completed already" in once.stdout
    assert platform.api("GET", "pipelines/")["count"] == 1
