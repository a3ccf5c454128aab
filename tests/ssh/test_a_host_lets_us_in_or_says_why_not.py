"""One clear error, or none needed: whatever a host is like that somebody adds."""

import logging
import os
import subprocess
import time

import pytest

from environments.models import Host
from environments.services import hosts
from environments.transports import KeyChanged, TransportError, Unreachable, connection, for_host
from environments.transports.secrets import Secret
from platform_site.common.errors import Conflict, Unavailable
from tests import people
from tests.volumes import volume

from . import sshd
from .hosts import MakeHost

pytestmark = pytest.mark.django_db


def works(host: Host) -> bool:
    path = f"{host.root}/a file"
    for_host(host).write(path, b"content")
    return for_host(host).read(path) == b"content"


def test_a_password_lets_us_in(make_host: MakeHost, account: sshd.Account) -> None:
    assert works(make_host(secret=Secret(password=account.password).sealed()))


@pytest.mark.skipif(not sshd.has_ipv6(), reason="this machine has no IPv6")
def test_an_address_of_version_6_leads_there_too(make_host: MakeHost) -> None:
    assert works(make_host(address="::1"))


def test_without_a_root_it_is_a_folder_in_the_home_whose_name_has_a_space(
    make_host: MakeHost, account: sshd.Account
) -> None:
    host = hosts.check(make_host(root=""))
    assert host.root == f"{account.home}/anneal"
    assert " " in host.root
    assert works(host)


def test_a_wrong_password_is_told_and_is_nowhere_in_it(make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    host = make_host(secret=Secret(password="planted-secret").sealed())
    with pytest.raises(Unavailable, match="the password or key is refused") as told:
        hosts.check(host)
    host.refresh_from_db()
    assert host.unreachable_since is not None
    assert "refused" in host.last_error
    assert "planted-secret" not in f"{told.value} {host.last_error} {caplog.text} {connection.Account.of(host)!r}"


def test_a_key_that_is_not_known_there_is_refused(make_host: MakeHost, server: sshd.Sshd) -> None:
    stranger = server.account()
    host = make_host(secret=Secret(private_key=stranger.private_key).sealed())
    with pytest.raises(Unreachable, match="the password or key is refused"):
        for_host(host).listdir(host.root + "/x")


def test_nothing_is_sent_to_a_host_whose_key_was_not_enrolled(make_host: MakeHost) -> None:
    host = make_host()
    Host.objects.filter(pk=host.pk).update(host_key="")
    with pytest.raises(Unreachable, match="not enrolled"):
        for_host(Host.objects.get(pk=host.pk)).listdir(host.root + "/x")


def test_a_changed_key_is_refused_before_anything_secret_is_sent(make_host: MakeHost, server: sshd.Sshd) -> None:
    host = make_host(secret=Secret(password="planted-secret").sealed())
    other = sshd.Sshd()
    try:
        other.start()
        Host.objects.filter(pk=host.pk).update(port=other.port)
        moved = Host.objects.get(pk=host.pk)
        with pytest.raises(KeyChanged, match="Nothing secret was sent"):
            for_host(moved).listdir(moved.root + "/x")
        shown = hosts.shown_key(moved)
        assert (shown.enrolled, shown.changed) == (False, True)
        admin = people.charlie()
        with pytest.raises(Conflict, match="another key now"):
            hosts.enrol(admin, moved, connection.fingerprint(host.host_key))
        assert hosts.enrol(admin, moved, shown.fingerprint).enrolled
        with pytest.raises(Unreachable, match="refused"):
            for_host(moved).listdir(moved.root + "/x")
    finally:
        other.remove()


def test_the_fingerprint_is_the_one_that_the_host_itself_tells(make_host: MakeHost, server: sshd.Sshd) -> None:
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_key.pub")], capture_output=True, text=True, check=True
    )
    assert hosts.shown_key(make_host()).fingerprint in said.stdout.split()


