"""On keys and types, validation and the real trainer's loader agree, whatever a recipe says; what is valid loads."""

import json
import os
import string
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import platform_runtime
from pipelines.recipes import builtin, literals, resources, validate
from pipelines.recipes.compiler import compile_recipe
from pipelines.recipes.spec import Leaf, Problem, RecipeError
from pipelines.recipes.trainers import Trainer, trainer_of
from pipelines.recipes.trainers.verl_grpo import LEFT_OUT, steps
from pipelines.recipes.trainers.verl_grpo import ranges as grpo_ranges
from pipelines.recipes.trainers.verl_sft import ranges as sft_ranges
from tests.training.trainings import PYTHON, need_training_environment

from .cases import dataset, place

pytestmark = [pytest.mark.training, pytest.mark.timeout(400)]

RECIPES: Final = 100
"""For each trainer."""
EVERY: Final = 3
"""About one recipe in so many is compiled and loaded too, always the same ones: that takes far longer than to judge."""

TRAINED: Final[Mapping[str, builtin.BuiltinRecipe]] = {
    "sft": builtin.TINY_SFT,
    "dpo": builtin.TINY_DPO,
    "grpo": builtin.TINY_GRPO,
    "trl": builtin.TINY_DPO_TRL,
}
"""Loader, as judge.py calls it -> a recipe of its trainer that can be run."""

BY_CODE: Final[Mapping[str, Mapping[str, object]]] = {
    # Their classes say nothing or too much: the types are read in the code that takes the value.
    "sft": sft_ranges.TYPES,
    "dpo": sft_ranges.TYPES,
    "grpo": grpo_ranges.TYPES,
    # TRL takes JSON in a text as well, and finds out much later that some text is none.
    "trl": {"lr_scheduler_kwargs": "null|object"},
}
ON_KEYS: Final = {validate.UNKNOWN, validate.A_GROUP}
ON_TYPES: Final = {validate.WRONG_TYPE, validate.WRONG_ITEM}

words = st.text(string.ascii_letters + string.digits + " -_./'\"#:", max_size=12).filter(lambda text: text != "???")
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5000),
    st.floats(-10, 10, allow_nan=False).map(lambda number: round(number, 6)),
    words,
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "num_layers"]), scalars, max_size=2),
)
of_type: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.integers(1, 4096),
    "number": st.one_of(st.integers(0, 8), st.sampled_from([1e-6, 0.001, 0.1, 0.5, 1.0])),
    "string": words,
    "array": st.lists(scalars, max_size=3),
    "object": st.dictionaries(st.sampled_from(["a", "b", "num_layers"]), scalars, max_size=2),
    "any": scalars,
}


def fitting(leaf: Leaf, trainer: Trainer) -> st.SearchStrategy[Any]:
    """Values that a person might give the setting."""
    known = trainer.rules.words.get(leaf.key)
    likely = [of_type[name] for name in sorted(leaf.types)]
    return st.one_of(st.just(leaf.default), *likely, *([st.sampled_from(known)] if known else []))


def recipes(trainer: Trainer) -> st.SearchStrategy[dict[str, Any]]:
    """Settings right and wrong: known ones, misspelt ones, groups, and keys below open settings and closed ones."""
    leaves = trainer.tree().leaves
    # The platform's own are judged by nobody: what a recipe says of them counts for nothing.
    ours = [leaf for leaf in leaves.values() if trainer.rules.ignored(leaf.key) is None]
    ours = [leaf for leaf in ours if not leaf.key.startswith((steps.REWARDS, resources.PREFIX))]
    groups = sorted({leaf.key.rpartition(".")[0] for leaf in ours} - {""} - leaves.keys())
    known = st.sampled_from(ours).flatmap(
        lambda leaf: st.tuples(st.just(leaf.key), st.one_of(fitting(leaf, trainer), fitting(leaf, trainer), values))
    )
    names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
    misspelt = st.tuples(st.sampled_from(ours), names, st.booleans()).map(
        lambda one: f"{one[0].key}{one[1]}" if one[2] else f"{one[0].key.rpartition('.')[0]}.{one[1]}".lstrip(".")
    )
    below = st.tuples(st.sampled_from([leaf for leaf in ours if leaf.open] * 3 + ours), names).map(
        lambda one: f"{one[0].key}.{one[1]}"
    )
    others = st.one_of(misspelt, below, st.sampled_from(groups) if groups else misspelt)
    pairs = st.one_of(known, known, known, st.tuples(others, values))
    return st.lists(pairs, min_size=1, max_size=8).map(_apart)


