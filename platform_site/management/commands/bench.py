"""`manage.py bench NAME|all`: how fast the platform is, as one JSON object."""

import json
import os
import subprocess
import sys
import tempfile
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from platform_site.benches import callback, live, pages, pipeline, sandbox, sockets, ssh, start, store
from platform_site.benches.figures import Figures, machine, versions

BENCHES: Final[dict[str, Callable[[Figures], None]]] = {
    "callback": callback.measure,
    "ingest": store.ingest,
    "incremental": store.incremental,
    "chart": store.chart,
    "live": live.measure,
    "pipeline": pipeline.measure,
    "pages": pages.measure,
    "sockets": sockets.measure,
    "ssh": ssh.measure,
    "start": start.measure,
}


class Command(BaseCommand):
    help = "Measures the platform, in a folder of its own that is thrown away. Prints one JSON object."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=[*BENCHES, "all"])
        parser.add_argument("--database", default="", help="address of an empty PostgreSQL database to fill (SQLite)")
        parser.add_argument("--quick", action="store_true", help="measure so little that it shows the bench works only")
        parser.add_argument("--here", action="store_true", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        name: str = options["name"]
        if options["here"]:
            self.stdout.write(json.dumps(_measured(name, options["quick"])))
            return
        names = list(BENCHES) if name == "all" else [name]
        found = {}
        for one in names:
            if name == "all":
                self.stderr.write(f"{one} …")
            found[one] = _apart(one, options["database"], options["quick"])
        about = {"versions": versions(), "machine": machine()}
        whole = {"bench": name, **found[name], **about} if name != "all" else {"benches": found, **about}
        self.stdout.write(json.dumps(whole, indent=2))


def _measured(name: str, quick: bool) -> dict[str, Any]:
    try:
        sandbox.prepare()
    except sandbox.NotThrowAway as error:
        raise CommandError(str(error)) from error
    figures = Figures(quick=quick)
    BENCHES[name](figures)
    return asdict(figures)


def _apart(name: str, database: str, quick: bool) -> dict[str, Any]:
    """In a process of its own, whose settings know nothing of the real data folder, database and Redis."""
    with tempfile.TemporaryDirectory(prefix="anneal-bench-") as folder:
        (Path(folder) / sandbox.MARK).touch()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANNEAL_")}
        environment["ANNEAL_DATA_DIR"] = folder
        if database:
            environment["ANNEAL_DATABASE_URL"] = database
        options = ["--here", "--quick"] if quick else ["--here"]
        done = subprocess.run(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "bench", name, *options],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"bench {name} failed:\n{done.stderr[-4000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
