"""The metrics of a run over HTTP. A job and its stream share one uuid."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import orjson
from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import api_schema, clip, export, selectors, unread
from monitoring.key_metrics import SOURCES
from monitoring.models import Segment, Stream
from monitoring.store.lines import MAX_STEP
from monitoring.store.tables import Row
from platform_site.common.api.filters import refuse_unknown
from platform_site.common.api.pagination import DEFAULT_LIMIT, MAX_LIMIT, whole_number
from platform_site.common.api.renderers import Json
from platform_site.common.api.views import ApiView
from platform_site.common.db import released_connections
from platform_site.common.errors import BadRequest, NotFound

MOST_NAMES: Final = 100
MOST_OFFSET: Final = 10**9

_KEY_FIELDS: Final = ("name", "source", "last", "last_step", "low", "low_step", "high", "high_step")
_ORDERINGS: Final = ("last", "-last", "low", "-low", "high", "-high")


def _parameter(name: str, description: str, kind: Any = OpenApiTypes.INT) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description)


_RANGE: Final = [
    _parameter("start_step", "First step, included."),
    _parameter("end_step", "Last step, included."),
    _parameter("attempt", "The whole of one attempt, instead of the series that the attempts make up together."),
]


class FastJson(Json):
    """For answers of plain lists and numbers: series have tens of thousands of them."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data)


class _StreamView(ApiView):
    renderer_classes = (FastJson,)

    def stream(self, request: Request, job: UUID) -> tuple[Stream, list[Segment]]:
        """The run's stream and segments. Raises NotFound for what this user may not see."""
        stream = selectors.streams_for(request.user).filter(pk=job).first()
        if stream is None:
            raise NotFound(_("There is no such run."))
        return stream, selectors.segments(job)


class Metrics(_StreamView):
    @extend_schema(
        operation_id="monitoring_metrics",
        parameters=[
            _parameter("names", "Separated by commas. Without: the names that there are.", OpenApiTypes.STR),
            *_RANGE,
            _parameter("points", "The most points of a series; fewer steps come exactly as logged."),
        ],
        responses={200: api_schema.METRICS},
    )
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"names", "start_step", "end_step", "points", "attempt", "format"})
        names = _names(request)
        start, end = _range(request)
        points = whole_number(request, "points", selectors.DEFAULT_POINTS, low=1, high=selectors.MOST_POINTS)
        stream, segments = self.stream(request, job)
        attempt = _attempt(request, segments)
        found = selectors.series(segments, names, start_step=start, end_step=end, points=points, attempt=attempt)
        body: dict[str, Any] = {
            "job": str(job),
            "resolution": found.resolution,
            "total_steps": found.total_steps,
            "segments": [
                {
                    "attempt": segment.attempt,
                    "resumed_from": segment.resumed_from,
                    "first_step": segment.first_step,
                    "last_step": segment.last_step,
                    "bad_lines": segment.bad_lines,
                }
                for segment in segments
            ],
            "cursor": stream.version,
            "warnings": stream.warnings,
        }
        if names:
            body |= {"series": found.points, "non_finite": found.odd}
        else:
            body["names"] = stream.names
        return Response(body)


class Rows(_StreamView):
    @extend_schema(
        operation_id="monitoring_metrics_rows",
        parameters=[*_RANGE, _parameter("limit", "Rows of one page.")],
        responses={200: api_schema.ROWS},
    )
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"start_step", "end_step", "limit", "attempt", "format"})
        start, end = _range(request)
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)
        _, segments = self.stream(request, job)
        attempt = _attempt(request, segments)
        parts = clip.within(selectors.parts_of(segments, attempt), start, end)
        found = selectors.rows(segments, start_step=start, end_step=end, attempt=attempt, limit=limit + 1)
        page, following = _cut_between_steps(found, limit)
        return Response(
            {
                "count": selectors.total_steps(parts, segments),
                "next": _with_query(request, start_step=following) if following is not None else None,
                "previous": None,
                "results": [export.as_object(row) for row in page],
            }
        )


class Export(_StreamView):
    @extend_schema(
        operation_id="monitoring_metrics_export",
        parameters=[*_RANGE, _parameter("file", "csv, json or parquet.", OpenApiTypes.STR)],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, job: UUID) -> StreamingHttpResponse:
        refuse_unknown(request.query_params, {"file", "start_step", "end_step", "attempt"})
        kind = _one_of(request, "file", export.KINDS, "csv")
        start, end = _range(request)
        stream, segments = self.stream(request, job)
        attempt = _attempt(request, segments)
        rows = selectors.iterate_rows(segments, start_step=start, end_step=end, attempt=attempt)
        media_type, made = export.KINDS[kind]
        response = StreamingHttpResponse(_sent(made(rows, stream.names)), content_type=media_type)
        response["Content-Disposition"] = f'attachment; filename="metrics-{str(job)[:8]}.{kind}"'
        return response


class KeyMetrics(ApiView):
    @extend_schema(
        operation_id="monitoring_key_metrics",
        parameters=[
            _parameter("name", f"One of {', '.join(SOURCES)}.", OpenApiTypes.STR),
            _parameter("ordering", "last, low or high; with - the largest first.", OpenApiTypes.STR),
            _parameter("limit", "Rows of one page."),
            _parameter("offset", "Rows before it."),
        ],
        responses={200: api_schema.KEY_METRICS},
    )
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, {"name", "ordering", "limit", "offset", "format"})
        name = _one_of(request, "name", SOURCES, "loss")
        ordering = _one_of(request, "ordering", _ORDERINGS, "last")
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)
        offset = whole_number(request, "offset", 0, high=MOST_OFFSET)
        found = selectors.key_metrics(request.user, name, ordering)
        count = found.count()
        results = [
            {"job": str(metric.stream_id)} | {field: getattr(metric, field) for field in _KEY_FIELDS}
            for metric in found[offset : offset + limit]
        ]
        return _page(request, results, count=count, limit=limit, offset=offset, more=offset + limit < count)