@pytest.mark.parametrize("python", ["/no/such/python3", "nopython"])
def test_a_missing_python_is_named(make_host: MakeHost, python: str) -> None:
    host = make_host(python=python)
    with pytest.raises(Unreachable, match=f"There is no Python at “{python}”"):
        for_host(host).listdir(host.root + "/x")


def test_a_program_that_is_no_python_is_named(make_host: MakeHost) -> None:
    host = make_host(python="/bin/false")
    with pytest.raises(Unreachable, match="Python could not be started there"):
        for_host(host).listdir(host.root + "/x")


def test_an_old_python_is_told_which_is_needed(make_host: MakeHost, account: sshd.Account) -> None:
    """One that says it is 3.8: a real old one is on few machines."""
    old = account.home / "old python"
    old.write_text(
        "#!/bin/sh\nexec /usr/bin/python3 -I -c "
        '\'import sys; sys.version_info = (3, 8, 10); sys.version = "3.8.10 (old)"; \'"$3"\n'
    )
    old.chmod(0o755)
    host = make_host(python=str(old))
    with pytest.raises(Unreachable, match=r"Python 3\.8\.10; 3\.11 or newer is needed"):
        for_host(host).listdir(host.root + "/x")


def test_no_rights_on_the_root_folder_are_named(make_host: MakeHost) -> None:
    host = make_host(root="/etc/anneal of tests")
    with pytest.raises(Unreachable, match="The root folder /etc/anneal of tests cannot be used: Permission denied"):
        for_host(host).listdir(host.root + "/x")


def test_a_full_disk_there_is_named(make_host: MakeHost, account: sshd.Account) -> None:
    with volume(account.home / "small", 16) as small:
        os.chown(small, account.uid, -1)
        host = make_host(root=str(small / "anneal"))
        for_host(host).write(f"{host.root}/first", b"x")
        with pytest.raises(TransportError, match="No space left on the volume of"):
            for_host(host).write(f"{host.root}/large", b"x" * (40 << 20))
        connection.forget(host.pk)


def test_a_login_shell_that_prints_noise_is_not_listened_to(make_host: MakeHost, server: sshd.Sshd) -> None:
    noisy = server.account()
    (noisy.home / ".bashrc").write_text("echo Welcome; head -c 100000 /dev/urandom; echo warning >&2\n")
    assert works(make_host(account=noisy, root=f"{noisy.home}/anneal"))


@pytest.mark.parametrize(
    ("asks", "told"),
    [("read -r answer", "reads what is meant for Python"), ("sleep 60", "its login shell waits for something")],
)
def test_a_login_shell_that_asks_or_waits_is_told_as_such(
    make_host: MakeHost, server: sshd.Sshd, asks: str, told: str
) -> None:
    curious = server.account()
    (curious.home / ".bashrc").write_text(f"{asks}\n")
    host = make_host(account=curious, root=f"{curious.home}/anneal")
    with pytest.raises(Unreachable, match=told):
        for_host(host).listdir(host.root + "/x")


def test_files_in_the_home_that_are_called_like_modules_do_no_harm(make_host: MakeHost, server: sshd.Sshd) -> None:
    careless = server.account()
    for name in ("json.py", "struct.py", "zipfile.py"):
        (careless.home / name).write_text("raise SystemExit('imported')\n")
    assert works(make_host(account=careless, root=f"{careless.home}/anneal"))


def test_only_what_lies_below_the_root_is_touched(make_host: MakeHost) -> None:
    host = make_host()
    for path in ("/etc/passwd", f"{host.root}/../../x", f"{host.root}x/y"):
        with pytest.raises(TransportError, match="not below the root folder"):
            for_host(host).read(path)


def test_a_dead_host_takes_no_longer_than_a_moment_of_each_who_asks(make_host: MakeHost) -> None:
    host = make_host(port=sshd.free_port())
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unreachable, match="does not answer at 127"):
            for_host(host).listdir(host.root + "/x")
    assert time.monotonic() - began < 2
