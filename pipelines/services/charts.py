"""How somebody wants to see the charts of a recipe's runs: kept in the database, so that it follows them around."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from pipelines.models import ChartLayout, Recipe
from platform_site.common.models import User

MOST_CHARTS: Final = 24
LONGEST_NAME: Final = 200
MOST_SMOOTHING: Final = 0.98


@dataclass(frozen=True)
class Layout:
    """`charts`: names of metrics in their order; None while nobody has chosen, and the page picks."""

    charts: list[str] | None = None
    columns: int = 2
    smoothing: float = 0.0
    scale: str = "linear"
    axis: str = "step"

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Self:
        return cls(**{name: kept[name] for name in cls.__dataclass_fields__ if name in kept})


def layout_for(user: User, recipe: Recipe) -> Layout:
    kept = ChartLayout.objects.filter(user=user, recipe=recipe).values_list("layout", flat=True).first()
    return Layout.of(kept or {})


def keep_layout(user: User, recipe: Recipe, layout: Layout) -> None:
    ChartLayout.objects.update_or_create(user=user, recipe=recipe, defaults={"layout": asdict(layout)})
