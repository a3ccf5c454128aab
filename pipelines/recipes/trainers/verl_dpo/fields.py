"""What people tune in DPO beside what they tune in SFT."""

from typing import Final

from pipelines.recipes.fields import Field, Group
from pipelines.recipes.spec import gettext_noop

GROUP: Final = Group(
    gettext_noop("Preferences"),
    (
        Field(
            "dpo.beta",
            gettext_noop("Beta"),
            gettext_noop("How strongly the model is held to where it began. 0.1 is usual; less lets it go further."),
        ),
        Field(
            "dpo.loss_type",
            gettext_noop("Loss"),
            gettext_noop("sigmoid is DPO itself; robust takes wrong labels into account; ipo overfits less."),
        ),
        Field(
            "dpo.label_smoothing",
            gettext_noop("Label smoothing"),
            gettext_noop("The share of pairs that are probably the wrong way round."),
        ),
        Field(
            "dpo.sft_weight",
            gettext_noop("Weight of SFT"),
            gettext_noop(
                "Also learns the chosen answers themselves, so that they do not become unlikely. 0: not at all."
            ),
        ),
    ),
)
