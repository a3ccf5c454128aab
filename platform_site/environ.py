"""What the environment says, read strictly: a wrong value is one clear line, never a guess.

Standard library only: the supervisor and `bin/up` read the same settings without Django.
"""

import base64
import binascii
import hashlib
import ipaddress
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

T = TypeVar("T")

CHECKOUT: Final = Path(__file__).resolve().parent.parent
SOCKET_PATH_LIMIT: Final = 100
"""Bytes. The kernel refuses socket paths over 107; some systems earlier."""
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"),
        *("fuse.sshfs", "fuse.s3fs", "fuse.glusterfs"),
    }
)
TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})


class WrongValue(Exception):
    """A setting that cannot be used. Its text is one line and names the setting."""


class Environ:
    """Typed reads from a mapping of environment variables. An empty variable counts as not given."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def read(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """Return the parsed variable, or `default`. Raises WrongValue naming it when `parse` raises ValueError."""
        text = self._values.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise WrongValue(f"{name} is wrong: {error}") from None


def port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port between 1 and 65535")
    return int(text)


def flag(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{text!r} is not a whole number of seconds")
    return float(text)


def positive(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ValueError(f"{text!r} is not a number above 0")
    return found


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def folder(text: str) -> Path:
    path = Path(text).expanduser()
    if "\0" in text or (path.exists() and not path.is_dir()):
        raise ValueError(f"{text!r} is not a folder")
    return path.resolve()


def program(text: str) -> str:
    """An absolute path of an executable file. Symbolic links stay: a virtual environment's Python is one."""
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ValueError(f"{text!r} is not a program that can be run")
    return str(path)


def time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is not a time zone such as UTC or Europe/Berlin") from None
    return text


def hosts(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if "/" in name or " " in name or (name != "*" and "*" in name):
            raise ValueError(f"{name!r} is not a host name (host names without scheme, separated by commas)")
    return names


def listen_address(text: str) -> str:
    if "/" in text or " " in text:
        raise ValueError(f"{text!r} is not an address to listen on")
    return text


def secret(text: str) -> str:
    if len(text) < 32:
        raise ValueError("it has fewer than 32 characters")
    return text


def fernet_keys(text: str) -> list[str]:
    keys = [key.strip() for key in text.split(",") if key.strip()]
    for key in keys:
        try:
            raw = base64.urlsafe_b64decode(key)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 32:
            raise ValueError("each key is 32 bytes in URL-safe base64, separated by commas, the newest first")
    return keys


def url_of(schemes: Sequence[str]) -> Callable[[str], str]:
    """A parser for an address with one of `schemes`. Its error never repeats the address, which can hold a password."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError:
            raise ValueError("it is not a valid address") from None
        if parts.scheme not in schemes:
            raise ValueError(f"it must start with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
        if not (parts.path if parts.scheme == "unix" else parts.hostname):
            raise ValueError("it names no " + ("socket" if parts.scheme == "unix" else "host"))
        return text

    return parse


def own_url(hosts: Sequence[str], port: int, *, https: bool) -> str:
    """Where the platform is found as far as its own settings tell: on the first name that requests may have."""
    host = next((name.lstrip(".") for name in hosts if name != "*"), "localhost")
    return f"https://{host}" if https else f"http://{host}:{port}"


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> list[Network]:
    found: list[Network] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is not a network such as 10.0.0.0/8 (separated by commas)") from None
    return found


redis_url = url_of(["redis", "rediss", "unix"])
database_url = url_of(["postgres", "postgresql"])
http_url = url_of(["http", "https"])


def data_dir(env: Environ) -> Path:
    """The folder that holds all state: ANNEAL_DATA_DIR, or `var` in the checkout."""
    return env.read("ANNEAL_DATA_DIR", CHECKOUT / "var", folder)


def make_private(path: Path) -> None:
    """Make a folder only its owner can enter. Raises WrongValue where that cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WrongValue(f"the folder {path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise WrongValue(f"the folder {path} is not writable")


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Read a secret from a file of mode 0600, made on first use. Two processes that start at once agree on one."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WrongValue(f"the secret file {path} cannot be read: {error.strerror}") from None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "w") as file:
                file.write(make() + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass  # another process was first: its secret is the one
        finally:
            Path(temporary).unlink()
        return path.read_text().strip()
    except OSError as error:
        raise WrongValue(f"the secret file {path} cannot be written: {error.strerror}") from None


def new_secret_key() -> str:
    return secrets.token_urlsafe(64)


def new_fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def socket_folder(data: Path) -> Path:
    """Where the embedded Valkey listens: the data folder, or a private temporary folder where its path is too long.

    Every process of one data folder computes the same answer, so that nothing has to be passed on.
    """
    if len(os.fsencode(data / "valkey.sock")) <= SOCKET_PATH_LIMIT:
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"anneal-{os.getuid()}-{digest}"


def embedded_redis_url(data: Path) -> str:
    return "unix://" + quote(str(socket_folder(data) / "valkey.sock"))


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, from the text of /proc/self/mountinfo; "" when unknown."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if not separator or len(fields) < 5:
            continue
        point = fields[4].encode().decode("unicode_escape", "replace")
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """SQLite's write-ahead log needs shared memory, which network file systems do not give: refuse them."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return
    kind = file_system_of(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise WrongValue(
            f"ANNEAL_DATA_DIR is wrong: {path} is on a network file system ({kind}), where SQLite loses data; "
            "use a local folder, or PostgreSQL by ANNEAL_DATABASE_URL"
        )
