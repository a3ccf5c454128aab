"""Load a model and let lm-eval ask it: greedy answers, by its chat template, offline. In the training environment.

The suite is a task of lm-eval's made on the spot: one question, one answer, compared by `answers`. lm-eval batches,
counts, and computes the mean and its standard error.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from lm_eval import evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from platform_runtime import models, weights
from platform_runtime.evaluate import METRIC, Item, Sample, Task, UnusableError, judged

# It tells people of options of a command that nobody gave here.
logging.getLogger("lm_eval").setLevel(logging.ERROR)

BATCH: Final = 8
_NAME: Final = "suite"


@dataclass(frozen=True)
class Found:
    """`metrics`: values by name, a standard error as `NAME_stderr`. `truncated`: how many questions were cut to fit."""

    samples: list[Sample]
    metrics: dict[str, float]
    chat_template: bool
    truncated: int


class _Documents(list[dict[str, str]]):
    """Items as lm-eval takes them: a list that knows its columns."""

    features: ClassVar = dict.fromkeys(Item.__dataclass_fields__, "string")


class _Model(HFLM):
    """Without a bar of its own: it asks for one, whatever the environment says, and progress stands elsewhere."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        answers: list[str] = super().generate_until(requests, disable_tqdm=True)
        return answers


class _Counter:
    """What lm-eval offers a cache: it is told of every answer as it comes."""

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._count = 0

    def add_partial(self, *_: Any) -> None:
        self._count += 1
        self._done(self._count)


def ask(task: Task, items: Sequence[Item], work: str, done: Callable[[int], None]) -> Found:
    """Every item, in the suite's order. `done` is told how many are answered. Raises UnusableError for a model that
    cannot be used, OSError for a full disk."""
    model = _loaded(task, work)
    if task.max_tokens >= model.max_length:
        raise UnusableError(
            f"max_tokens {task.max_tokens} leaves no room for a question: the model takes {model.max_length} tokens."
        )
    model.set_cache_hook(_Counter(done))
    chat_template = model.tokenizer.chat_template is not None
    told = evaluate(
        model,
        {"tasks": {_NAME: _task(task, items)}},
        apply_chat_template=chat_template,
        log_samples=True,
    )
    assert told is not None, "the first of one rank has the results"
    logged = sorted(told["samples"][_NAME], key=lambda sample: sample["doc_id"])
    room = model.max_length - task.max_tokens
    return Found(
        samples=[judged(item, sample["resps"][0][0], task.extract) for item, sample in zip(items, logged, strict=True)],
        metrics=_metrics(told["results"][_NAME]),
        chat_template=chat_template,
        truncated=sum(len(model.tok_encode(sample["arguments"][0][0])) > room for sample in logged),
    )


def _loaded(task: Task, work: str) -> _Model:
    cuda = torch.cuda.is_available()
    options: dict[str, Any] = {
        "backend": "causal",
        "device": "cuda" if cuda else "cpu",
        # Processors are slow at bfloat16.
        "dtype": "auto" if cuda else "float32",
        "batch_size": BATCH,
        "trust_remote_code": False,
    }
    name = task.model or "the checkpoint"
    try:
        folder, adapter = _folder(task, work)
        return _Model(pretrained=folder, peft=adapter, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk passes
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise UnusableError(f"{name} cannot be loaded: {first}") from error


def _folder(task: Task, work: str) -> tuple[str, str | None]:
    """Of the weights, and of an adapter that goes with them."""
    if not task.checkpoint:
        return models.local_model(task.model, work), None
    return weights.whole(task.checkpoint, os.path.join(work, "model"))


def _task(task: Task, items: Sequence[Item]) -> ConfigurableTask:
    """The suite in lm-eval's terms. No template of its own ever sees what stands in the suite."""
    documents = _Documents(vars(item) for item in items)
    return ConfigurableTask(
        config={
            "task": _NAME,
            "custom_dataset": lambda **_: {"test": documents},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": lambda document: document["question"],
            "doc_to_target": lambda document: document["answer"],
            "process_results": lambda document, responses: {
                METRIC: float(judged(Item(**document), responses[0], task.extract).correct)
            },
            # The model's own end of an answer is added by lm-eval.
            "generation_kwargs": {"until": [], "max_gen_toks": task.max_tokens, "do_sample": False},
            "metric_list": [{"metric": METRIC, "aggregation": "mean", "higher_is_better": True}],
        }
    )


def _metrics(results: dict[str, Any]) -> dict[str, float]:
    """`exact_match,none` -> `exact_match`. A standard error that cannot be told, of one item, is left out."""
    numbers = {name: value for name, value in results.items() if "," in name and isinstance(value, int | float)}
    return {name.partition(",")[0]: float(value) for name, value in numbers.items()}
