"""Runs that train by reward: rollout files as the runtime writes them, found by what the observer calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environments.transports import for_host
from monitoring.services.sync import open_segment
from pipelines.folders import attempt_path, rollouts_folder, run_folder
from pipelines.kinds import runner_kind
from pipelines.models import Attempt, Recipe, RecipeRevision
from pipelines.services.builtin import install
from platform_runtime import rollouts
from platform_runtime.rollouts import Sample
from tests.browser import world

SLUG = "by-reward"
QUESTION = "What is {group} plus 1?"


def run(status: str = "running", *, root: Path, **fields: Any) -> world.Run:
    """A run of a GRPO recipe without metrics and rollouts; `world.run` takes the rest."""
    install()
    sums = RecipeRevision.objects.select_related("recipe").filter(recipe__slug="tiny-sft").latest("number")
    recipe, made = Recipe.objects.get_or_create(
        slug=SLUG, defaults={"project": sums.recipe.project, "name": "By reward", "algorithm": Recipe.Algorithm.GRPO}
    )
    if made:
        RecipeRevision.objects.create(recipe=recipe, number=1, base_model=sums.base_model, dataset=sums.dataset)
    made_run = world.run(status, recipe=SLUG, root=root, **{"steps": 0, "target": 40, **fields})
    open_segment(made_run.job.stream_id, attempt=1, path=run_folder(made_run.attempt).metrics)
    return made_run


def folder(run: world.Run) -> Path:
    return Path(rollouts_folder(run.attempt))


def write(run: world.Run, step: int, rewards: Sequence[Sequence[Any]], **fields: Any) -> Path:
    """The file of a step: a prompt for each list, an answer for each reward."""
    values = {"row": None, "answer": "42", "tokens": 4, **fields}
    samples = [
        Sample(
            step=step,
            group=group,
            sample=number,
            reward=reward,
            **{
                "prompt": [{"role": "user", "content": QUESTION.format(group=group)}],
                "response": f"answer {number} to {group}, worth {reward}",
                "parts": {"exact_match": reward},
                **values,
            },
        )
        for group, mine in enumerate(rewards)
        for number, reward in enumerate(mine)
    ]
    rollouts.write(str(folder(run)), step, samples)
    return folder(run) / f"{step}.jsonl"


def look(run: world.Run) -> None:
    """What the observer does with a run that it looks at."""
    assert run.attempt.host is not None
    runner_kind("train_model").observe(run.job.stage, run.attempt, for_host(run.attempt.host))


def again(run: world.Run, *, resumed_from: int | None) -> world.Run:
    """The next attempt of the same run."""
    Attempt.objects.filter(pk=run.attempt.pk).update(outcome="failed")
    number = run.attempt.number + 1
    root = Path(run.attempt.folder).parents[2]
    attempt = Attempt.objects.create(
        stage=run.job.stage,
        number=number,
        host=run.attempt.host,
        folder=attempt_path(str(root), run.job.pk, number),
        launch_token=f"{run.job.pk.hex}-{number}",
        started_at=run.attempt.started_at,
        resumed_from_step=resumed_from,
    )
    open_segment(run.job.stream_id, attempt=number, path=run_folder(attempt).metrics, resumed_from=resumed_from)
    return world.Run(run.job, attempt)
