"""Which of a pipeline's stages its page lists: all of a small one; of a large one those that its address asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.core.paginator import Page, Paginator
from django.http import QueryDict

from ..models import Stage
from ..pictures import Count, Folded, Picture, counted

PAGE_SIZE: Final = 50
KEPT: Final = ("fold", "state", "search", "page")


@dataclass(frozen=True)
class StageList:
    """`counts` are those of all statuses before `state` was asked for; `kept` is what links to a stage take along."""

    page: Page[Stage]
    counts: list[Count]
    total: int
    fold: Folded | None
    state: str
    search: str
    kept: str

    @property
    def stages(self) -> list[Stage]:
        return list(self.page.object_list)

    @property
    def filtered(self) -> bool:
        return bool(self.fold or self.state or self.search)


def listed(stages: Sequence[Stage], picture: Picture, asked: QueryDict) -> StageList:
    """`?fold=` the name of the first of many that are drawn as one, `?state=` a status, `?search=` part of a name,
    `?page=`. A pipeline whose graph is not folded is listed whole, whatever the address says."""
    if not picture.folds:
        return StageList(Paginator(stages, max(1, len(stages))).page(1), [], len(stages), None, "", "", "")
    state, search = asked.get("state", "").strip().lower(), asked.get("search", "").strip()
    fold = next((found for found in picture.folds if found.first.name == asked.get("fold")), None)
    found = [stage for stage in (fold.stages if fold else stages) if search.lower() in stage.name]
    counts = counted(found)
    if state:
        found = [stage for stage in found if stage.status == state]
    kept = QueryDict(mutable=True)
    kept.update({name: str(asked[name]) for name in KEPT if asked.get(name)})
    return StageList(
        page=Paginator(found, PAGE_SIZE).get_page(asked.get("page")),
        counts=counts,
        total=sum(count.n for count in counts),
        fold=fold,
        state=state,
        search=search,
        kept=kept.urlencode(),
    )
