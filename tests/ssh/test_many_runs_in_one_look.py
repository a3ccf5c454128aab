"""However many runs a host has, a look at them asks it twice: what they are, and what is new of all of them."""

import time
from collections.abc import Iterator

import pytest

from environments.models import Host
from environments.transports import for_host
from monitoring.models import MetricRow, Stream
from pipelines.models import Stage
from pipelines.services import builtin, observe
from platform_site.benches.sandbox import Run, line
from tests.pipelines import builders

from . import sshd
from .hosts import PYTHON, MakeHost

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = 12
WAY_S = 0.05


@pytest.fixture
def far(
    make_host: MakeHost, root_account: sshd.Account, proxy: sshd.Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Host:
    builders.queues(slots=50)
    builtin.install()
    root = str(tmp_path_factory.mktemp("far"))
    return make_host(account=root_account, port=proxy.port, python=PYTHON, root=root)


@pytest.fixture
def runs(far: Host) -> Iterator[list[Run]]:
    """Under way, each with a runner and one step."""
    made = [Run(with_runner=True, host=far) for _ in range(RUNS)]
    for run in made:
        run.write(line(1))
    observe.observe_host(far.pk)
    yield made
    for run in made:
        run.end()


def test_what_many_runs_wrote_comes_in_two_round_trips(far: Host, runs: list[Run], proxy: sshd.Proxy) -> None:
    for run in runs:
        run.write(line(2))
    proxy.delay(WAY_S)
    began = time.monotonic()
    assert observe.observe_host(far.pk) == RUNS
    assert time.monotonic() - began < RUNS * 2 * WAY_S, "less than one round trip a run"
    assert MetricRow.objects.filter(step=2).count() == RUNS
    assert set(Stage.objects.values_list("status", flat=True)) == {"running"}


def test_a_run_whose_files_are_odd_holds_up_no_other(far: Host, runs: list[Run]) -> None:
    odd, *others = runs
    odd.path.unlink()
    odd.path.symlink_to("/etc/passwd")
    for run in others:
        run.write(line(2))
    observe.observe_host(far.pk)
    assert MetricRow.objects.filter(step=2).count() == RUNS - 1
    assert [warning["code"] for warning in Stream.objects.get(pk=odd.id).warnings] == ["not_a_file"]


def test_what_was_written_after_it_was_brought_is_read_at_the_end(far: Host, runs: list[Run]) -> None:
    """The last reading looks at the files anew."""
    first = runs[0]
    for_host(far).stop(first.folder.path)
    deadline = time.monotonic() + 20
    first.write(b"".join(line(step) for step in range(2, 300)))
    while Stage.objects.get(pk=first.id).status == "running" and time.monotonic() < deadline:
        observe.observe_host(far.pk)
        time.sleep(0.05)
    assert Stage.objects.get(pk=first.id).status == "failed"
    assert Stream.objects.get(pk=first.id).last_step == 299
