"""Trainings for real: a built-in recipe on its dataset, compiled, and run by the runner from a bare copy."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import DatasetRef, Json, Place
from pipelines.recipes.trainers import trainer_of
from platform_runtime.contract import ENV_LAUNCH_TOKEN, ExitInfo, RunFolder
from tests.runtime.runs import RUNNER, Run

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ANNEAL_TRAINING_PYTHON") or str(CHECKOUT / ".training/venv/bin/python")


def need_training_environment() -> None:
    if not Path(PYTHON).exists() and not os.environ.get("CI"):
        pytest.skip("the training environment is not set up: environments/setup_local_env.sh training")


def in_training_environment(code: str, work: Path, *arguments: str) -> Any:
    """What the last line of the code's output says as JSON."""
    need_training_environment()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "PYTHONPATH": str(CHECKOUT / "environments/runtime"),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
    }
    argv = [PYTHON, "-P", "-c", code, str(work), *arguments]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


class Training:
    """A run of a built-in recipe, with `params` on top and the first `rows` rows of its dataset; not waited for.

    `environment` comes on top of the trainer's, and `rewritten` (old, new) into the configuration file as it is
    compiled: what the platform itself would not do on a processor.
    `processes` above 1 are processes on this machine's processors, started as those of GPUs are.
    """

    def __init__(
        self,
        root: Path,
        wanted: builtin.BuiltinRecipe,
        params: Mapping[str, Json] | None = None,
        *,
        resume_from: str | None = None,
        processes: int = 1,
        rows: int | None = None,
        environment: Mapping[str, str] | None = None,
        rewritten: tuple[str, str] | None = None,
    ) -> None:
        runtime = root / "runtime" / "copy"
        if not runtime.exists():
            shutil.copytree(RUNNER.parent, runtime / "platform_runtime", ignore=shutil.ignore_patterns("__pycache__"))
        self.run = Run(root, ["/bin/true"])
        self.folder: RunFolder = self.run.folder
        place = Place(
            python=_spaced(root),
            runtime_path=str(runtime),
            models_folder=str(root / "models"),
            attempt_folder=self.folder.path,
            checkpoint_folder=self.folder.checkpoints,
            uuid=self.folder.uuid,
            resume_from=resume_from,
        )
        compiled = compile_recipe(wanted.spec.merged(params), _data(root, wanted, rows), place)
        assert compiled.target_step is not None
        self.target = compiled.target_step
        config = compiled.config_yaml
        if rewritten is not None:
            assert config.count(rewritten[0]) == 1
            config = config.replace(*rewritten)
        Path(self.folder.config).write_text(config)
        argv, env = list(compiled.argv), {**compiled.env, ENV_LAUNCH_TOKEN: self.run.token, **(environment or {})}
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={processes}"]
            argv[2:2] = launcher
            env["OMP_NUM_THREADS"] = "1"
        self.run.command = replace(
            self.run.command,
            argv=argv,
            env=env,
            target_step=compiled.target_step,
            checkpoint_required=compiled.checkpoint_required,
        )
        Path(self.folder.command).write_bytes(self.run.command.to_bytes())
        assert self.run.start(runner=runtime / "platform_runtime" / "runner.py") == (0, "")

    def done(self) -> "Training":
        """Waits for its end, which is to be a good one."""
        assert self.exit.code == 0, self.log[-4000:]
        return self

    @property
    def exit(self) -> ExitInfo:
        return self.run.ended(280)

    @property
    def log(self) -> str:
        return self.run.log

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.folder.metrics).read_text().splitlines()]

    def series(self, name: str) -> list[float]:
        return [line["metrics"][name] for line in self.lines() if name in line["metrics"]]

    def checkpoint(self, step: int) -> str:
        return f"{self.folder.checkpoints}/global_step_{step}"


def _spaced(root: Path) -> str:
    """The training environment's Python in a folder whose name has a space, as people's checkouts may have one."""
    folder = root / "an environment"
    if not folder.exists():
        folder.symlink_to(Path(PYTHON).parent.parent)
    return str(folder / "bin" / "python")


def _data(root: Path, wanted: builtin.BuiltinRecipe, rows: int | None) -> DatasetRef:
    dataset = next(one for one in builtin.DATASETS if one.slug == wanted.dataset)
    lines = dataset.content().splitlines(keepends=True)[:rows]
    content = b"".join(lines)
    digest = hashlib.sha256(content).hexdigest()
    file = root / f"{digest}.jsonl"
    file.write_bytes(content)
    return DatasetRef(str(file), len(lines), trainer_of(wanted.algorithm, wanted.trainer).dataset_kind, digest)
