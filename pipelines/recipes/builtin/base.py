"""What every installation starts with: recipes that train for real on two cores, and their data."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.recipes.spec import Json, RecipeSpec


@dataclass(frozen=True)
class BuiltinDataset:
    """A dataset made by code. `content` makes its bytes, the same on every machine."""

    slug: str
    name: str
    kind: str
    description: str
    content: Callable[[], bytes]


@dataclass(frozen=True)
class BuiltinRecipe:
    """A recipe that ships with the platform."""

    slug: str
    name: str
    description: str
    algorithm: str
    trainer: str
    base_model: str
    dataset: str
    params: dict[str, Json]

    @property
    def spec(self) -> RecipeSpec:
        return RecipeSpec(self.slug, self.algorithm, self.trainer, self.base_model, self.params)
