"""A message that found no Redis is sent later, from the database: nobody's request fails for it, and nothing waits."""

from uuid import UUID

import orjson
import pytest
import redis

from environments.models import Host
from pipelines.models import Attempt, Stage
from pipelines.services import dispatch, launch, observe
from pipelines.states import StageStatus
from platform_site import valkey
from tests.harness import wait_until
from tests.people import program

from . import builders

pytestmark = pytest.mark.django_db(transaction=True)


def sent(server: valkey.Server) -> list[UUID]:
    """The attempts whose messages wait for a worker."""
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        return [UUID(orjson.loads(message)["args"][0]) for message in client.hvals("anneal:default.msgs")]


def test_the_request_succeeds_and_the_stage_is_sent_once_redis_is_back(
    machine: Host, valkey_server: valkey.Server
) -> None:
    valkey_server.stop()
    try:
        body = {"name": "p", "start": True, "stages": [{"name": "a", "task": "noop"}]}
        made = program(builders.person()).post("/api/v1/pipelines/", body, format="json")
        assert made.status_code == 201
        assert dispatch.dispatch() == 1
    finally:
        valkey_server.start()
    stage = Stage.objects.get()
    attempt = Attempt.objects.get()
    assert (stage.status, sent(valkey_server)) == (StageStatus.STARTING, [])

    def look() -> list[UUID]:
        observe.observe_host(machine.pk)
        return sent(valkey_server)

    wait_until(lambda: look() == [attempt.pk])
    assert launch.launch(attempt.pk)
    stage.refresh_from_db()
    assert (stage.status, Attempt.objects.count()) == (StageStatus.COMPLETED, 1)
