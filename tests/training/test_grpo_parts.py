"""The parts around verl's PPO trainer: prompts as it reads them, and who answers them on a CPU."""

import json
from pathlib import Path
from typing import Any

import pytest

from .trainings import in_training_environment

CONVERT = """
import json, sys
import pyarrow.parquet
from platform_runtime import prompts
from platform_runtime.data import BadDataError
try:
    path = prompts.to_parquet(sys.argv[2], sys.argv[1] + "/data")
    print(json.dumps(pyarrow.parquet.read_table(path).to_pylist()))
except BadDataError as error:
    print(json.dumps(str(error)))
"""

LOCALISE = """
import json, sys
from platform_runtime.trainers import verl_grpo
config = {
    "reward": {"custom_reward_function": {"path": None, "name": "mine", **json.loads(sys.argv[3])}},
    "actor_rollout_ref": {"model": {"path": "builtin:tiny-llama"}},
    "data": {"train_files": [sys.argv[2]], "val_files": None, "max_prompt_length": 8, "max_response_length": 8},
}
try:
    verl_grpo.localise(config, sys.argv[1])
    print(json.dumps(config["data"]["train_files"]))
except ValueError as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""

ANSWER = """
import asyncio, json, sys
import torch
from platform_runtime import models
from platform_runtime.transformers_server import Limits, Server
folder = models.local_model("builtin:tiny-llama", sys.argv[1])
prompts = [[5, 6, 7], [9, 8], [5, 6, 7], [30, 31, 32, 33, 34]]
asked = {"temperature": 0.7, "top_p": 1.0, "top_k": -1, "logprobs": True}

def answers(order, **settings):
    async def ask():
        server = Server(folder, folder, Limits(prompt=8, response=6, batch=3), seed=5)
        await server.load_weights(server._model.state_dict(), settings.pop("step", 1))
        found = await asyncio.gather(*[server.generate(prompts[at], {**asked, **settings}, "") for at in order])
        return {at: answer for at, answer in zip(order, found)}
    return asyncio.run(ask())

def plain(found):
    return sorted((prompts[at], answer.token_ids) for at, answer in found.items())

def chances(found):
    # From the model itself, one answer at a time and without what was kept of earlier words.
    model = Server(folder, folder, Limits(8, 6, 1), 0)._model
    off = []
    for at, answer in found.items():
        ids = torch.tensor([prompts[at] + answer.token_ids])
        logits = model(ids).logits[0, len(prompts[at]) - 1 : -1] / asked["temperature"]
        wanted = torch.log_softmax(logits.float(), -1).gather(-1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        off.append((wanted - torch.tensor(answer.log_probs)).abs().max().item())
    return max(off)

def refused(action):
    try:
        asyncio.run(action())
    except Exception as error:
        return type(error).__name__ + ": " + str(error)

async def too_long():
    await Server(folder, folder, Limits(8, 6, 3), 0).generate([1] * 14, asked, "")

async def other_weights():
    await Server(folder, folder, Limits(8, 6, 3), 0).load_weights({"stranger": torch.zeros(1)}, 1)

with torch.no_grad():
    first = answers([0, 1, 2, 3])
    print(json.dumps({
        "order": plain(first) == plain(answers([3, 1, 0, 2])),
        "step": plain(first) != plain(answers([0, 1, 2, 3], step=2)),
        "greedy": plain(answers([0, 1], temperature=0)) == plain(answers([1, 0], temperature=0, step=3)),
        "lengths": [len(one.token_ids) for one in first.values()],
        "short": [len(one.token_ids) for one in answers([0], max_tokens=2).values()],
        "room": [len(one.token_ids) for one in answers([3], temperature=0).values()],
        "told": [one.extra_fields["global_steps"] for one in first.values()],
        "off": chances(first),
        "too_long": refused(too_long),
        "other_weights": refused(other_weights),
    }))
"""


def converted(tmp_path: Path, *rows: Any) -> Any:
    file = tmp_path / "some prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return in_training_environment(CONVERT, tmp_path, str(file))


def test_prompts_become_what_verl_reads(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}]
    rows = converted(tmp_path, {"prompt": "What?", "answer": "4", "more": [1]}, {"prompt": messages, "answer": 4})
    assert rows == [
        {
            "prompt": prompt,
            "data_source": "prompts",
            "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": {"index": index},
        }
        for index, prompt in enumerate([[{"role": "user", "content": "What?"}], messages])
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"answer": "4"},
        {"prompt": " ", "answer": "4"},
        {"prompt": [], "answer": "4"},
        {"prompt": [{"role": "user"}], "answer": "4"},
        {"prompt": "What?", "answer": [4]},
    ],
    ids=["no prompt", "an empty one", "no message", "no content", "a list as answer"],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    told = converted(tmp_path, {"prompt": "What?", "answer": "4"}, row)
    assert "some prompts.jsonl, row 2:" in told


def test_an_answer_may_be_left_out(tmp_path: Path) -> None:
    rows = converted(tmp_path, {"prompt": "What?"}, {"prompt": "Who?", "answer": None}, {"prompt": "1?", "answer": 0})
    assert [row["reward_model"]["ground_truth"] for row in rows] == ["", "", "0"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("reward", "trains"),
    [
        ({}, False),
        ({"reward_kwargs": {"exact_match": 0.5, "digits": 1.0}}, False),
        ({"reward_kwargs": {"exact_match": 0.0, "digits": 1.0}}, True),
        ({"path": "/its own/reward.py"}, True),
    ],
    ids=["by default", "with a weight", "without a weight", "a reward of one's own"],
)
def test_rewards_that_compare_need_an_answer_in_each_row(tmp_path: Path, reward: dict[str, Any], trains: bool) -> None:
    file = tmp_path / "some prompts.jsonl"
    file.write_text('{"prompt": "What?", "answer": "4"}\n{"prompt": "Who?"}\n')
    told = in_training_environment(LOCALISE, tmp_path, str(file), json.dumps(reward))
    assert told == (
        [str(tmp_path / "data/some prompts.parquet")]
        if trains
        else f"BadDataError: {file}, row 2: there is no “answer” to compare with: give each row one, or set "
        "reward.custom_reward_function.reward_kwargs.exact_match to 0"
    )


@pytest.mark.timeout(300)
def test_answers_are_seeded_batched_and_told_with_their_chances(tmp_path: Path) -> None:
    told = in_training_environment(ANSWER, tmp_path)
    assert told["order"], "the same seed gives the same answers, in whatever order they are asked for"
    assert told["step"], "another step gives others"
    assert told["greedy"]
    assert all(0 < length <= 6 for length in told["lengths"])
    assert told["short"] == [2]
    assert told["told"] == [1, 1, 1, 1]
    assert told["off"] < 1e-4
    assert told["too_long"].startswith("ValueError: a prompt has 14 tokens, which leaves no room")
    assert "stranger" in told["other_weights"]
