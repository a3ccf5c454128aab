"""Rollout files as the runtime writes them."""

from pathlib import Path
from typing import Any

from platform_runtime import rollouts
from platform_runtime.rollouts import Sample


def sample(step: int = 1, group: int = 0, number: int = 0, reward: Any = 1.0, **fields: Any) -> Sample:
    values: dict[str, Any] = {
        "row": group,
        "prompt": [{"role": "user", "content": f"What is {group} plus 1?"}],
        "response": f"#### {group + 1}",
        "tokens": 4,
        "answer": str(group + 1),
        "parts": {"exact_match": reward},
    }
    return Sample(step=step, group=group, sample=number, reward=reward, **(values | fields))


def write(folder: Path, step: int, rewards: list[list[Any]], **fields: Any) -> Path:
    """A step with a group for each list of rewards."""
    found = [
        sample(step, group, number, reward, **fields)
        for group, mine in enumerate(rewards)
        for number, reward in enumerate(mine)
    ]
    rollouts.write(str(folder), step, found)
    return folder / f"{step}.jsonl"
