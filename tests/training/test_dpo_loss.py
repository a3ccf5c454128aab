"""The losses of DPO against plain formulas, and against TRL's own with the same models and batch."""

import json
from collections.abc import Callable
from math import exp, log1p
from pathlib import Path
from typing import Any

import pytest

from .trainings import in_training_environment

pytestmark = pytest.mark.timeout(300)

# chosen, rejected, reference of either, tokens of either
PAIRS = [(-10.0, -14.0, -11.0, -12.0, 5, 8), (-30.0, -9.0, -29.5, -13.0, 12, 3), (-7.0, -7.0, -7.0, -7.0, 4, 4)]

NUMBERS = """
import json, sys
import torch
from platform_runtime.trainers.dpo_loss import Pairs, Settings, losses, metrics, sums
rows, asked = json.loads(sys.argv[2]), json.loads(sys.argv[3])
pairs = Pairs(*(torch.tensor(column) for column in zip(*rows)))
found = [losses(pairs, Settings.of(one)).tolist() for one in asked]
refused = []
for one in json.loads(sys.argv[4]):
    try:
        Settings.of(one)
        refused.append("")
    except ValueError as error:
        refused.append(str(error))
told = {name: values.tolist() for name, values in metrics(pairs, Settings()).items()}
jagged = torch.nested.nested_tensor([torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.tensor([4.0, 5.0, 6.0])],
                                    layout=torch.jagged)
print(json.dumps([found, refused, told, sums(jagged.values(), jagged.offsets()).tolist()]))
"""


