"""DPO on verl's engine (platform_runtime/trainers/verl_dpo.py): verl's SFT trainer, fed pairs, and a section `dpo`."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final

from pipelines.recipes.fields import Group
from pipelines.recipes.spec import DPO, DatasetRef, Json, Leaf, Problem, Tree, gettext_noop
from pipelines.recipes.trainers.base import Rules
from pipelines.recipes.trainers.verl_sft import VerlSft

from .fields import GROUP

LOSSES: Final = ("sigmoid", "sigmoid_norm", "robust", "hinge", "ipo", "apo_zero")
SMOOTHED: Final = ("sigmoid", "sigmoid_norm", "robust")
"""As dpo_loss.py has them: a test holds the two together."""

_OWN: Final[dict[str, tuple[str, Json]]] = {
    "dpo.beta": ("number", 0.1),
    "dpo.loss_type": ("string", "sigmoid"),
    "dpo.label_smoothing": ("number", 0.0),
    "dpo.sft_weight": ("number", 0.0),
    # verl's own are made for SFT: with them, nothing is left of the model after some steps.
    "optim.lr": ("number", 1e-6),
    "trainer.total_epochs": ("integer", 1),
}
_UNREAD: Final = (
    # Conversations of SFT: pairs have columns of their own, and are tokenised as a whole.
    "data.messages_key",
    "data.ignore_input_ids_mismatch",
    "data.custom_cls.path",
    "data.custom_cls.name",
    # verl's engine takes no padding, and the reference is the model without an adapter.
    "data.pad_mode",
    "model.lora_adapter_path",
)
"""Keys of verl's tree that say nothing here."""


@cache
def _tree() -> Tree:
    of_sft = VerlSft().tree()
    raw = copy.deepcopy(of_sft.raw)
    for key, (_type, default) in _OWN.items():
        section, _, name = key.partition(".")
        raw.setdefault(section, {})[name] = default
    leaves = {key: leaf for key, leaf in of_sft.leaves.items() if key not in _UNREAD}
    leaves |= {key: Leaf(key, type_, default) for key, (type_, default) in _OWN.items()}
    return Tree(raw=raw, leaves=MappingProxyType(leaves))


def _read(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rules.items() if key not in _UNREAD}


class VerlDpo(VerlSft):
    """Batches count pairs, wherever verl counts rows."""

    algorithm: ClassVar[str] = DPO
    dataset_kind: ClassVar[str] = "preference"
    rules: ClassVar[Rules] = replace(
        VerlSft.rules,
        admin=_read(VerlSft.rules.admin),
        words={**_read(VerlSft.rules.words), "dpo.loss_type": LOSSES},
        at_least={**VerlSft.rules.at_least, "dpo.beta": 0.0, "dpo.label_smoothing": 0.0, "dpo.sft_weight": 0.0},
        at_most={**VerlSft.rules.at_most, "dpo.label_smoothing": 0.5},
    )
    groups: ClassVar[tuple[Group, ...]] = (
        GROUP,
        *(
            replace(group, fields=tuple(field for field in group.fields if field.key not in _UNREAD))
            for group in VerlSft.groups
        ),
    )
    module: ClassVar[str] = "platform_runtime.trainers.verl_dpo"

    def tree(self) -> Tree:
        return _tree()

    def problems(self, settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
        yield from super().problems(settings, dataset, processes)
        yield from _loss(settings)
        pair = 2 * settings["data.max_length"]
        room = settings["data.max_token_len_per_gpu"] * settings["engine.ulysses_sequence_parallel_size"]
        if settings["data.use_dynamic_bsz"] and room < pair:
            yield Problem(
                "data.max_token_len_per_gpu",
                gettext_noop("Both answers of a pair stay together: room for twice data.max_length is needed."),
                suggestion=str(-(-pair // settings["engine.ulysses_sequence_parallel_size"])),
            )


def _loss(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["dpo.beta"] == 0:
        yield Problem("dpo.beta", gettext_noop("Must be above 0: nothing would be learned."), suggestion="0.1")
    smoothing = settings["dpo.label_smoothing"]
    if smoothing == 0.5:
        yield Problem(
            "dpo.label_smoothing", gettext_noop("Half of the pairs wrong leaves nothing to learn."), suggestion="0.1"
        )
    if smoothing and settings["dpo.loss_type"] not in SMOOTHED:
        yield Problem(
            "dpo.label_smoothing",
            gettext_noop("Goes with these losses only: %(losses)s."),
            {"losses": ", ".join(SMOOTHED)},
            suggestion="0.0",
        )
