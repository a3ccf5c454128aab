"""`actor_rollout_ref.rollout.name: transformers`: verl's PPO trainer samples from `transformers_server`, on a CPU.

verl looks both parts up by name: the adapter, which lives in the worker that trains and hands weights over, and the
replica, which starts the server. Runs in the training environment (verl, ray, torch).
"""

import os
from collections.abc import Iterable
from typing import Any

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica

from platform_runtime.transformers_server import Limits, Server


def server_name(replica: int) -> str:
    """Of the actor, in the run's own Ray instance."""
    return f"transformers-server-{replica}"


class Adapter(BaseRollout):
    """One a rank, each with the server of its own replica: a replica is one process."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:
        super().__init__(config, model_config, device_mesh)
        self._replica = replica_rank if replica_rank >= 0 else int(os.environ.get("RANK", "0"))
        self._server: Any = None

    async def resume(self, tags: list[str]) -> None:
        pass

    async def release(self) -> None:
        pass

    @torch.no_grad()
    async def update_weights(
        self,
        weights: Iterable[tuple[str, torch.Tensor]],
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        peft_config: Any = None,
        **_: Any,
    ) -> None:
        if wire_format != "named_tensors" or peft_config is not None:
            raise ValueError("The transformers rollout takes whole weights: set actor_rollout_ref.model.lora.merge.")
        if self._server is None:
            self._server = ray.get_actor(server_name(self._replica))
        whole = {name: tensor.detach().cpu() for name, tensor in weights}
        await self._server.load_weights.remote(whole, global_steps)


class Replica(RolloutReplica):
    """A server that is reached through Ray alone: there is no port."""

    async def launch_servers(self) -> None:
        limits = Limits(self.config.prompt_length, self.config.response_length, self.config.max_num_seqs)
        path = self.model_config.path
        name = server_name(self.replica_rank)
        server = (
            ray.remote(Server)
            .options(name=name, num_cpus=0, max_concurrency=self.max_concurrency)
            .remote(path, self.model_config.tokenizer_path or path, limits, self.config.seed)
        )
        await server.ready.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = name
