"""Where there is no connection people are told what, where, and what to do; the system's numbers stay out of it."""

import errno
import socket
import ssl
import subprocess
import sys
import threading

import httpx
import paramiko
import pytest
from django.conf import settings

from environments.transports import Unreachable
from environments.transports.connection import greeted
from environments.transports.errors import no_connection
from environments.transports.ray_jobs import RayJobs
from tests.harness import free_port


def test_a_closed_port_of_a_host_is_told_with_what_to_do() -> None:
    port = free_port()
    with pytest.raises(Unreachable) as told:
        greeted("127.0.0.1", port, "far")
    assert str(told.value) == (
        f"far does not answer at 127.0.0.1, port {port}: nothing listens there. Start the server, or correct address "
        "and port. (Connection refused)"
    )


def test_a_closed_port_of_a_ray_head_is_told_with_what_to_do() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable) as told:
        RayJobs(address).version()
    assert str(told.value) == (
        f"The Jobs API of Ray does not answer at {address}: nothing listens there. Start the server, or correct "
        "address and port. (Connection refused)"
    )


def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    with pytest.raises(Unreachable, match="its name is not known") as told:
        RayJobs("https://nowhere.invalid", "token").version()
    assert "Errno" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError("timed out"), "no answer in time"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no way leads there"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "it cut the connection"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "its certificate is not trusted"),
        (paramiko.SSHException("Error reading SSH protocol banner[Errno 104] Connection reset by peer"), "banner"),
        (httpx.ReadError(""), "ReadError"),
        (EOFError(), "EOFError"),
    ],
)
def test_each_error_has_a_sentence_without_its_number(error: Exception, told: str) -> None:
    said = no_connection(error)
    assert told in said
    assert "Errno" not in said
    assert said.count("(") <= 1


def test_what_a_library_logs_of_it_stands_in_no_log_of_the_web_process() -> None:
    """Django sets its logs up twice there: what was told them in between is forgotten."""
    asks = (
        "import sys; from platform_site import asgi; from environments.transports.connection import greeted\n"
        "try: greeted('127.0.0.1', int(sys.argv[1]), 'far')\n"
        "except Exception as error: print(error)"
    )

    def hang_up() -> None:
        listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, daemon=True).start()
        argv = [sys.executable, "-c", asks, str(listener.getsockname()[1])]
        done = subprocess.run(argv, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=60, check=True)
    assert "far does not answer at 127.0.0.1" in done.stdout
    assert done.stderr == ""


def test_the_cause_counts_where_a_library_wraps_it() -> None:
    wrapped = httpx.ConnectError("[Errno 111] Connection refused")
    wrapped.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert no_connection(wrapped).startswith("nothing listens there")
