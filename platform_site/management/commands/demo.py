"""The demo: a real verl run on this machine, followed in the terminal."""

import time
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from environments import training
from environments.models import Host
from pipelines.models import Job
from pipelines.selectors import job_for, stage_progress, waiting_for
from pipelines.services.submit import submit_job
from pipelines.states import STAGE_TERMINAL, StageStatus
from platform_site.common.db import released_connections
from platform_site.common.errors import PlatformError
from platform_site.common.models import User
from platform_site.common.roles import Role

WIDTH: Final = 32
LOOK_EVERY_S: Final = 0.5


def _administrator() -> User | None:
    admins = Q(is_superuser=True) | Q(groups__name=Role.ADMIN.slug)
    return User.objects.filter(admins, is_active=True).order_by("pk").first()


class Command(BaseCommand):
    help = "Run the demo (recipe tiny-sft: verl trains a tiny Llama) and follow it. Exit code 0 when it completed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--wait-s", type=float, default=3600, help="Give up following after so many seconds.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._shown = ""
        end = time.monotonic() + options["wait_s"]
        user = _administrator()
        if user is None:
            raise CommandError("There is no administrator yet. Make one: manage.py create_user NAME --role admin")
        self._await_environment(end)
        try:
            job = submit_job(user=user, recipe="tiny-sft", name="Demo: a first run")
        except PlatformError as error:
            raise CommandError(str(error)) from error
        self._say(f"Watch it at http://127.0.0.1:{settings.ANNEAL_PORT}/jobs/{job.id}/\n")
        self._follow(job, user, end)

    def _await_environment(self, end: float) -> None:
        """The set-up runs beside the platform; a failed one is told at once."""
        host = Host.objects.filter(kind=Host.Kind.LOCAL).first()
        if host is None:
            raise CommandError("There is no local host. Run manage.py install_builtins")
        began = time.monotonic()
        while not (state := training.state(host)).ready:
            # Right after the start the set-up has not written its first word yet.
            if state.status == "failed" or (state.status == "missing" and time.monotonic() - began > 15):
                raise CommandError(state.message)
            if time.monotonic() > end:
                raise CommandError("The training environment was not ready in time.")
            self._bar("training environment", (state.percent or 0) / 100, state.message)
            time.sleep(LOOK_EVERY_S)
        self._say("")

    def _follow(self, job: Job, user: User, end: float) -> None:
        while True:
            with released_connections():
                job = job_for(user, job.pk)
                stage, progress = job.stage, stage_progress(job.stage)
                status = StageStatus(stage.status)
            if status in STAGE_TERMINAL:
                break
            if time.monotonic() > end:
                raise CommandError("The run has not ended in time. It goes on; see its page.")
            note = waiting_for(stage) or f"step {progress.step or 0} of {progress.target_step or '?'}"
            self._bar(status.value, progress.fraction or 0.0, note)
            time.sleep(LOOK_EVERY_S)
        if status is not StageStatus.COMPLETED:
            raise CommandError(f"The demo run {status.value}: {stage.error_message}")
        assert stage.started_at is not None
        assert stage.completed_at is not None
        took = (stage.completed_at - stage.started_at).total_seconds()
        loss = job.final_metrics.get("train/loss")
        self._bar(status.value, 1.0, f"step {job.final_step}, train/loss {loss:.3f}, {took:.1f} s")
        self._say("")

    def _bar(self, label: str, fraction: float, note: str) -> None:
        """One line that is written over on a terminal, and a line a change elsewhere."""
        filled = int(WIDTH * fraction)
        line = f"{label:<20} [{'#' * filled}{'.' * (WIDTH - filled)}] {fraction:4.0%}  {note}"
        if line == self._shown:
            return
        self._shown = line
        if self.stdout.isatty():
            self.stdout.write(f"\r\033[K{line[:200]}", ending="")
        else:
            self.stdout.write(line)
        self.stdout.flush()

    def _say(self, text: str) -> None:
        if self.stdout.isatty() and self._shown:
            self.stdout.write("")
        self._shown = ""
        if text:
            self.stdout.write(text)