def _apart(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Without keys of which one hides another, and those that Hydra's own syntax would mean."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        hidden = any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in found)
        if not hidden and literals.key_problem(key) is None and not key.startswith(LEFT_OUT):
            found[key] = value
    return found


class Judge:
    """The program judge.py in the training environment, one process for all questions."""

    def __init__(self, work: Path) -> None:
        self.errors = work / "stderr"
        runtime = str(Path(platform_runtime.__file__).parent.parent)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "PYTHONPATH": runtime,
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "VERL_USE_EXTERNAL_MODULES": "platform_runtime.cpu_platform",
        }
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [PYTHON, "-P", str(Path(__file__).with_name("judge.py"))],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=work,
            )

    def ask(self, **question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.errors.read_text()[-3000:]
        return json.loads(answer)

    def end(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    need_training_environment()
    judge = Judge(tmp_path_factory.mktemp("judge"))
    yield judge
    judge.end()


def disagreement(answer: dict[str, Any], error: Problem | None, by_code: bool) -> str | None:
    """What validation and the loader see differently in one setting."""
    if error is not None and error.template in ON_KEYS:
        return "the loader has this key" if answer["taken"] else None
    if not answer["taken"]:
        return None if error is not None else "the loader has no such key"
    if by_code or answer["fits"] is None:
        return None
    if error is None:
        return None if answer["fits"] else "the loader's type is another"
    return "the loader takes this type" if answer["fits"] and error.template in ON_TYPES else None


@pytest.mark.parametrize("loader", TRAINED)
def test_validation_and_the_loader_agree_on_keys_and_types(judge, tmp_path, loader):
    sound = TRAINED[loader].spec
    trainer = trainer_of(sound.algorithm, sound.trainer)
    where, data = place(), dataset(rows=8192, kind=trainer.dataset_kind)
    told = {"compiled": 0, "refused": 0}

    @settings(
        max_examples=RECIPES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        # A failure names its setting; to shrink a recipe of eight takes minutes.
        phases=[Phase.generate],
    )
    @given(recipes(trainer))
    def agree(params: dict[str, Any]) -> None:
        errors = {one.key: one for one in validate.check(replace(sound, params=params), admin=True).errors}
        for key, answer in judge.ask(trainer=loader, values=params).items():
            # What is wrong inside a value is told of the place inside.
            error = next((one for at, one in errors.items() if _within(at, key)), None)
            seen = disagreement(answer, error, key in BY_CODE[loader])
            assert seen is None, (key, params[key], seen, answer["why"], error and error.message)
        if zlib.crc32(json.dumps(params).encode()) % EVERY:
            return
        refused = tuple(errors)
        kept = {key: value for key, value in params.items() if not any(_within(at, key) for at in refused)}
        try:
            compiled = compile_recipe(sound.merged(kept), data, where)
        except RecipeError:
            told["refused"] += 1
            return
        file = tmp_path / "config.yaml"
        file.write_text(compiled.config_yaml, encoding="utf-8")
        assert judge.ask(trainer=loader, config=str(file)) == ""
        told["compiled"] += 1

    agree()
    # A test of refusals alone would show little.
    assert told["compiled"] > RECIPES / 10, told


def _within(at: str, key: str) -> bool:
    return at == key or at.startswith(f"{key}.")
