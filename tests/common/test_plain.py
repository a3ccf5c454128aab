"""Rows read and written by plain equality are those that the ORM reads and writes."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from monitoring.models import Diagnosis, Segment, Stream
from platform_site.common import plain
from platform_site.common.models import Project

pytestmark = pytest.mark.django_db

CHANGES: dict[str, Any] = {
    "name": "'\"%s\\ é",
    "learnt": {"runs": 3, "rules": {"a": [1.5, None, "x"]}},
    "reach": None,
    "names": ["train/loss", "train/grad_norm"],
    "last_step": 2**53,
    "pace_s": 0.25,
    "has_anomaly": True,
    "updated_at": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    "owner_id": None,
}


@pytest.fixture
def stream() -> Stream:
    project = Project.objects.create(name="p", slug="p")
    return Stream.objects.create(project=project, name="before", warnings=[{"code": "x"}])


def columns(row: Stream | Segment | Diagnosis) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_what_is_written_is_what_the_orm_reads(stream: Stream) -> None:
    Stream.objects.create(project=stream.project, name="another")
    assert plain.update(Stream, {"id": stream.pk, "version": 0}, CHANGES) == 1
    expected = columns(stream) | CHANGES
    stream.refresh_from_db()
    assert columns(stream) == expected
    assert Stream.objects.get(name="another").last_step is None


def test_what_the_orm_wrote_is_read_the_same(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(**CHANGES)
    [found] = plain.select(Stream, {"id": stream.pk})
    stream.refresh_from_db()
    assert columns(found) == columns(stream)
    assert found.project == stream.project
    found.name = "after"
    found.save()
    assert Stream.objects.get().name == "after"


def test_a_row_that_changed_meanwhile_is_not_written(stream: Stream) -> None:
    Stream.objects.filter(pk=stream.pk).update(version=1)
    assert plain.update(Stream, {"id": stream.pk, "version": 0}, {"name": "late"}) == 0
    assert Stream.objects.get().name == "before"


def test_many_come_in_their_order_and_none_as_none(stream: Stream) -> None:
    for attempt in (2, 1, 3):
        Segment.objects.create(stream=stream, attempt=attempt, path="/x")
    found = plain.select(Segment, {"stream_id": stream.pk}, order=["attempt"])
    assert [segment.attempt for segment in found] == [1, 2, 3]
    assert plain.select(Segment, {"stream_id": uuid.uuid4()}) == []


def test_a_row_is_saved_whether_it_is_there_or_not(stream: Stream) -> None:
    plain.save(Diagnosis(stream=stream, state={"upto": 1}))
    [known] = plain.select(Diagnosis, {"stream_id": stream.pk})
    known.state, known.asked = {"upto": 2}, 5
    plain.save(known)
    assert columns(Diagnosis.objects.get()) == columns(known)


def test_a_lock_is_asked_for_where_the_database_has_them(stream: Stream) -> None:
    with CaptureQueriesContext(connection) as asked, transaction.atomic():
        plain.select(Stream, {"id": stream.pk}, lock=True)
    locks = [query["sql"] for query in asked if query["sql"].endswith(" FOR UPDATE")]
    assert len(locks) == connection.features.has_select_for_update


def test_any_of_several_values_will_do(stream: Stream) -> None:
    for attempt in (1, 2, 3):
        Segment.objects.create(stream=stream, attempt=attempt, path="/x")
    found = plain.select(Segment, {"stream": stream, "attempt": [3, 1]}, order=["-attempt"])
    assert [segment.attempt for segment in found] == [3, 1]
    assert plain.update(Segment, {"attempt": {1, 2}}, {"path": "/y"}) == 2
    assert plain.update(Segment, {"attempt": []}, {"path": "/z"}) == 0
    assert len(plain.select(Segment, {})) == 3


def test_a_column_grows_and_keeps_what_it_has(stream: Stream) -> None:
    changes = {"version": plain.More(2), "last_step": plain.Unless(7), "target_step": plain.Unless(8)}
    Stream.objects.update(version=3, target_step=1)
    plain.update(Stream, {"id": stream.pk}, changes)
    stream.refresh_from_db()
    assert (stream.version, stream.last_step, stream.target_step) == (5, 7, 1)
    Stream.objects.update(last_step=None)
    Stream.objects.filter(pk=stream.pk).update(**plain.expressions({**changes, "name": "by the ORM"}))
    stream.refresh_from_db()
    assert (stream.version, stream.last_step, stream.target_step, stream.name) == (7, 7, 1, "by the ORM")
