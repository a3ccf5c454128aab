"""The losses of direct preference optimisation, pair by pair, from log-probabilities alone. Needs torch.

Every loss is a sum of terms of single pairs. So a batch may be cut into micro batches or spread over processes in any
way: the sum stays, and its gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Sums of the log-probabilities of the answers' tokens, float32, and how many tokens they have; (pairs,) each."""

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def chosen_ratio(self) -> Tensor:
        """log(policy / reference)."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> Tensor:
        return self.chosen_ratio - self.rejected_ratio

    @property
    def mean_margin(self) -> Tensor:
        """The same for means over tokens: long answers count no more than short ones."""
        return self.chosen_ratio / self.chosen_tokens - self.rejected_ratio / self.rejected_tokens


@dataclass(frozen=True)
class Settings:
    """The section `dpo` of a configuration. Raises ValueError for what cannot be meant.

    beta: how strongly the policy is held to the reference; the τ of IPO. label_smoothing: the share of pairs that are
    the wrong way round. sft_weight: of the chosen answer's negative log-likelihood a token, added to the loss.
    """

    beta: float = 0.1
    loss_type: str = "sigmoid"
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"dpo.beta must be above 0, not {self.beta}")
        if self.loss_type not in LOSSES:
            raise ValueError(f"dpo.loss_type {self.loss_type!r} is none of {', '.join(LOSSES)}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"dpo.label_smoothing must be at least 0 and below 0.5, not {self.label_smoothing}")
        if self.label_smoothing and self.loss_type not in SMOOTHED:
            raise ValueError(f"dpo.label_smoothing goes with {', '.join(SMOOTHED)} only, not with {self.loss_type}")
        if not self.sft_weight >= 0:
            raise ValueError(f"dpo.sft_weight must not be below 0, it is {self.sft_weight}")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        if unknown := sorted(set(section) - set(cls.__dataclass_fields__)):
            raise ValueError(
                f"dpo.{unknown[0]}: there is no such setting; there are {', '.join(cls.__dataclass_fields__)}"
            )
        return cls(**section)


def losses(pairs: Pairs, settings: Settings) -> Tensor:
    """The loss of each pair."""
    found = LOSSES[settings.loss_type](pairs, settings)
    if settings.sft_weight:
        # As in Iterative RPO (arXiv 2404.19733), where the weight is called alpha.
        found = found - settings.sft_weight * pairs.chosen / pairs.chosen_tokens
    return found


def metrics(pairs: Pairs, settings: Settings) -> dict[str, Tensor]:
    """What is told of each pair, under the names that TRL gives the means. Rewards are implicit: β times a ratio."""
    chosen, rejected = settings.beta * pairs.chosen_ratio, settings.beta * pairs.rejected_ratio
    found = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/margins": chosen - rejected,
        "logps/chosen": pairs.chosen,
        "logps/rejected": pairs.rejected,
    }
    return {name: value.detach() for name, value in found.items()}


def sums(values: Tensor, offsets: Tensor) -> Tensor:
    """Of jagged values (tokens,), row by row, in float32. offsets: (rows + 1,), beginning with 0."""
    rows = torch.repeat_interleave(torch.arange(len(offsets) - 1, device=values.device), offsets.diff())
    return torch.zeros(len(offsets) - 1, device=values.device).index_add(0, rows, values.float())


def _smoothed(logits: Tensor, smoothing: float) -> Tensor:
    """Conservative DPO (E. Mitchell, 2023): with this probability the pair is the wrong way round."""
    return -(1 - smoothing) * F.logsigmoid(logits) - smoothing * F.logsigmoid(-logits)


def _sigmoid(pairs: Pairs, settings: Settings) -> Tensor:
    """DPO: arXiv 2305.18290, equation 7."""
    return _smoothed(settings.beta * pairs.margin, settings.label_smoothing)


def _sigmoid_norm(pairs: Pairs, settings: Settings) -> Tensor:
    """The same over means: Tülu 3, arXiv 2411.15124. Needs a far larger β, such as 5."""
    return _smoothed(settings.beta * pairs.mean_margin, settings.label_smoothing)


def _robust(pairs: Pairs, settings: Settings) -> Tensor:
    """What stays right on average when labels are flipped: arXiv 2403.00409."""
    logits, flipped = settings.beta * pairs.margin, settings.label_smoothing
    return (-(1 - flipped) * F.logsigmoid(logits) + flipped * F.logsigmoid(-logits)) / (1 - 2 * flipped)


def _hinge(pairs: Pairs, settings: Settings) -> Tensor:
    """SLiC's, as in arXiv 2309.06657."""
    return torch.relu(1 - settings.beta * pairs.margin)


def _ipo(pairs: Pairs, settings: Settings) -> Tensor:
    """arXiv 2310.12036, equation 17; over means, as its authors did it (see TRL's dpo_trainer.py)."""
    return (pairs.mean_margin - 1 / (2 * settings.beta)) ** 2


def _apo_zero(pairs: Pairs, settings: Settings) -> Tensor:
    """For chosen answers that are better than the model's own: arXiv 2408.06266, equation 7."""
    return 1 - torch.sigmoid(settings.beta * pairs.chosen_ratio) + torch.sigmoid(settings.beta * pairs.rejected_ratio)


LOSSES: Final[Mapping[str, Callable[[Pairs, Settings], Tensor]]] = {
    "sigmoid": _sigmoid,
    "sigmoid_norm": _sigmoid_norm,
    "robust": _robust,
    "hinge": _hinge,
    "ipo": _ipo,
    "apo_zero": _apo_zero,
}
SMOOTHED: Final = ("sigmoid", "sigmoid_norm", "robust")
"""Losses that know of labels that are the wrong way round."""
