"""How a host's training environment stands to what the platform needs, as it was last compared."""

from dataclasses import dataclass, fields
from datetime import datetime

from environments.models import Host

OK = "ok"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be. `status` is error or warning; the message is English, from the host.

    Of a package the version that is `wanted`, and the one that was `found`, empty where it is missing; of anything else
    neither.
    """

    name: str
    status: str
    message: str
    wanted: str = ""
    found: str = ""


@dataclass(frozen=True)
class Drift:
    """`status` is current, differs, or unknown where nothing was compared; `kind` cpu or cuda.

    A warning (little disk, GPUs that are not used) makes no difference: it is told, and that is all.
    """

    status: str
    differences: tuple[Difference, ...] = ()
    kind: str = ""
    python: str = ""
    torch_build: str = ""
    as_of: datetime | None = None

    @property
    def differs(self) -> bool:
        return self.status == "differs"

    @property
    def count(self) -> int:
        return sum(one.status == "error" for one in self.differences)


def drift(host: Host) -> Drift:
    """What its row says: nobody waits for a host to learn this."""
    found = host.environment
    if not found:
        return Drift("unknown")
    names = [field.name for field in fields(Difference)]
    checks = [Difference(**{name: str(one.get(name, "")) for name in names}) for one in found["checks"]]
    return Drift(
        status="current" if found["ok"] else "differs",
        differences=tuple(one for one in checks if one.status != OK),
        kind=str(found["kind"]),
        python=str(found["python"]),
        torch_build=str(found["torch_build"] or ""),
        as_of=host.environment_at,
    )
