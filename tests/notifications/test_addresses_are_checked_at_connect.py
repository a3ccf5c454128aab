"""Messages reach public addresses alone, whatever an address, a redirect or a name leads to at that moment."""

import ipaddress
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from notifications import sender
from notifications.services import outside
from notifications.services.outside import Message
from platform_site.common.severity import Severity

from .servers import Cut, Mail, Web

pytestmark = pytest.mark.security

MESSAGE = Message("Anneal: it failed", "No room.\n\nhttp://localhost:8000/jobs/1/", Severity.ERROR)
SECRET = "hunter2secret"


@pytest.fixture
def loopback(settings: Settings) -> None:
    settings.NOTIFY_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:9/x",
        "http://localhost:9/x",
        "json://127.9.9.9:9/x",
        "json://2130706433:9/x",
        "json://0.0.0.0:9/x",
        "json://10.0.0.1:9/x",
        "json://172.16.0.1:9/x",
        "json://192.168.1.1:9/x",
        "json://100.64.0.1:9/x",
        "json://169.254.169.254/latest/meta-data/",
        "json://[::1]:9/x",
        "json://[::]:9/x",
        "json://[::ffff:a9fe:a9fe]:9/x",
        "json://[fd00::1]:9/x",
        "json://[fe80::1]:9/x",
        "json://[64:ff9b::7f00:1]:9/x",
        "json://[2002:7f00:1::]:9/x",
        "jsons://127.0.0.1:9/x",
        "xml://127.0.0.1:9/x",
        "form://127.0.0.1:9/x",
        "ntfy://127.0.0.1:9/topic",
        "gotify://127.0.0.1:9/token",
        "mailto://alice:pw@example.org:9?smtp=127.0.0.1&to=bob@example.org",
    ],
)
def test_private_addresses_are_not_connected_to(url: str) -> None:
    outcome = outside.sent(url, MESSAGE)
    assert outcome.code == "address", outcome
    assert not outcome.passes


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9/hook", "127.0.0.1"),
        ("https://localhost/hook", "127.0.0.1"),
        ("json://a.localhost/x", "127.0.0.1"),
        ("json://192.168.1.1:9/x", "192.168.1.1"),
        ("json://[fd00::1]:9/x", "fd00::1"),
        ("mailto://alice:pw@example.org?smtp=10.0.0.1&to=bob@example.org", "10.0.0.1"),
    ],
)
def test_a_private_address_that_is_written_out_is_refused_before_it_is_kept(url: str, told: str) -> None:
    outcome = outside.checked(url)
    assert (outcome.code, outcome.detail) == ("address", told)


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/hook", "http://localhost/hook", "http://1.1.1.1/hook", "http://name.example/hook"]
)
def test_what_is_allowed_or_public_or_has_a_name_is_kept(url: str) -> None:
    assert outside.checked(url).ok


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("::ffff:10.1.1.1", False),
        ("64:ff9b::101:101", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("2001:0:0:0:0:0:f5ff:fffe", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("192.0.2.1", False),
        ("localhost", False),
        ("", False),
        ("1.1.1.1%eth0", False),
    ],
)
def test_which_addresses_are_public(address: str, fine: bool) -> None:
    assert sender.may_reach(address, []) is fine


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    plain = sender.may_reach(str(inner), [])
    for outer in (f"::ffff:{inner}", str(ipaddress.IPv6Address(int(sender.NAT64.network_address) + int(inner)))):
        assert sender.may_reach(outer, []) is plain


@given(st.ip_addresses(network="10.0.0.0/8"))
def test_a_network_that_was_allowed_is_reached(address: ipaddress.IPv4Address) -> None:
    assert not sender.may_reach(str(address), [])
    assert sender.may_reach(str(address), [ipaddress.ip_network("10.0.0.0/8")])


@pytest.mark.usefixtures("loopback")
def test_a_message_arrives_where_a_setting_allows_it() -> None:
    with Web() as web:
        assert outside.sent(web.url(), MESSAGE).ok
        assert outside.sent(f"http://127.0.0.1:{web.port}/hook", MESSAGE).ok
    assert [(one["title"], one["type"]) for one in web.messages] == [(MESSAGE.title, "failure")] * 2
    assert "No room." in web.messages[0]["message"]
    assert [one["path"] for one in web.got] == ["/hook", "/hook"]


@pytest.mark.usefixtures("loopback")
def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed() -> None:
    with Web(address="127.0.0.3") as inner, Web(location=f"http://127.0.0.3:{inner.port}/secret") as outer:
        outcome = outside.sent(outer.url(), MESSAGE)
    assert len(outer.got) == 1
    assert inner.got == []
    assert (outcome.code, outcome.detail) == ("address", "127.0.0.3")


