"""Settings that hide from the platform what it watches for, and how to have it shown. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .spec import Problem, gettext_noop

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class BlindSpot:
    """Settings under which `rules` of the diagnostics see nothing, told by `blinds`; `key` set to `fix` helps."""

    key: str
    fix: str
    rules: tuple[str, ...]
    blinds: Callable[[Settings], bool]
    template: str


_ACTOR: Final = "actor_rollout_ref.actor"

BLIND_SPOTS: Final = (
    BlindSpot(
        key=f"{_ACTOR}.calculate_entropy",
        fix="true",
        rules=("entropy_collapse",),
        # verl/trainer/ppo/v1/trainer_base.py: _compute_old_log_prob logs actor/entropy whatever this key says, unless
        # it is bypassed; then _update_actor works out the entropy where this key or its coefficient asks for it.
        blinds=lambda settings: (
            bool(settings.get("algorithm.rollout_correction.bypass_mode"))
            and not settings[f"{_ACTOR}.calculate_entropy"]
            and not settings.get(f"{_ACTOR}.entropy_coeff")
        ),
        template=gettext_noop(
            "With algorithm.rollout_correction.bypass_mode no entropy is logged: %(rules)s could not notice that the "
            "answers become all alike."
        ),
    ),
    BlindSpot(
        key="actor_rollout_ref.rollout.calculate_log_probs",
        fix="true",
        rules=("rollout_mismatch", "rollout_corr"),
        # verl/trainer/ppo/v1/trainer_base.py: training/rollout_probs_diff_* are worked out only with it.
        blinds=lambda settings: not settings["actor_rollout_ref.rollout.calculate_log_probs"],
        template=gettext_noop(
            "Without the probabilities of whoever answers, %(rules)s could not notice that training and answering "
            "drift apart."
        ),
    ),
)


def blind_spots(settings: Settings, not_settable: Collection[str] = ()) -> Iterator[Problem]:
    """What a run with these settings would not show. `settings` has every key of the trainer; those that a recipe
    may not set are `not_settable`, and nobody is asked to set them."""
    for spot in BLIND_SPOTS:
        if spot.key in settings and spot.key not in not_settable and spot.blinds(settings):
            yield Problem(spot.key, spot.template, {"rules": ", ".join(spot.rules)}, suggestion=spot.fix)
