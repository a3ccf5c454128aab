"""What verl's PPO trainer (verl/trainer/ppo/v1/trainer_base.py) lacks, put in from outside: the rollout `transformers`,
rollout files in our form, the parts of a reward as metrics, and no idle waiting.

Loaded by verl itself, named in VERL_USE_EXTERNAL_MODULES, in each process of a run; `hook_trainer` is for the one that
trains.
"""

import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import ray
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

from platform_runtime import rollouts
from platform_runtime.anomalies import as_number
from platform_runtime.callback import spell
from platform_runtime.rollouts import Sample

logger = logging.getLogger(__name__)

ROLLOUT: Final = "transformers"
POLL_S: Final = 0.1
"""verl looks for finished answers every two seconds (replay_buffer.py): a small model would wait more than work."""

WATCH_S: Final = 2.0

_FIELDS: Final = ["raw_prompt", "responses", "rm_scores", "reward_model", "index", "extra_fields"]


def _replica() -> type:
    from platform_runtime.transformers_rollout import Replica  # noqa: PLC0415 - only where it is asked for

    return Replica


def install() -> None:
    # It warns with every prompt of a model whose chat template needs nothing special.
    logging.getLogger("verl.utils.tokenizer.continuous_token_wiring").setLevel(logging.ERROR)
    _ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "platform_runtime.transformers_rollout.Adapter"
    RolloutReplicaRegistry.register(ROLLOUT, _replica)


def hook_trainer() -> None:
    """Once, before a trainer is built."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer  # noqa: PLC0415 - heavy, and for one process alone

    original_buffer, original_metrics = PPOTrainer._build_replay_buffer, PPOTrainer._compute_metrics

    @functools.wraps(original_buffer)
    def build_replay_buffer(self: Any) -> Any:
        buffer = original_buffer(self)
        buffer.poll_interval = POLL_S
        original_wait, watch = buffer._wait_for_next_poll, Watch(functools.partial(_workers, self))

        def wait_for_next_poll(*arguments: Any) -> Any:
            watch.look()
            return original_wait(*arguments)

        buffer._wait_for_next_poll = wait_for_next_poll
        return buffer

    @functools.wraps(original_metrics)
    def compute_metrics(self: Any, batch: Any, metrics: dict[str, Any], *arguments: Any, **named: Any) -> None:
        original_metrics(self, batch, metrics, *arguments, **named)
        metrics.update(means(one.parts for one in samples(self, batch)))

    def log_rollout_data(self: Any, batch: Any, timing_raw: Any, rollout_data_dir: str) -> None:
        found = list(samples(self, batch))
        # A thread of the trainer's own, which it waits for at the end.
        self._dump_futures.append(self._dump_executor.submit(write, rollout_data_dir, self.global_steps, found))

    PPOTrainer._build_replay_buffer = build_replay_buffer
    PPOTrainer._compute_metrics = compute_metrics
    PPOTrainer._log_rollout_data = log_rollout_data


class Watch:
    """Looks after the actors that a waiting trainer counts on: it would wait for ever for one that was killed."""

    def __init__(self, actors: Callable[[], list[Any]]) -> None:
        self._actors = actors
        self._asked: list[Any] = []
        self._next = 0.0

    def look(self) -> None:
        """To be called often. Never waits. Raises RayActorError, which says who died and why."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + WATCH_S
        if not self._asked:
            self._asked = [actor.__ray_ready__.remote() for actor in self._actors()]
        answered, self._asked = ray.wait(self._asked, num_returns=len(self._asked), timeout=0)
        ray.get(answered)


def _workers(trainer: Any) -> list[Any]:
    return [
        *trainer.agent_loop_manager.agent_loop_workers,
        *trainer.reward_loop_manager.reward_loop_workers,
        *trainer.llm_server_manager.server_handles,
    ]


def write(folder: str, step: int, found: list[Sample]) -> None:
    """What cannot be written is told and left out: it is no reason to end a training."""
    try:
        rollouts.write(folder, step, found)
    except OSError as error:
        logger.warning("the answers of step %d cannot be written: %s", step, error)


def means(parts: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """`reward/<part>/mean` over all answers that have the part."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in parts:
        for name, value in one.items():
            values[name].append(float(value))
    return {f"reward/{name}/mean": sum(found) / len(found) for name, found in values.items()}


def samples(trainer: Any, batch: Any) -> Iterator[Sample]:
    """The answers of a batch, by row of the dataset; what only fills up the batch is left out."""
    import transfer_queue  # noqa: PLC0415 - the module is loaded where no queue is, too

    last = _last_outputs(batch)
    if not last:
        return
    sessions = list(last)
    data = transfer_queue.kv_batch_get(keys=list(last.values()), partition_id=batch.partition_id, select_fields=_FIELDS)
    columns = {name: list(data[name]) for name in _FIELDS}
    groups: dict[str, int] = {}
    for at in sorted(range(len(sessions)), key=lambda at: (int(columns["index"][at]), sessions[at])):
        uid, session = sessions[at]
        response = columns["responses"][at]
        yield Sample(
            step=trainer.global_steps,
            group=groups.setdefault(uid, len(groups)),
            sample=session,
            row=int(columns["index"][at]),
            prompt=[dict(message) for message in columns["raw_prompt"][at]],
            response=trainer.tokenizer.decode(response, skip_special_tokens=True),
            tokens=len(response),
            answer=columns["reward_model"][at].get("ground_truth"),
            reward=spell(float(columns["rm_scores"][at].sum())),
            parts=_parts(columns["extra_fields"][at].get("reward_extra_info", {})),
        )


def _last_outputs(batch: Any) -> dict[tuple[str, int], str]:
    """(uid of the prompt, session) -> key of the session's last output. A key is `<uid>_<session>_<output>`
    (verl/trainer/ppo/v1/agent_loop_tq.py)."""
    found: dict[tuple[str, int], tuple[int, str]] = {}
    for key, tag in zip(batch.keys, batch.tags, strict=True):
        if not tag.get("is_padding", False):
            uid, session, output = key.rsplit("_", 2)
            found[uid, int(session)] = max(found.get((uid, int(session)), (-1, "")), (int(output), key))
    return {session: key for session, (_, key) in found.items()}


def _parts(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a reward function told beside its score, as far as it is numbers."""
    numbers = {name: as_number(value) for name, value in told.items() if name != "score"}
    return {name: spell(number) for name, number in numbers.items() if number is not None}


install()