@pytest.mark.usefixtures("loopback")
def test_a_redirect_to_metadata_by_name_or_number_is_not_followed() -> None:
    for location in ("http://169.254.169.254/latest/", "http://[::ffff:169.254.169.254]/", "http://2852039166/"):
        with Web(location=location) as web:
            assert outside.sent(web.url(), MESSAGE).code == "address", location


RESOLVER = """
import runpy, socket, sys
answers = sys.argv[1].split(",")
asked = []
def resolve(host, port, *more, **options):
    socket_answer = answers[min(len(asked), len(answers) - 1)]
    asked.append(host)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (socket_answer, int(port)))]
socket.getaddrinfo = resolve
sys.argv = [sys.argv[2]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def sent_with_resolver(answers: str, url: str, networks: list[str]) -> dict[str, Any]:
    """The real sender, where names resolve to these addresses, one after the other."""
    request = {"mode": "send", "url": url, "title": "T", "body": "B", "severity": 3, "networks": networks}
    done = subprocess.run(
        [sys.executable, "-I", "-c", RESOLVER, answers, str(outside.SENDER)],
        input=json.dumps(request).encode(), capture_output=True, timeout=40, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_name_that_changes_its_address_is_judged_by_the_address_that_is_connected_to() -> None:
    with Web() as good, Web(address="127.0.0.3", location="") as inner:
        url, allowed = f"json://rebind.example:{good.port}/hook", ["127.0.0.1/32"]
        assert sent_with_resolver("127.0.0.1", url, allowed)["code"] == "ok"
        moved = sent_with_resolver("127.0.0.3", f"json://rebind.example:{inner.port}/hook", allowed)
        assert (moved["code"], moved["detail"]) == ("address", "127.0.0.3")
        # Within one message: the first answer is fine, and a redirect to the same name asks again.
        good.location = f"http://rebind.example:{inner.port}/again"
        between = sent_with_resolver("127.0.0.1,127.0.0.3", url, allowed)
        assert between["code"] == "address"
    assert len(good.got) == 2
    assert inner.got == []


@pytest.mark.parametrize(
    "url",
    [
        "exec://ls", "syslog://", "rsyslog://127.0.0.1", "dbus://", "gnome://", "windows://", "macosx://", "file:///etc/passwd",
        "growl://127.0.0.1", "mqtt://127.0.0.1/topic", "smtp://x", "ftp://x", "xbmc://127.0.0.1", "apprise://127.0.0.1/x",
        "snmp://x", "nonsense", "://", "javascript:alert(1)", "irc://127.0.0.1",
    ],
)  # fmt: skip
def test_addresses_of_other_kinds_are_refused(url: str) -> None:
    assert sender.opened(url) == (sender.Answer("scheme"), None)


def test_what_is_refused_is_so_when_it_is_added_and_when_it_is_sent() -> None:
    for url, code in (("exec://ls", "scheme"), ("json://example.org/hook?verify=no", "option")):
        assert outside.checked(url).code == code
        assert outside.sent(url, MESSAGE).code == code


@pytest.mark.parametrize(
    "option",
    ["template=/etc/passwd", "attach=file:///etc/passwd", "pgppub=/etc/passwd", "verify=no", "cto=9999", "retry=99"],
)
def test_options_that_read_files_or_wait_or_check_nothing_are_refused(option: str) -> None:
    found = sender.opened(f"json://example.org/hook?{option}")
    assert found == (sender.Answer("option", option.partition("=")[0]), None)


@pytest.mark.parametrize(
    ("url", "service", "medium"),
    [
        ("https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/aaaaaaaaaaaaaaaaaaaaaaaa", "Slack", "webhook"),
        ("https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyzABCDEFG", "Discord", "webhook"),
        ("mailtos://alice:pw@example.org?to=bob@example.org", "E-Mail", "email"),
        ("https://example.org/hook", "JSON", "webhook"),
    ],
)
def test_an_address_is_known_by_its_service(url: str, service: str, medium: str) -> None:
    outcome = outside.checked(url)
    assert (outcome.ok, outcome.service, outcome.medium) == (True, service, medium)


@pytest.mark.usefixtures("loopback")
def test_a_mail_arrives_and_a_refused_password_is_told_without_it() -> None:
    with Mail() as mail:
        assert outside.sent(mail.url(), MESSAGE).ok
    assert "Subject: Anneal: it failed" in mail.got[0]
    with Mail(refuse=f"535 no: {SECRET} is wrong") as mail:
        outcome = outside.sent(mail.url(SECRET), MESSAGE)
    assert outcome.code == "rejected"
    assert SECRET not in outcome.detail
    assert "535" in outcome.detail


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(("status", "passes"), [(401, False), (404, False), (413, False), (429, True), (503, True)])
def test_a_server_that_does_not_take_it_is_told_by_its_answer(status: int, passes: bool) -> None:
    with Web(status=status) as web:
        outcome = outside.sent(web.url(), MESSAGE)
    assert (outcome.code, outcome.detail, outcome.passes) == ("answered", str(status), passes)


@pytest.mark.usefixtures("loopback")
def test_a_server_that_is_away_may_be_tried_again_and_one_that_is_silent_may_not() -> None:
    with Web() as web:
        url = web.url()
    with Mail() as mail:
        post = mail.url()
    for address in (url, post):
        gone = outside.sent(address, MESSAGE)
        assert (gone.code, gone.passes) == ("unreachable", True)
    assert outside.sent("json://no.such.host.invalid/x", MESSAGE).code == "unresolved"


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", b"HTTP/1.1 2"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_breaks_off_when_it_has_the_message_may_have_taken_it(answer: bytes, reset: bool) -> None:
    with Cut(answer, reset=reset) as server:
        outcome = outside.sent(server.url(), MESSAGE)
    assert server.got == 1
    assert (outcome.code, outcome.may_have_arrived, outcome.passes) == ("interrupted", True, False)


@pytest.mark.usefixtures("loopback")
def test_an_endless_answer_fills_no_memory() -> None:
    with Web(body=b"x" * (1 << 20), times=1200) as web:
        outcome = outside.sent(web.url(), MESSAGE)
    assert outcome.code == "interrupted"
    assert outcome.may_have_arrived
    assert not outcome.passes


def test_the_sender_opens_no_files_and_starts_nothing(tmp_path: Path) -> None:
    """What a plugin might try, tried behind the same guard."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    attempts = {
        "read": f"open({str(secret)!r}).read()",
        "passwd": "open('/etc/passwd').read()",
        "write": f"open({str(tmp_path / 'new')!r}, 'w')",
        "os.open": f"__import__('os').open({str(secret)!r}, 0)",
        "run": "__import__('subprocess').run(['true'])",
        "system": "__import__('os').system('true')",
        "fork": "__import__('os').fork()",
        "udp": "__import__('socket').socket(2, 2).sendto(b'x', ('127.0.0.1', 9))",
        "unix": "__import__('socket').socket(1, 1).connect('/run/x')",
        "listen": "__import__('socket').socket(2, 1).bind(('127.0.0.1', 0))",
    }
    program = (
        "import sys, runpy; m = runpy.run_path(sys.argv[1]); import subprocess, os, socket\n"
        "sys.addaudithook(m['Guard']([]))\n"
        "try: eval(sys.argv[2])\n"
        "except m['Refused']: print('refused')\n"
    )
    for name, attempt in attempts.items():
        argv = [sys.executable, "-I", "-c", program, str(outside.SENDER), attempt]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=40, check=False)
        assert done.stdout == "refused\n", (name, done.stdout, done.stderr[-300:])


