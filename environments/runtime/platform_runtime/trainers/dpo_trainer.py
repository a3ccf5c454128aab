"""verl has no DPO: its SFT trainer, given pairs, a loss of pairs and a frozen reference. Import entry.py's way only."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.dataset_utils import DatasetPadMode, SFTTensorCollator
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine import EngineRegistry
from verl.workers.engine_workers import TrainingWorker

from platform_runtime.trainers import dpo_loss
from platform_runtime.trainers.dpo_data import PairDataset

_REFERENCE: Final = "reference_logps"
_ROLE: Final = "language_model"


class DPOTrainer(SFTTrainer):
    """`config` is verl's `sft_trainer_engine` tree with a section `dpo` (dpo_loss.Settings).

    Raises ValueError for settings that do not go together, BadDataError for data that cannot be used, and whatever
    verl raises.
    """

    def _build_config(self) -> None:
        self.settings = dpo_loss.Settings.of(self.config.dpo)
        for key, allowed, why in (
            ("data.custom_cls.path", None, "preference pairs are read by the platform"),
            ("data.pad_mode", DatasetPadMode.NO_PADDING.value, "verl's engine takes no other"),
            ("model.lora_adapter_path", None, "the reference is the model without its adapter: merge this one first"),
        ):
            if (given := OmegaConf.select(self.config, key)) != allowed:
                raise ValueError(f"{key} must be {allowed}, not {given}: {why}")
        super()._build_config()

    def _build_dataset(self) -> None:
        data, tokenizer = self.config.data, self.model_config.tokenizer
        self.train_dataset = PairDataset(data.train_files, tokenizer, data, data.train_max_samples)
        self.val_dataset = (
            PairDataset(data.val_files, tokenizer, data, data.val_max_samples) if data.val_files else None
        )

    def _build_engine(self) -> None:
        config = TrainingWorkerConfig(
            model_type=_ROLE,
            model_config=self.model_config,
            engine_config=self.engine_config,
            optimizer_config=self.optimizer_config,
            checkpoint_config=self.checkpoint_config,
            profiler_config=self.profiler_config,
        )
        self.training_client = PreferenceWorker(config, self.settings)
        self.engine = self.training_client.engine

    def _build_dataloader(self) -> None:
        super()._build_dataloader()
        for loader in (self.train_dataloader, self.val_dataloader):
            if loader is not None:
                loader.collate_fn = _Collator(DatasetPadMode.NO_PADDING)


class _Collator(SFTTensorCollator):
    """Pairs side by side: chosen, rejected, chosen, rejected …"""

    def __call__(self, batch: list[Any]) -> Any:
        return super().__call__([sequence for pair in batch for sequence in pair])


class PreferenceWorker(TrainingWorker):
    """Adds to each batch what the reference says of it, then trains on it or judges it as verl does."""

    def __init__(self, config: Any, settings: dpo_loss.Settings) -> None:
        super().__init__(config)
        self.set_loss_fn(partial(pair_loss, settings))
        self._reference = None if self.model_config.lora_rank > 0 else _frozen(self)

    def reset(self) -> None:
        super().reset()
        # What is random in the policy alone would count as a difference from the reference.
        for module in self.engine.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if self._reference is not None:
            self._reference.initialize()

    def train_batch(self, data: TensorDict) -> TensorDict:
        return _whole(super().train_batch(self._judged(data)))

    def infer_batch(self, data: TensorDict) -> TensorDict:
        return _whole(super().infer_batch(self._judged(data)))

    def _judged(self, data: TensorDict) -> TensorDict:
        """With the reference's log-probability of every answer.

        By the engine itself: the worker's own method answers one rank of a sequence-parallel group alone.
        """
        tu.assign_non_tensor(data, force_group_size=2, use_fused_kernels=self.engine_config.use_fused_kernels)
        engine = self._reference or self.engine
        with ExitStack() as stack:
            stack.enter_context(engine.eval_mode())
            if self._reference is None:
                stack.enter_context(engine.disable_adapter())
            output = engine.infer_batch(data)
        data[_REFERENCE] = _answer_logps(output["model_output"]["log_probs"].cpu(), data)
        return data


def pair_loss(
    settings: dpo_loss.Settings, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None
) -> tuple[Tensor, dict[str, float]]:
    """verl's form of a loss: of a micro batch of pairs, scaled so that micro batches and processes add up.

    FSDP takes the mean of the gradients of all processes, as verl/workers/utils/losses.py has it. Metrics are shares
    of the mean over all pairs: `_whole` adds them up.
    """
    logps, reference = _answer_logps(model_output["log_probs"], data), data[_REFERENCE]
    tokens = dpo_loss.sums(data["loss_mask"].values(), data["loss_mask"].offsets())
    pairs = dpo_loss.Pairs(logps[0::2], logps[1::2], reference[0::2], reference[1::2], tokens[0::2], tokens[1::2])
    count = tu.get_non_tensor_data(data, "global_batch_size", None)
    loss = dpo_loss.losses(pairs, settings).sum() / count * tu.get_non_tensor_data(data, "dp_size", None)
    told = dpo_loss.metrics(pairs, settings)
    shares = (torch.stack([values.sum() for values in told.values()]) / count).tolist()
    return loss, {f"train/{name}": share for name, share in zip(told, shares, strict=True)}


def _answer_logps(log_probs: Tensor, data: TensorDict) -> Tensor:
    """(sequences,): the sum over each answer. Both are jagged; what verl has at a token is of the one after it.

    The mask of a sequence's first token is 0, so that nothing is taken from what it has at the last.
    """
    follows = torch.roll(data["loss_mask"].values(), shifts=-1, dims=0).bool()
    return dpo_loss.sums(torch.where(follows, log_probs.values(), 0.0), data["loss_mask"].offsets())


def _frozen(worker: TrainingWorker) -> Any:
    """An engine like the worker's that only looks. verl keeps its weights in the host's memory, also with GPUs."""
    config = worker.engine_config
    return EngineRegistry.new(
        model_type=_ROLE,
        backend=config.strategy,
        model_config=worker.model_config,
        # verl would load a model that does not train in bfloat16: close to the policy, and not the same.
        engine_config=replace(config, forward_only=True, model_dtype=config.model_dtype or "fp32"),
        optimizer_config=worker.optimizer_config,
        checkpoint_config=worker.checkpoint_config,
    )


def _whole(output: TensorDict | None) -> TensorDict | None:
    """Metrics that came in shares, one a micro batch and process, put together. None on ranks without outputs."""
    if output is not None:
        metrics = tu.get(output, "metrics")
        metrics.update({name: sum(_flat(value)) for name, value in metrics.items() if isinstance(value, list)})
    return output


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value
