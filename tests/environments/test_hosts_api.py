"""Hosts over the API and in the admin: what goes in, and that nothing secret comes out."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from environments.models import Host
from environments.services import hosts as services
from environments.transports.secrets import Secret
from pipelines.services import setup_host
from platform_site.common.errors import NotFound
from platform_site.common.models import AuditEvent, User
from tests import people
from tests.pipelines import builders
from tests.pipelines.conftest import asked
from tests.ssh import sshd
from tests.ssh.hosts import MakeHost

__all__ = ["asked"]

pytestmark = pytest.mark.django_db

PLANTED = "planted-secret-8471"
NEW = {"name": "gpu-1", "address": "gpu-1.example.org", "user": "trainer"}


@pytest.fixture
def charlie() -> APIClient:
    builders.project()
    client = APIClient()
    client.force_login(people.charlie())
    return client


def post(client: APIClient, url: str, body: dict[str, Any]) -> Any:
    return client.post(f"/api/v1/{url}", body, format="json")


def test_a_host_is_added_and_its_secret_is_only_known_to_be_there(charlie: APIClient) -> None:
    made = post(charlie, "hosts/", {**NEW, "password": PLANTED})
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["name"], told["port"], told["kind"], told["has_credentials"]) == ("gpu-1", 22, "ssh", True)
    assert told["training"]["status"] == "missing"
    host = Host.objects.get()
    assert PLANTED not in host.secret
    assert Secret.opened(host.secret).password == PLANTED
    seen = [
        made.content,
        charlie.get("/api/v1/hosts/").content,
        charlie.get("/api/v1/hosts/gpu-1/").content,
        charlie.get("/hosts/gpu-1/").content,
        charlie.get("/hosts/gpu-1/edit/").content,
        charlie.get(f"/admin/environments/host/{host.pk}/change/").content,
        json.dumps(list(AuditEvent.objects.values("action", "details")), default=str).encode(),
    ]
    assert [PLANTED.encode() in one for one in seen] == [False] * len(seen)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Gpu 1"),
        ("name", "setup"),
        ("address", "-oProxyCommand=id"),
        ("address", "a b"),
        ("address", "$(id)"),
        ("address", "127.0.0.1:2222"),
        ("address", "[::1]"),
        ("address", "::1::2"),
        ("address", "trainer@gpu-1"),
        ("address", "ssh://gpu-1"),
        ("user", "root;id"),
        ("user", "-l"),
        ("root", "relative"),
        ("root", "/a/../b"),
        ("root", "/a\nb"),
        ("python", "python3; id"),
        ("port", 0),
        ("slots", 0),
        ("private_key", "not a key"),
        ("private_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq trainer@gpu-1"),
        ("secret", "x"),
        ("host_key", "ssh-ed25519 AAAA"),
    ],
)
def test_what_could_not_be_is_refused_at_its_field(charlie: APIClient, field: str, value: Any) -> None:
    answer = post(charlie, "hosts/", {**NEW, field: value})
    assert answer.status_code in (400, 422), answer.content
    assert field in answer.json()["error"]["fields"]
    assert not Host.objects.exists()


def test_all_that_is_wrong_is_told_at_once(charlie: APIClient, client: Client) -> None:
    wrong = {
        "name": "Gpu 1", "address": "a b", "user": "-l", "root": "relative", "python": "python3",
        "private_key": "not a key", "labels": "H100 a/b", "slots": 1, "port": 22,
    }  # fmt: skip
    told = {"name", "address", "user", "root", "python", "private_key", "labels"}
    answer = post(charlie, "hosts/", {**wrong, "labels": ["H100"]})
    assert (answer.status_code, set(answer.json()["error"]["fields"])) == (422, told)
    client.force_login(User.objects.get())
    refused = client.post("/hosts/new/", {**wrong, "slots": 0, "port": "many"})
    assert refused.status_code == 422
    errors = refused.context["form"].errors
    assert set(errors) == told | {"slots", "port"}
    assert all(len(said) == 1 for said in errors.values()), "each is told once"
    assert not Host.objects.exists()


def test_a_form_tells_of_other_hosts_with_the_rest(charlie: APIClient, client: Client) -> None:
    assert post(charlie, "hosts/", NEW).status_code == 201
    client.force_login(User.objects.get())
    refused = client.post("/hosts/new/", {**NEW, "port": 22, "slots": 0, "python": "python3"})
    errors = refused.context["form"].errors
    assert set(errors) == {"name", "address", "slots", "python"}
    assert "There is a host of this name already." in errors["name"]
    form = {**NEW, "port": 22, "slots": 0, "root": "relative", "revision": 0}
    edited = client.post("/hosts/gpu-1/edit/", form)
    assert set(edited.context["form"].errors) == {"slots", "root"}
    admin = client.post("/admin/environments/host/add/", {**NEW, "slots": 0, "port": 22, "python": "python3"})
    assert {"name", "address", "slots", "python"} <= set(admin.context["adminform"].form.errors)


@pytest.mark.parametrize("kind", ["ssh", "ray"])
def test_labels_are_written_as_words_on_the_form_of_either_kind(client: Client, kind: str) -> None:
    builders.project()
    client.force_login(people.charlie())
    over_ssh = {**NEW, "port": 22}
    ray = {"name": "gpu-1", "address": "http://127.0.0.1:8265", "root": "/mnt/shared", "python": "/opt/python"}
    form = {**(over_ssh if kind == "ssh" else ray), "slots": 1, "enabled": "on"}
    url = f"/hosts/new/?kind={kind}"
    refused = client.post(url, {**form, "labels": "h100, Big_Disk"})
    assert set(refused.context["form"].errors) == {"labels"}
    assert 'value="h100, Big_Disk"' in refused.content.decode()
    assert client.post(url, {**form, "labels": "h100, big-disk  h100"}).status_code == 302
    assert Host.objects.get().labels == ["h100", "big-disk"]
    edit = client.get("/hosts/gpu-1/edit/").content.decode()
    assert 'value="h100, big-disk"' in edit
    assert '<span class="tag">big-disk</span>' in client.get("/hosts/gpu-1/").content.decode()
    client.post("/hosts/gpu-1/edit/", {**form, "labels": "", "revision": 0})
    assert Host.objects.get().labels == []


def test_a_name_is_taken_once(charlie: APIClient) -> None:
    assert post(charlie, "hosts/", NEW).status_code == 201
    assert post(charlie, "hosts/", NEW).status_code == 409


@pytest.mark.parametrize("address", ["::1", "2001:db8::5", "fe80::1%eth0", "192.0.2.7"])
def test_an_address_of_either_kind_is_taken_and_shown_with_its_port(charlie: APIClient, address: str) -> None:
    assert post(charlie, "hosts/", {**NEW, "address": address}).status_code == 201
    place = f"trainer@[{address}]:22" if ":" in address else f"trainer@{address}:22"
    assert place in charlie.get("/hosts/gpu-1/").content.decode()


def test_a_machine_is_added_once_by_whatever_name(charlie: APIClient) -> None:
    """In two rows its slots and GPUs would be counted twice."""
    assert post(charlie, "hosts/", {**NEW, "root": "/data/one"}).status_code == 201
    for root in ("/data/one", "/data/one/", ""):
        answer = post(charlie, "hosts/", {**NEW, "name": "gpu-2", "root": root})
        assert answer.status_code == 409
        assert "Host gpu-1 leads there already" in answer.json()["error"]["message"]
    assert post(charlie, "hosts/", {**NEW, "name": "gpu-2", "root": "/data/two"}).status_code == 201
    moved = charlie.patch("/api/v1/hosts/gpu-2/", {"root": "/data/one"}, format="json")
    assert (moved.status_code, Host.objects.get(name="gpu-2").root) == (409, "/data/two")
    assert charlie.patch("/api/v1/hosts/gpu-2/", {"slots": 2}, format="json").status_code == 200


def test_the_public_half_of_a_key_is_told_as_such(charlie: APIClient) -> None:
    answer = post(charlie, "hosts/", {**NEW, "private_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq trainer@gpu-1"})
    assert "public half" in answer.json()["error"]["fields"]["private_key"][0]


def test_a_mask_is_never_saved_back(charlie: APIClient) -> None:
    post(charlie, "hosts/", {**NEW, "password": PLANTED})
    for mask in ("***", "••••••••", ""):
        answer = charlie.patch("/api/v1/hosts/gpu-1/", {"slots": 2, "password": mask}, format="json")
        assert answer.status_code in (200, 400)
    assert Secret.opened(Host.objects.get().secret).password == PLANTED


@pytest.mark.parametrize(
    ("change", "keeps_key", "keeps_secret"),
    [
        ({"slots": 3}, True, True),
        ({"user": "other"}, True, False),
        ({"address": "elsewhere.example.org"}, False, False),
        ({"port": 2222}, False, False),
        ({"port": 2222, "password": "another"}, False, True),
    ],
)
def test_what_was_meant_for_one_machine_is_never_sent_to_another(
    charlie: APIClient, change: dict[str, Any], keeps_key: bool, keeps_secret: bool
) -> None:
    post(charlie, "hosts/", {**NEW, "password": PLANTED})
    Host.objects.update(host_key="ssh-ed25519 AAAA")
    assert charlie.patch("/api/v1/hosts/gpu-1/", change, format="json").status_code == 200
    host = Host.objects.get()
    assert (bool(host.host_key), bool(host.secret)) == (keeps_key, keeps_secret)


@pytest.mark.parametrize(
    ("kind", "address"), [(Host.Kind.SSH, "gpu-1.example.org"), (Host.Kind.RAY, "http://127.0.0.1:8265")]
)
def test_a_change_leaves_alone_what_others_wrote_meanwhile(kind: Host.Kind, address: str) -> None:
    place = {"address": address, "root": "/mnt/shared", "python": "/opt/venv/bin/python"}
    seen = builders.host("gpu-1", kind=kind, user="trainer", facts={"home": "/old"}, **place)
    now = timezone.now()
    by_others = {"slots": 3, "unreachable_since": now, "observer_until": now, "facts": {"home": "/new"}}
    Host.objects.update(**by_others)
    services.update(people.charlie(), seen, {"enabled": False})
    host = Host.objects.get()
    assert not host.enabled
    assert {name: getattr(host, name) for name in by_others} == by_others


def test_a_host_that_was_removed_meanwhile_does_not_come_back() -> None:
    seen = builders.host("gpu-1", kind=Host.Kind.SSH, address="gpu-1.example.org", user="trainer")
    Host.objects.all().delete()
    with pytest.raises(NotFound):
        services.update(people.charlie(), seen, {"slots": 2})
    assert not Host.objects.exists()


def test_a_key_with_a_passphrase_needs_it(charlie: APIClient, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(key)], check=True)
    body = {**NEW, "private_key": key.read_text()}
    refused = post(charlie, "hosts/", body)
    assert refused.status_code == 422
    assert "passphrase" in refused.json()["error"]["fields"]
    assert post(charlie, "hosts/", {**body, "passphrase": "open sesame"}).status_code == 201


def test_keys_of_the_platform_are_rotated_and_secrets_with_them(settings: LazySettings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FERNET_KEYS = [old]
    host = builders.host("gpu-1", kind=Host.Kind.SSH, secret=Secret(password=PLANTED).sealed())
    settings.FERNET_KEYS = [new, old]
    call_command("rotate_secrets")
    settings.FERNET_KEYS = [new]
    host.refresh_from_db()
    assert Secret.opened(host.secret).password == PLANTED


def test_this_machine_can_neither_be_moved_nor_forgotten(charlie: APIClient) -> None:
    builders.host()
    assert charlie.patch("/api/v1/hosts/local/", {"slots": 2}, format="json").status_code == 200
    assert charlie.patch("/api/v1/hosts/local/", {"address": "a"}, format="json").status_code == 422
    assert post(charlie, "hosts/local/enroll/", {}).status_code == 422
    assert charlie.delete("/api/v1/hosts/local/").status_code == 409


def test_a_host_with_runs_is_kept(charlie: APIClient) -> None:
    post(charlie, "hosts/", NEW)
    stage = builders.stage(builders.StageStatus.COMPLETED)
    stage.attempts.update(host=Host.objects.get())
    assert charlie.delete("/api/v1/hosts/gpu-1/").status_code == 409
    stage.attempts.update(host=None)
    assert charlie.delete("/api/v1/hosts/gpu-1/").status_code == 204


def test_those_that_do_not_answer_stand_first(charlie: APIClient, django_assert_max_num_queries: Any) -> None:
    for n in range(12):
        builders.host(f"host-{n:02}", kind=Host.Kind.SSH, address="a", user="u")
    Host.objects.filter(name="host-07").update(unreachable_since=timezone.now())
    with django_assert_max_num_queries(12):
        names = [one["name"] for one in charlie.get("/api/v1/hosts/").json()["results"]]
    assert names[0] == "host-07"
    with django_assert_max_num_queries(12):
        page = charlie.get("/hosts/").content.decode()
    assert page.index("host-07") < page.index("host-00")


@pytest.mark.ssh
def test_the_steps_from_an_address_to_a_host_that_answers(
    charlie: APIClient, server: sshd.Sshd, account: sshd.Account
) -> None:
    body = {"name": "far", "address": "127.0.0.1", "port": server.port, "user": account.name}
    assert post(charlie, "hosts/", {**body, "private_key": account.private_key}).status_code == 201
    early = post(charlie, "hosts/far/check/", {})
    assert early.status_code == 503
    assert "not enrolled" in early.json()["error"]["message"]

    shown = post(charlie, "hosts/far/enroll/", {}).json()
    assert (shown["enrolled"], shown["changed"], shown["kind"]) == (False, False, "ssh-ed25519")
    wrong = post(charlie, "hosts/far/enroll/", {"fingerprint": "SHA256:somebody-elses"})
    assert wrong.status_code == 409
    assert wrong.json()["error"]["code"] == "key_changed"
    assert post(charlie, "hosts/far/enroll/", {"fingerprint": shown["fingerprint"]}).json()["enrolled"]

    checked = post(charlie, "hosts/far/check/", {}).json()
    assert checked["root"] == f"{account.home}/anneal"
    assert checked["unreachable_since"] is None
    assert checked["last_error"] == ""
    assert checked["facts"]["cpus"] >= 1
    assert checked["facts_at"]
    page = charlie.get("/hosts/far/").content.decode()
    assert shown["fingerprint"] in page
    assert AuditEvent.objects.filter(action="host.enrol").count() == 1


@pytest.mark.ssh
def test_the_same_steps_on_pages(client: Client, server: sshd.Sshd, account: sshd.Account) -> None:
    builders.project()
    client.force_login(people.charlie())
    form = {
        "name": "far", "address": "127.0.0.1", "port": server.port, "user": account.name, "slots": 2,
        "private_key": account.private_key, "enabled": "on",
    }  # fmt: skip
    assert client.post("/hosts/new/", {**form, "address": "a b"}).status_code == 422
    assert client.post("/hosts/new/", form).headers["Location"] == "/hosts/far/"
    assert "Show the key" in client.get("/hosts/far/").content.decode()
    page = client.get("/hosts/far/enroll/").content.decode()
    fingerprint = page.split('name="fingerprint" value="')[1].split('"')[0]
    assert client.post("/hosts/far/enroll/", {"fingerprint": "SHA256:other"}).status_code == 409
    assert client.post("/hosts/far/enroll/", {"fingerprint": fingerprint}).status_code == 302
    assert client.post("/hosts/far/check/").status_code == 302
    told = client.get("/hosts/far/").content.decode()
    assert "being checked" in told
    assert "Checking…" in told
    setup_host.look(Host.objects.get().pk)
    told = client.get("/hosts/far/").content.decode()
    assert "Check now" in told
    assert "reachable" in told
    assert "Set up" in told


@pytest.mark.parametrize(
    ("kind", "silence"),
    [(Host.Kind.SSH, b""), (Host.Kind.SSH, b"SSH-2.0-OpenSSH_9.9\r\n"), (Host.Kind.RAY, b"")],
    indirect=["silence"],
)
def test_a_host_that_says_nothing_holds_up_no_page(client: Client, silence: int, kind: Host.Kind) -> None:
    """Whoever asked is answered at once; the worker waits, and keeps what hindered it."""
    if kind == Host.Kind.SSH:
        sealed = Secret(password=PLANTED).sealed()
        fields = {
            "address": "127.0.0.1",
            "port": silence,
            "user": "u",
            "secret": sealed,
            "host_key": "ssh-ed25519 AAAA",
        }
    else:
        fields = {"address": f"http://127.0.0.1:{silence}", "root": "/mnt/shared", "python": "/opt/python"}
    host = builders.host("far", kind=kind, **fields)
    client.force_login(people.charlie())
    begun = time.monotonic()
    assert client.post("/hosts/far/check/").status_code == 302
    assert "being checked" in client.get("/hosts/far/").content.decode()
    assert time.monotonic() - begun < 5, "a handshake is waited for 10 s"
    setup_host.look(host.pk)
    host.refresh_from_db()
    assert time.monotonic() - begun > 5, "it was silent indeed"
    assert (host.checking_since, host.facts_at) == (None, None)
    assert host.unreachable_since is not None
    assert host.last_error


@pytest.mark.parametrize("silence", [b"", b"SSH-2.0-OpenSSH_9.9\r\n"], indirect=True)
def test_a_host_that_shows_no_key_is_told_as_such(charlie: APIClient, silence: int) -> None:
    builders.host("far", kind=Host.Kind.SSH, address="127.0.0.1", port=silence, user="u")
    answer = post(charlie, "hosts/far/enroll/", {})
    assert answer.status_code == 503
    assert "far does not answer at 127.0.0.1" in answer.json()["error"]["message"]


@pytest.mark.django_db(transaction=True)
def test_a_program_is_answered_with_what_this_machine_is_and_a_page_has_a_worker_look(
    charlie: APIClient, client: Client, asked: Callable[[], list[int]]
) -> None:
    here = builders.host()
    answer = post(charlie, "hosts/local/check/", {})
    assert (answer.status_code, answer.json()["checking_since"]) == (200, None)
    assert answer.json()["facts"]["cpus"] >= 1
    assert asked() == [here.pk], "its environment is compared soon after"
    Host.objects.update(facts={})
    client.force_login(User.objects.get(username="charlie"))
    client.post("/hosts/local/check/")
    here.refresh_from_db()
    assert here.checking_since
    assert here.facts == {}
    setup_host.look(here.pk)
    here.refresh_from_db()
    assert here.checking_since is None
    assert here.facts["cpus"] >= 1


def test_the_admin_takes_credentials_and_never_shows_them(client: Client) -> None:
    builders.project()
    client.force_login(people.charlie())
    body = {**NEW, "project": builders.project().pk, "port": 22, "slots": 1, "enabled": "on", "password": PLANTED}
    added = client.post("/admin/environments/host/add/", body)
    assert added.status_code == 302, added.content.decode()[:3000]
    host = Host.objects.get()
    assert (host.kind, Secret.opened(host.secret).password) == (Host.Kind.SSH, PLANTED)
    changed = {**body, "password": "", "slots": 5}
    assert client.post(f"/admin/environments/host/{host.pk}/change/", changed).status_code == 302
    host.refresh_from_db()
    assert (host.slots, Secret.opened(host.secret).password) == (5, PLANTED)
    wrong = client.post(f"/admin/environments/host/{host.pk}/change/", {**changed, "address": "$(id)"})
    assert wrong.status_code == 200
    assert "Give a host name" in wrong.content.decode()


@pytest.mark.ssh
def test_a_changed_key_is_told_on_the_page(client: Client, make_host: MakeHost) -> None:
    host = make_host()
    client.force_login(people.charlie())
    Host.objects.filter(pk=host.pk).update(host_key=host.host_key[:-8] + "AAAAAAAA")
    assert "This is not the key that was enrolled" in client.get("/hosts/far/enroll/").content.decode()
