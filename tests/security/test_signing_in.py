"""Guessing passwords ends soon, by account and by address, and nobody talks their way around it."""

from datetime import timedelta

import pytest
import time_machine
from django.conf import settings as django_settings
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from platform_site.common.addresses import client_address
from platform_site.common.models import AuditEvent, User
from tests import people

pytestmark = pytest.mark.django_db

LIMIT = django_settings.AXES_FAILURE_LIMIT


def guess(name: str, password: str, address: str = "192.0.2.1", **headers: str) -> User | None:
    request: HttpRequest = RequestFactory().post("/login/", REMOTE_ADDR=address, **headers)
    return authenticate(request, username=name, password=password)


def test_an_account_is_closed_after_some_guesses_from_many_addresses() -> None:
    people.charlie()
    for number in range(LIMIT):
        assert guess("charlie", "wrong", f"192.0.2.{number}") is None
    assert guess("charlie", people.PASSWORD, "198.51.100.7") is None


def test_an_address_is_closed_after_some_guesses_at_many_accounts() -> None:
    people.charlie()
    for number in range(LIMIT):
        guess(f"user{number}", "wrong")
    assert guess("charlie", people.PASSWORD) is None
    assert guess("charlie", people.PASSWORD, "198.51.100.7") is not None


@pytest.mark.parametrize(
    "header", ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_CLIENT_IP", "HTTP_TRUE_CLIENT_IP"]
)
def test_a_spoofed_address_has_no_effect(header: str) -> None:
    people.charlie()
    for number in range(LIMIT):
        guess(f"user{number}", "wrong", **{header: f"203.0.113.{number}"})
    assert guess("charlie", people.PASSWORD, **{header: "203.0.113.99"}) is None
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", **{header: "203.0.113.99"})
    assert client_address(request) == "192.0.2.1"


def test_signing_in_to_an_own_account_buys_no_new_guesses() -> None:
    people.charlie()
    people.alice()
    for _ in range(LIMIT - 1):
        guess("charlie", "wrong")
    assert guess("alice", people.PASSWORD) is not None
    guess("charlie", "wrong")
    assert guess("charlie", people.PASSWORD) is None


def test_the_door_opens_again_though_somebody_keeps_knocking() -> None:
    people.charlie()
    for _ in range(LIMIT):
        guess("charlie", "wrong")
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        guess("charlie", "wrong")
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert guess("charlie", people.PASSWORD) is not None


def test_the_sign_in_page_answers_429_when_closed() -> None:
    people.charlie()
    client = Client(raise_request_exception=False)
    address = reverse("login")
    for _ in range(LIMIT):
        response = client.post(address, {"username": "charlie", "password": "wrong"})
    assert response.status_code == 429
    response = client.post(address, {"username": "charlie", "password": people.PASSWORD})
    assert response.status_code == 429
    assert django_settings.SESSION_COOKIE_NAME not in client.cookies


def test_signing_in_and_out_is_recorded_with_the_address() -> None:
    people.alice()
    client = Client(REMOTE_ADDR="192.0.2.55", HTTP_X_FORWARDED_FOR="203.0.113.9")
    client.post(reverse("login"), {"username": "alice", "password": people.PASSWORD})
    client.post(reverse("logout"))
    found = list(AuditEvent.objects.order_by("id").values_list("action", "actor_name", "address"))
    assert found == [("user.login", "alice", "192.0.2.55"), ("user.logout", "alice", "192.0.2.55")]


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    people.alice()
    client = Client()
    client.post(reverse("login"), {"username": "alice", "password": people.PASSWORD})
    cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] in {"Lax", "Strict"}


def test_the_session_key_changes_at_sign_in() -> None:
    people.alice()
    client = Client()
    client.session["planted"] = True
    session = client.session
    session.save()
    before = session.session_key
    client.cookies[django_settings.SESSION_COOKIE_NAME] = before
    client.post(reverse("login"), {"username": "alice", "password": people.PASSWORD})
    assert client.cookies[django_settings.SESSION_COOKIE_NAME].value != before


def test_nobody_is_sent_to_another_site_after_signing_in() -> None:
    people.alice()
    data = {"username": "alice", "password": people.PASSWORD}
    response = Client().post(reverse("login") + "?next=https://evil.example/", data)
    assert response.status_code == 302
    assert not response.headers["Location"].startswith(("http", "//"))
