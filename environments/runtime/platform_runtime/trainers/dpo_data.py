"""Preference pairs as tensors for verl's engine. Needs torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from platform_runtime import preferences
from platform_runtime.data import BadDataError
from platform_runtime.preferences import Pair


class PairDataset(Dataset[list[dict[str, Tensor]]]):
    """An item is a pair, chosen then rejected: `input_ids`, `position_ids` and `loss_mask` of each, (tokens,).

    Reads from the section `data`: max_length, truncation (error, right, left), tools_key, apply_chat_template_kwargs,
    enable_thinking_key, enable_thinking_default. All is tokenised at once, so that what is wrong with a row is told
    before anything was trained. Raises BadDataError, OSError.
    """

    def __init__(self, files: Any, tokenizer: Any, config: Mapping[str, Any], most: int = -1) -> None:
        rows = preferences.read(files)
        self._limit, self._cut = int(config["max_length"]), str(config["truncation"])
        self._pairs = [self._sequences(_tokens(tokenizer, row, config)) for row in (rows[:most] if most > 0 else rows)]
        self._check()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> list[dict[str, Tensor]]:
        return [
            {"input_ids": ids.long(), "position_ids": torch.arange(len(ids)), "loss_mask": mask.long()}
            for ids, mask in self._pairs[index]
        ]

    def _sequences(self, pair: Pair) -> list[tuple[Tensor, Tensor]]:
        return [self._sequence(pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]

    def _sequence(self, prompt: list[int], answer: list[int]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, as small as they can be kept."""
        ids = torch.tensor(prompt + answer, dtype=torch.int32)
        mask = torch.ones(len(ids), dtype=torch.int8)
        mask[: len(prompt)] = 0
        if self._cut != "error":
            kept = slice(-self._limit, None) if self._cut == "left" else slice(self._limit)
            ids, mask = ids[kept], mask[kept]
        # Nothing foretells the first token.
        mask[:1] = 0
        return ids, mask

    def _check(self) -> None:
        lengths = [max(len(ids) for ids, _mask in pair) for pair in self._pairs]
        if too_long := [length for length in lengths if length > self._limit]:
            raise BadDataError(
                f"{len(too_long)} of {len(lengths)} pairs are longer than data.max_length ({self._limit} tokens), the "
                f"longest {max(too_long)}: raise it, set data.truncation to right, or take these rows out"
            )
        empty = [at for at, pair in enumerate(self._pairs, start=1) if not all(mask.any() for _ids, mask in pair)]
        if empty:
            raise BadDataError(
                f"in {len(empty)} of {len(lengths)} pairs nothing of an answer is left within data.max_length "
                f"({self._limit} tokens), first in pair {empty[0]}: raise it, or take these rows out"
            )


def _tokens(tokenizer: Any, row: Mapping[str, Any], config: Mapping[str, Any]) -> Pair:
    """By verl's names for columns and options (verl/utils/dataset/multiturn_sft_dataset.py)."""
    options = dict(config["apply_chat_template_kwargs"])
    thinking = row.get(config["enable_thinking_key"])
    if thinking is None and config["enable_thinking_default"] != "none":
        thinking = config["enable_thinking_default"]
    if thinking is not None:
        options["enable_thinking"] = bool(thinking)
    return preferences.tokens(tokenizer, row, options, row.get(config["tools_key"]))