def softplus(x: float) -> float:
    return log1p(exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def ratios(pair: tuple[float, ...]) -> tuple[float, float]:
    return pair[0] - pair[2], pair[1] - pair[3]


def margin(pair: tuple[float, ...]) -> float:
    return ratios(pair)[0] - ratios(pair)[1]


def mean_margin(pair: tuple[float, ...]) -> float:
    return ratios(pair)[0] / pair[4] - ratios(pair)[1] / pair[5]


def mixed(x: float, share: float) -> float:
    return (1 - share) * softplus(-x) + share * softplus(x)


FORMULAS: list[tuple[dict[str, Any], Callable[[tuple[float, ...]], float]]] = [
    ({}, lambda pair: softplus(-0.1 * margin(pair))),
    ({"beta": 0.5}, lambda pair: softplus(-0.5 * margin(pair))),
    ({"beta": 0.5, "label_smoothing": 0.2}, lambda pair: mixed(0.5 * margin(pair), 0.2)),
    ({"loss_type": "sigmoid_norm", "beta": 5.0}, lambda pair: softplus(-5 * mean_margin(pair))),
    (
        {"loss_type": "robust", "label_smoothing": 0.1},
        lambda pair: (0.9 * softplus(-0.1 * margin(pair)) - 0.1 * softplus(0.1 * margin(pair))) / 0.8,
    ),
    ({"loss_type": "hinge", "beta": 0.5}, lambda pair: max(0.0, 1 - 0.5 * margin(pair))),
    ({"loss_type": "ipo", "beta": 0.2}, lambda pair: (mean_margin(pair) - 2.5) ** 2),
    (
        {"loss_type": "apo_zero"},
        lambda pair: 1 - sigmoid(0.1 * ratios(pair)[0]) + sigmoid(0.1 * ratios(pair)[1]),
    ),
    ({"sft_weight": 0.5}, lambda pair: softplus(-0.1 * margin(pair)) - 0.5 * pair[0] / pair[4]),
]
REFUSED = [
    ({"beta": 0.0}, "dpo.beta must be above 0"),
    ({"beta": float("nan")}, "dpo.beta must be above 0"),
    ({"loss_type": "dpo"}, "is none of sigmoid, "),
    ({"label_smoothing": 0.5}, "below 0.5"),
    ({"label_smoothing": 0.1, "loss_type": "ipo"}, "goes with sigmoid, sigmoid_norm, robust only"),
    ({"sft_weight": -1.0}, "dpo.sft_weight"),
    ({"gamma": 1.0}, "dpo.gamma: there is no such setting"),
]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    work = tmp_path_factory.mktemp("numbers")
    asked, refused = [one for one, _formula in FORMULAS], [one for one, _part in REFUSED]
    return in_training_environment(NUMBERS, work, json.dumps(PAIRS), json.dumps(asked), json.dumps(refused))


@pytest.mark.parametrize("case", range(len(FORMULAS)), ids=[str(settings) for settings, _formula in FORMULAS])
def test_a_loss_is_its_formula(numbers: Any, case: int) -> None:
    formula = FORMULAS[case][1]
    assert numbers[0][case] == pytest.approx([formula(pair) for pair in PAIRS], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=[str(settings) for settings, _part in REFUSED])
def test_what_cannot_be_meant_is_refused(numbers: Any, case: int) -> None:
    assert REFUSED[case][1] in numbers[1][case]


def test_rewards_are_ratios_to_the_reference(numbers: Any) -> None:
    told = numbers[2]
    assert told["rewards/chosen"] == pytest.approx([0.1, -0.05, 0.0])
    assert told["rewards/rejected"] == pytest.approx([-0.2, 0.4, 0.0])
    assert told["rewards/margins"] == pytest.approx([0.3, -0.45, 0.0])
    # A tie is no success.
    assert told["rewards/accuracies"] == [1.0, 0.0, 0.0]
    assert (told["logps/chosen"], told["logps/rejected"]) == ([-10.0, -30.0, -7.0], [-14.0, -9.0, -7.0])


def test_sums_keep_sequences_apart(numbers: Any) -> None:
    assert numbers[3] == [3.0, 3.0, 15.0]


AGAINST_TRL = """
import importlib, json, os, sys
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from platform_runtime import models, preferences
from platform_runtime.trainers.dpo_loss import Pairs, Settings, losses, metrics

work = sys.argv[1]
source = models.local_model(models.TINY_LLAMA, work)
tokenizer = AutoTokenizer.from_pretrained(source)
reference = AutoModelForCausalLM.from_pretrained(source)
policy = AutoModelForCausalLM.from_pretrained(source)
torch.manual_seed(0)
with torch.no_grad():
    for parameter in policy.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.02)
rows = [preferences.conversation(row, "here") for row in json.loads(sys.argv[2])]
args = DPOConfig(output_dir=work, use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=len(rows),
                 gradient_checkpointing=False, train_sampling_strategy="sequential", disable_tqdm=True)
dataset = importlib.import_module("datasets").Dataset.from_list([{name: row[name] for name in preferences.COLUMNS}
                                                                 for row in rows])
trainer = DPOTrainer(model=policy, ref_model=reference, args=args, train_dataset=dataset, processing_class=tokenizer)
batch = next(iter(trainer.get_train_dataloader()))

taken = [preferences.tokens(tokenizer, row, {}) for row in rows]
theirs = [[row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] for row in trainer.train_dataset]
ours = [[pair.prompt, pair.chosen, pair.rejected] for pair in taken]

def total(model, prompt, answer):
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logps = model(ids).logits[0, :-1].log_softmax(-1)
    return logps.gather(-1, ids[0, 1:, None])[len(prompt) - 1:].sum()

columns = [torch.stack([total(model, pair.prompt, answer(pair)) for pair in taken])
           for model in (policy, reference) for answer in (lambda pair: pair.chosen, lambda pair: pair.rejected)]
lengths = [torch.tensor([len(getattr(pair, side)) for pair in taken]) for side in ("chosen", "rejected")]
pairs = Pairs(*columns, *lengths)
found = {}
for loss_type, beta, smoothing in json.loads(sys.argv[3]):
    trainer.loss_types, trainer.beta, trainer.label_smoothing = [loss_type], beta, smoothing
    trainer.model.train()
    with torch.no_grad():
        theirs_loss = trainer.compute_loss(trainer.model, batch).item()
    settings = Settings(beta=beta, loss_type=loss_type, label_smoothing=smoothing)
    told = {name: values.mean().item() for name, values in metrics(pairs, settings).items()}
    found[loss_type] = {
        "losses": [losses(pairs, settings).mean().item(), theirs_loss],
        "metrics": {name: [value, trainer._metrics["train"][name][-1]] for name, value in told.items()},
    }
print(json.dumps({"tokens": ours == theirs, "found": found}))
"""
ASKED = [
    ("sigmoid", 0.1, 0.0),
    ("sigmoid_norm", 5.0, 0.0),
    ("robust", 0.3, 0.1),
    ("hinge", 0.2, 0.0),
    ("ipo", 0.5, 0.0),
    ("apo_zero", 0.1, 0.0),
]


@pytest.fixture(scope="module")
def beside_trl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = [
        {"prompt": f"What is {a} plus {b}?", "chosen": f"{a} + {b} = {a + b}.", "rejected": f"I would say {a}."}
        for a, b in ((1, 2), (30, 12), (7, 7), (45, 9))
    ]
    work: Path = tmp_path_factory.mktemp("beside")
    return in_training_environment(AGAINST_TRL, work, json.dumps(rows), json.dumps(ASKED))


def test_rows_become_the_same_tokens_as_with_trl(beside_trl: Any) -> None:
    assert beside_trl["tokens"] is True


@pytest.mark.parametrize("loss_type", [one for one, _beta, _smoothing in ASKED])
def test_a_loss_is_trls(beside_trl: Any, loss_type: str) -> None:
    ours, theirs = beside_trl["found"][loss_type]["losses"]
    assert ours == pytest.approx(theirs, rel=1e-4)
    for name, (one, other) in beside_trl["found"][loss_type]["metrics"].items():
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3), name