class Anomalies(_StreamView):
    @extend_schema(
        operation_id="monitoring_metrics_anomalies",
        parameters=[_RANGE[2], _parameter("limit", "Rows of one page."), _parameter("offset", "Rows before it.")],
        responses={200: api_schema.ANOMALIES},
    )
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"attempt", "limit", "offset", "format"})
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)
        offset = whole_number(request, "offset", 0, high=MOST_OFFSET)
        _, segments = self.stream(request, job)
        count, found = selectors.anomalies(segments, attempt=_attempt(request, segments), limit=limit, skip=offset)
        results = [
            {
                "attempt": row.attempt,
                "step": row.step,
                "time": row.time,
                "type": row.anomaly.type,
                "message": row.anomaly.message,
            }
            for row in found
            if row.anomaly is not None
        ]
        return _page(request, results, count=count, limit=limit, offset=offset, more=offset + limit < count)


class BadLines(_StreamView):
    @extend_schema(
        operation_id="monitoring_metrics_bad_lines",
        description="`count` is that of all; the first hundred of each attempt are kept.",
        parameters=[_parameter("limit", "Rows of one page."), _parameter("offset", "Rows before it.")],
        responses={200: api_schema.BAD_LINES},
    )
    def get(self, request: Request, job: UUID) -> Response:
        refuse_unknown(request.query_params, {"limit", "offset", "format"})
        limit = min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)
        offset = whole_number(request, "offset", 0, high=MOST_OFFSET)
        _, segments = self.stream(request, job)
        count, found = selectors.bad_lines(segments, limit=limit + 1, skip=offset)
        results = [
            {
                "attempt": line.segment.attempt,
                "generation": line.generation,
                "offset": line.offset,
                "reason": unread.reason(line),
                "excerpt": line.excerpt,
            }
            for line in found[:limit]
        ]
        return _page(request, results, count=count, limit=limit, offset=offset, more=len(found) > limit)


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Asynchronous, because the server would read a plain iterator to its end before it sends anything."""

    def following() -> bytes | None:
        with released_connections():
            return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece


def _one_of(request: Request, parameter: str, known: Iterable[str], default: str) -> str:
    given = request.query_params.get(parameter, default)
    if given not in known:
        problem = _("There are %(kinds)s.") % {"kinds": ", ".join(known)}
        raise BadRequest(f"{parameter}: {problem}", {parameter: problem})
    return given


def _names(request: Request) -> list[str]:
    text = request.query_params.get("names", "")
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    if len(names) > MOST_NAMES:
        problem = _("Ask for at most %(most)s metrics at a time.") % {"most": MOST_NAMES}
        raise BadRequest(f"names: {problem}", {"names": problem})
    return names


def _range(request: Request) -> tuple[int | None, int | None]:
    start, end = (
        whole_number(request, name, 0, high=MAX_STEP) if request.query_params.get(name) else None
        for name in ("start_step", "end_step")
    )
    if start is not None and end is not None and start > end:
        problem = _("The first step lies after the last one.")
        raise BadRequest(f"start_step: {problem}", {"start_step": problem})
    return start, end


def _attempt(request: Request, segments: Sequence[Segment]) -> int | None:
    if not request.query_params.get("attempt"):
        return None
    attempt = whole_number(request, "attempt", 0, low=1)
    if attempt not in {segment.attempt for segment in segments}:
        problem = _("This run has no attempt %(number)s.") % {"number": attempt}
        raise BadRequest(f"attempt: {problem}", {"attempt": problem})
    return attempt


def _cut_between_steps(rows: list[Row], limit: int) -> tuple[list[Row], int | None]:
    """At most `limit` rows and the step that the next page begins with. Rows of one step (two attempts can have
    logged it) stay together, even where that makes a page longer by one."""
    if len(rows) <= limit:
        return rows, None
    following = rows[limit].step
    page = [row for row in rows[:limit] if row.step < following]
    return (page, following) if page else (rows, following + 1)


def _page(
    request: Request, results: list[dict[str, Any]], *, count: int, limit: int, offset: int, more: bool
) -> Response:
    return Response(
        {
            "count": count,
            "next": _with_query(request, offset=offset + limit) if more else None,
            "previous": _with_query(request, offset=max(0, offset - limit)) if offset else None,
            "results": results,
        }
    )


def _with_query(request: Request, **changes: int) -> str:
    query = request.query_params.copy()
    for name, value in changes.items():
        query[name] = str(value)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


urlpatterns = [
    path("monitoring/<uuid:job>/metrics/", Metrics.as_view(), name="monitoring-metrics"),
    path("monitoring/<uuid:job>/metrics/rows/", Rows.as_view(), name="monitoring-metrics-rows"),
    path("monitoring/<uuid:job>/metrics/export/", Export.as_view(), name="monitoring-metrics-export"),
    path("monitoring/<uuid:job>/metrics/bad-lines/", BadLines.as_view(), name="monitoring-metrics-bad-lines"),
    path("monitoring/key-metrics/", KeyMetrics.as_view(), name="monitoring-key-metrics"),
    path("monitoring/<uuid:job>/metrics/anomalies/", Anomalies.as_view(), name="monitoring-metrics-anomalies"),
]
