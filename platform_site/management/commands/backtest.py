"""manage.py backtest: what the doctor's rules would have said of past runs, and what that would have saved."""

import json
from argparse import ArgumentParser
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from monitoring.diagnostics.core import Severity
from pipelines.backtest_selectors import runs_of
from pipelines.models import Backtest
from pipelines.services.backtests import MOST_RUNS, REPLAYED, Asked, create, parse_limits, work
from platform_site.common.errors import PlatformError

COLUMNS: Final = ("rule", "fired", "caught", "false alarms", "lead steps", "lead s", "GPU-h", "CPU-h")


class Command(BaseCommand):
    help = (
        "Replay the rules of the doctor over runs that have ended, step by step; say when each would have spoken, "
        "how long before the end, and what would have been saved. The result is kept, and shown under /backtests/."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="", help="what it is called on its page")
        parser.add_argument("--rule", action="append", default=[], metavar="RULE", help=f"of {', '.join(REPLAYED)}")
        parser.add_argument("--limit", action="append", default=[], metavar="RULE.LIMIT=VALUE", help="repeatable")
        parser.add_argument("--algorithm", default="", help="runs of sft, dpo or grpo alone")
        parser.add_argument("--recipe", default="", help="runs of this recipe alone")
        parser.add_argument("--job", action="append", default=[], type=UUID, metavar="UUID", help="repeatable")
        parser.add_argument("--most", type=int, default=100, help=f"newest runs, at most {MOST_RUNS}")
        parser.add_argument("--no-learnt", action="store_true", help="by the rules' own thresholds alone")
        parser.add_argument(
            "--least",
            default="error",
            choices=[one.word for one in Severity],
            help="alarms count from this severity on",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = create(
                Asked(
                    rules=options["rule"],
                    limits=parse_limits(options["limit"]),
                    learnt=not options["no_learnt"],
                    least=options["least"],
                    algorithm=options["algorithm"],
                    recipe=options["recipe"],
                    jobs=options["job"],
                    most=options["most"],
                    name=options["name"],
                ),
                None,
                by_worker=False,
            )
        except PlatformError as error:
            raise CommandError(error.message) from None
        total = made.runs.count()
        # A worker's maintenance may have taken it over where this process was held up: then it ends there.
        if not work(made.pk, slice_s=float("inf"), told=lambda runs, steps: self._told(runs, total, steps)):
            raise CommandError(f"A worker goes on with it: /backtests/{made.pk}/")
        made.refresh_from_db()
        if made.error_message:
            raise CommandError(made.error_message)
        self.stdout.write(json.dumps(as_json(made)) if options["json"] else "\n".join(_table(made)))

    def _told(self, runs: int, total: int, steps: int) -> None:
        self.stderr.write(f"\r{runs} of {total} runs, {steps} steps", ending="" if runs < total else "\n")


def as_json(made: Backtest) -> dict[str, Any]:
    """The back-test with every run: as the API has it, in one object."""
    return {
        "uuid": str(made.pk),
        "name": made.name,
        "rules": made.rules,
        "limits": made.limits,
        "learnt": made.learnt,
        "least": made.least,
        "steps": made.steps,
        **(made.result or {}),
        "runs": [
            {
                "job": str(run.job_id) if run.job_id else None,
                "name": run.name,
                "algorithm": run.algorithm,
                "ended": run.ended,
                "steps": run.steps,
                "seconds": run.seconds,
                "found": run.found,
            }
            for run in runs_of(made)
        ],
    }


def _table(made: Backtest) -> list[str]:
    result = made.result or {}
    rows = [COLUMNS, *(_row(one) for one in [*result["rules"], {**result["total"], "rule": "together"}])]
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines += ["", f"{made.steps} steps of {made.runs.count()} runs; alarms count from {made.least} on."]
    for run in runs_of(made):
        said = [
            f"{one['rule']} at step {one['acted_step']}, {one['lead_steps']} steps before the end"
            for one in run.found or []
            if one["acted_step"] is not None
        ]
        lines.append(f"{run.ended or 'deleted':>9}  {run.name} ({run.steps} steps): {'; '.join(said) or 'nothing'}")
    return [*lines, f"Kept as /backtests/{made.pk}/"]


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    def told(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    return (
        one["rule"],
        str(one["fired"]),
        f"{one['caught']} of {one['broken']}",
        f"{one['false_alarms']} of {one['healthy']}",
        told(one["lead_steps"]),
        told(one["lead_s"]),
        told(one["gpu_hours"]),
        told(one["cpu_hours"]),
    )