@pytest.mark.usefixtures("loopback")
def test_no_proxy_and_no_password_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Web(address="127.0.0.3") as proxy, Web() as web:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.3:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.3:{proxy.port}")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password hunter2\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert outside.sent(web.url(), MESSAGE).ok
    assert proxy.got == []
    assert "Authorization" not in web.got[0]["headers"]


@pytest.mark.usefixtures("loopback")
def test_the_address_is_in_no_argument_and_no_environment_while_it_is_sent() -> None:
    """Read from /proc while the server holds the sender up."""
    hold = threading.Event()
    with Web(hold=hold) as web:
        url = f"{web.url()}/{SECRET}"
        thread = threading.Thread(target=outside.sent, args=(url, MESSAGE))
        thread.start()
        deadline = time.monotonic() + 20
        while not web.got and time.monotonic() < deadline:
            time.sleep(0.01)
        mine = [pid for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == os.getpid()]
        seen = b"".join(_read(f"/proc/{pid}/{part}") for pid in mine for part in ("cmdline", "environ"))
        hold.set()
        thread.join()
    assert b"sender.py" in seen
    assert SECRET.encode() not in seen


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _parent(pid: str) -> int:
    stat = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


@pytest.mark.parametrize("url", ["json://u:hunter2secret@example.org/deep/token-abc123?+X-Key=abcdef"])
def test_what_is_said_of_a_failure_has_nothing_of_the_address_but_its_host(url: str) -> None:
    said = "Connection to example.org failed: u hunter2secret token-abc123 /deep/ abcdef"
    told = sender.scrubbed(said, url)
    assert "example.org" in told
    for word in ("hunter2secret", "token-abc123", "abcdef"):
        assert word not in told


def test_a_sender_that_breaks_is_told_without_what_it_said(
    caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.NOTIFY_NETWORKS = ["no network"]
    outcome = outside.sent(f"json://example.org/{SECRET}", MESSAGE)
    assert outcome.code == "broken"
    assert SECRET not in caplog.text
    assert "ipaddress.py" in caplog.text, "where it broke"
