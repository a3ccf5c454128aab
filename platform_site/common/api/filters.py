"""Filters of lists that answer a wrong question with 400 instead of with everything.

class JobFilter(StrictFilterSet):
    status = StatusFilter(field_name="stage__status", choices=StageStatus)

class Jobs(ApiListView):
    filterset_class = JobFilter
    search_fields = ["name"]
    ordering_fields = ["created_at", "name"]     # nothing else can be ordered by
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.fields import ChoiceField
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.request import Request

from ..errors import BadRequest
from .nearest import unknown

LIST_PARAMETERS = frozenset({"limit", "offset", "search", "ordering", "format"})
LONGEST_SEARCH = 200


class _CaselessField(ChoiceField):  # type: ignore[misc]  # django-filter has no types
    def to_python(self, value: Any) -> str:
        text = super().to_python(value)
        return text.strip().lower() if isinstance(text, str) else text


class StatusFilter(django_filters.ChoiceFilter):  # type: ignore[misc]  # no types
    """One of `choices` in any case. An enum is taken as the list of its values."""

    field_class = _CaselessField

    def __init__(self, *args: Any, choices: type[enum.StrEnum] | Iterable[Any], **kwargs: Any) -> None:
        pairs = [(item.value, item.value) for item in choices] if isinstance(choices, type) else list(choices)
        kwargs.setdefault("empty_label", None)
        super().__init__(*args, choices=pairs, **kwargs)


class StrictFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # no types
    """Refuses parameters nobody knows: a mistyped filter would otherwise list everything."""

    def is_valid(self) -> bool:
        refuse_unknown(self.data or {}, set(self.filters) | LIST_PARAMETERS)
        return bool(super().is_valid())


def refuse_unknown(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises BadRequest naming every query parameter that is not in `known`."""
    names = set(known)
    problems = {name: unknown(name, names) for name in given if name not in names}
    if problems:
        first = next(iter(problems))
        raise BadRequest(f"{first}: {problems[first]}", problems, code="unknown_parameter")


class Filters(DjangoFilterBackend):  # type: ignore[misc]  # no types
    """django-filter's backend; a view without a filter set takes no filters at all."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        if not getattr(view, "filterset_class", None):
            extra = set(getattr(view, "extra_parameters", ()))
            refuse_unknown(request.query_params, LIST_PARAMETERS | extra)
        found: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return found


class Search(SearchFilter):
    """`?search=`, bounded, on the view's `search_fields`."""

    def get_search_terms(self, request: Request) -> list[str]:
        if len(request.query_params.get(self.search_param, "")) > LONGEST_SEARCH:
            problem = _("Search for at most {most} characters.").format(most=LONGEST_SEARCH)
            raise BadRequest(f"search: {problem}", {"search": problem})
        terms: list[str] = super().get_search_terms(request)
        return terms


class Ordering(OrderingFilter):
    """`?ordering=name,-created_at`, on the view's `ordering_fields` alone."""

    def get_default_valid_fields(
        self, queryset: QuerySet[Any], view: Any, context: Mapping[str, Any] | None = None
    ) -> list[tuple[str, str]]:
        """Without a list of its own a view cannot be ordered at all: its model's fields are no offer."""
        return []

    def remove_invalid_fields(
        self, queryset: QuerySet[Any], fields: Iterable[str], view: Any, request: Request
    ) -> list[str]:
        known = {name for name, _label in self.get_valid_fields(queryset, view, {"request": request})}
        wanted = [field for field in fields if field]
        for field in wanted:
            if field.removeprefix("-") not in known:
                problem = unknown(field.removeprefix("-"), known)
                raise BadRequest(f"ordering: {field}: {problem}", {"ordering": f"{field}: {problem}"})
        return wanted
