"""The demo: a pipeline from data to score on this machine, trained by verl for real, followed in the terminal."""

import time
from pathlib import Path
from typing import Any, Final

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from environments import training
from environments.models import Host
from pipelines import selectors
from pipelines.kinds import summary_of
from pipelines.models import Pipeline, Stage
from pipelines.pipeline_templates import SMOLLM2_SFT, TEMPLATES, TINY_SFT, PipelineTemplate
from pipelines.services.create import PipelineSpec, create_pipeline
from pipelines.states import PIPELINE_TERMINAL, STAGE_TERMINAL, PipelineStatus, StageStatus
from platform_site.common.db import released_connections
from platform_site.common.errors import PlatformError
from platform_site.common.models import User
from platform_site.common.roles import Role
from platform_site.display import duration

NAME: Final = "Demo: from data to score"
NEEDED: Final = 5 * 1024**3
"""Bytes of memory that training SmolLM2 takes."""
WIDTH: Final = 32
LOOK_EVERY_S: Final = 0.5
INTERRUPTED: Final = 130


def suited(available: int) -> tuple[PipelineTemplate, str]:
    """The template for a machine with so many bytes of free memory, and a word where it is not the usual one."""
    if available >= NEEDED:
        return SMOLLM2_SFT, ""
    return TINY_SFT, (
        f"This machine has {available / 1024**3:.1f} GB of memory free, and SmolLM2 needs {NEEDED / 1024**3:.0f}: "
        "the demo trains a tiny Llama instead, which hardly learns to add."
    )


def free_memory() -> int:
    """Bytes that can be had: of the machine, or of the control group that this process is kept in."""
    free = psutil.virtual_memory().available
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        return min(free, int(most) - int(used)) if most != "max" else free
    except (OSError, ValueError):
        return free


def _administrator() -> User | None:
    admins = Q(is_superuser=True) | Q(groups__name=Role.ADMIN.slug)
    return User.objects.filter(admins, is_active=True).order_by("pk").first()


class Command(BaseCommand):
    help = "Run the demo (data, training, score before and after) and follow it. Exit code 0 when it completed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--template",
            choices=[template.slug for template in TEMPLATES],
            help="Which pipeline; by default the one that this machine has the memory for.",
        )
        parser.add_argument("--once", action="store_true", help="Start none where one has completed already.")
        parser.add_argument("--wait-s", type=float, default=3600, help="Give up following after so many seconds.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._shown = ""
        end = time.monotonic() + options["wait_s"]
        user = _administrator()
        if user is None:
            raise CommandError("There is no administrator yet. Make one: manage.py create_user NAME --role admin")
        demos = Pipeline.objects.filter(name=NAME)
        if options["once"] and demos.filter(status=PipelineStatus.COMPLETED).exists():
            self._say("The demo has completed already.")
            return
        self._await_environment(end)
        # One that somebody stopped following is followed again.
        pipeline = demos.filter(status=PipelineStatus.RUNNING).first() or self._start(user, options["template"])
        url = f"{settings.PUBLIC_URL}/pipelines/{pipeline.pk}/"
        self._say(f"Watch it at {url}\n")
        try:
            pipeline = self._follow(pipeline, user, end)
        except KeyboardInterrupt:
            self._say(f"\nThe demo goes on; its page is {url}")
            raise SystemExit(INTERRUPTED) from None
        self._tell_scores(pipeline)

    def _start(self, user: User, slug: str | None) -> Pipeline:
        template, word = suited(free_memory())
        if slug is not None:
            template, word = next(one for one in TEMPLATES if one.slug == slug), ""
        if word:
            self._say(word)
        try:
            spec = PipelineSpec(name=NAME, stages=template.stages)
            return create_pipeline(user=user, spec=spec, start=True)
        except PlatformError as error:
            raise CommandError(str(error)) from error

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

    def _follow(self, pipeline: Pipeline, user: User, end: float) -> Pipeline:
        """The pipeline as it ended. Raises CommandError unless it completed."""
        told: set[str] = set()
        while True:
            with released_connections():
                pipeline = selectors.pipeline_for(user, pipeline.pk)
                stages = list(pipeline.stages.all())
                fraction = selectors.pipeline_progress(pipeline).fraction or 0.0
                label, note, left = _now(stages)
            for stage in stages:
                if stage.status in STAGE_TERMINAL and stage.name not in told:
                    told.add(stage.name)
                    self._say(_ended(stage))
            if pipeline.status in PIPELINE_TERMINAL:
                break
            if time.monotonic() > end:
                raise CommandError("The demo has not ended in time. It goes on; see its page.")
            self._bar(label, fraction, note, left)
            time.sleep(LOOK_EVERY_S)
        if pipeline.status != PipelineStatus.COMPLETED:
            raise CommandError(f"The demo {pipeline.status}: {pipeline.error_message}")
        return pipeline

    def _tell_scores(self, pipeline: Pipeline) -> None:
        results = {stage.name: stage.result or {} for stage in pipeline.stages.all()}
        before, after = (results.get(name, {}) for name in ("baseline", "evaluate"))
        if "score" in before and "score" in after:
            self._say(f"Score before {before['score']:.2f}, after {after['score']:.2f} ({after['n']} samples)")

    def _bar(self, label: str, fraction: float, note: str, left: str = "") -> None:
        """One line that is written over on a terminal, and a line a change elsewhere, without the time that is left."""
        filled = int(WIDTH * fraction)
        line = f"{label:<20} [{'#' * filled}{'.' * (WIDTH - filled)}] {fraction:4.0%}  {note}"
        if left and self.stdout.isatty():
            line += f", {left}"
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
            self.stdout.write("\r\033[K", ending="")
        self._shown = ""
        if text:
            self.stdout.write(text)


def _now(stages: list[Stage]) -> tuple[str, str, str]:
    """What is going on: the stage's name, how far it is or what it waits for, and the time that is left."""
    active = [stage for stage in stages if stage.started_at is not None and stage.completed_at is None]
    if not active:
        queued = [stage for stage in stages if stage.status == StageStatus.QUEUED]
        return ("waiting", selectors.waiting_for(queued[0]) if queued else "", "")
    stage = active[0]
    progress = selectors.stage_progress(stage)
    left = f"{duration(progress.eta_s)} left" if progress.eta_s is not None else ""
    return (stage.name, f"{progress.unit} {progress.step or 0} of {progress.target_step or '?'}", left)


def _ended(stage: Stage) -> str:
    took = ""
    if stage.started_at is not None and stage.completed_at is not None:
        took = f"{(stage.completed_at - stage.started_at).total_seconds():.1f} s"
    what = summary_of(stage.kind, stage.result) if stage.status == StageStatus.COMPLETED else stage.error_message
    return f"{stage.name:<20} {stage.status}, {took}  {what}".rstrip()
