"""Work outside of requests gives its database connection back."""

import threading

import pytest
from django.db import connection, connections, transaction

from platform_site.common.db import released_connections
from platform_site.common.models import Project

pytestmark = pytest.mark.django_db(transaction=True)


def in_a_thread(work: object) -> list[object]:
    """What `work` returned, and the raw connection its thread is left with."""
    seen: list[object] = []

    def run() -> None:
        seen.append(work())  # type: ignore[operator]
        seen.extend(wrapper.connection for wrapper in connections.all(initialized_only=True))
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return seen


def test_a_unit_of_work_keeps_no_connection() -> None:
    assert in_a_thread(released_connections()(Project.objects.count)) == [0, None]
    kept = in_a_thread(Project.objects.count)
    assert kept[1] is not None, "or the test shows nothing"


def test_a_failed_unit_of_work_keeps_none_either() -> None:
    @released_connections()
    def fail() -> None:
        Project.objects.count()
        raise ValueError("broken")

    def work() -> str:
        with pytest.raises(ValueError, match="broken"):
            fail()
        return "failed"

    assert in_a_thread(work) == ["failed", None]


def test_inside_a_transaction_of_the_caller_nothing_is_closed() -> None:
    with transaction.atomic():
        Project.objects.create(slug="a", name="A")
        with released_connections():
            Project.objects.create(slug="b", name="B")
        assert connection.connection is not None
        assert Project.objects.count() == 2
    assert Project.objects.count() == 2
