"""What the page of a host offers before its set-up, and what it says of one that has no environment."""

import pytest
from django.test import Client
from django.utils import timezone

from environments.models import Host
from environments.services import hosts as services
from pipelines.models import Stage
from tests import people
from tests.pipelines import builders

pytestmark = pytest.mark.django_db

GPU = {"index": 0, "name": "H100", "memory": 80 << 30, "driver": "550.1"}
HAS_ALL = {"torch": "2.13.0", "verl": "0.9.1"}
WHERE = {"kind": Host.Kind.SSH, "address": "gpu-1.example.org", "user": "trainer"}


def seen(**facts: object) -> Host:
    """A host that was checked."""
    found = {"gpus": [], "training": {}, **facts}
    return builders.host("gpu-1", host_key="ssh-ed25519 AAAA", facts=found, facts_at=timezone.now(), **WHERE)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"gpus": [GPU]}, "Automatic: CUDA"),
        ({}, "Automatic: CPU"),
        ({"gpus": [GPU], "training": HAS_ALL}, "Automatic: as installed"),
    ],
)
def test_without_a_choice_it_is_what_suits_the_machine_and_the_page_says_which(
    client: Client, facts: dict[str, object], told: str
) -> None:
    seen(**facts)
    client.force_login(people.charlie())
    page = client.get("/hosts/gpu-1/").content.decode()
    assert page.count("<select") == 1
    assert f'<option value="">{told}</option>' in page
    client.post("/hosts/gpu-1/setup/", {"packages": ""})
    assert Stage.objects.get().params == {"host": "gpu-1"}


@pytest.mark.parametrize("packages", ["cpu", "cuda"])
def test_cpu_or_cuda_is_chosen_on_the_page(client: Client, packages: str) -> None:
    seen()
    client.force_login(people.charlie())
    assert f'<option value="{packages}">' in client.get("/hosts/gpu-1/").content.decode()
    answer = client.post("/hosts/gpu-1/setup/", {"packages": packages})
    stage = Stage.objects.get()
    assert answer.headers["Location"] == f"/pipelines/{stage.pipeline_id}/"
    assert stage.params == {"host": "gpu-1", "packages": packages}
    assert "<select" not in client.get("/hosts/gpu-1/").content.decode(), "it is being set up"


def test_packages_of_no_kind_are_refused(client: Client) -> None:
    seen()
    client.force_login(people.charlie())
    page = client.post("/hosts/gpu-1/setup/", {"packages": "rocm"}, follow=True).content.decode()
    assert "cpu or cuda; without it what the machine has." in page
    assert not Stage.objects.exists()


def test_only_an_administrator_is_offered_a_choice(client: Client) -> None:
    seen()
    client.force_login(people.bob())
    assert "<select" not in client.get("/hosts/gpu-1/").content.decode()


def test_the_page_of_a_host_sends_nobody_to_the_page_of_the_host(client: Client) -> None:
    client.force_login(people.charlie())

    def told() -> str:
        page = client.get("/hosts/gpu-1/").content.decode()
        assert "its page" not in page
        assert "host's page" not in page
        return page

    host = builders.host("gpu-1", **WHERE)
    assert "It was not checked yet: check it first." in told()
    host.host_key = "ssh-ed25519 AAAA"
    host.save()
    services.begin_check(host)
    environment = told().split('id="environment-title"')[1].split("</section>")[0]
    assert "It is being checked." in environment
    assert "check it first" not in environment
    host.facts, host.facts_at, host.checking_since = {"gpus": [], "training": {}}, timezone.now(), None
    host.save()
    assert "There is no training environment yet: set one up." in told()
    missing = {"name": "verl", "status": "error", "message": "verl is not installed"}
    told_of_it = {"ok": False, "kind": "cpu", "python": "/p", "torch_build": "cpu", "checks": [missing], "wanted": ""}
    host.facts, host.environment, host.environment_at = {**host.facts, "training": HAS_ALL}, told_of_it, timezone.now()
    host.save()
    assert "Runs go on as they are, until an administrator brings it up to date." in told()
