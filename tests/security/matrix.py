"""Who may call what: the one table. A route that is not in it fails the tests; a new route is a new row here.

A row gives the least right for each method that the route takes; every other method has to answer 405. The routes
of Django's admin are not listed: they are all for admins (see `test_matrix`).
"""

from typing import Final

EVERYONE: Final = 0
SIGNED_IN: Final = 1
"""Also people who have no role (yet)."""
VIEWER: Final = 2
OPERATOR: Final = 3
ADMIN: Final = 4

Row = dict[str, int]

PAGES: Final[dict[str, Row]] = {
    "": {"GET": VIEWER},
    "healthz": {"GET": EVERYONE},
    "readyz": {"GET": EVERYONE},
    "login/": {"GET": EVERYONE, "POST": EVERYONE},
    "logout/": {"POST": SIGNED_IN},
    "preferences/theme/": {"POST": EVERYONE},
    "preferences/language/": {"GET": EVERYONE, "POST": EVERYONE},
    "jobs/": {"GET": VIEWER},
    "jobs/new/": {"GET": OPERATOR, "POST": OPERATOR},
    "jobs/compare/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/cancel/": {"GET": OPERATOR, "POST": OPERATOR},
    "jobs/<uuid:job_id>/rerun/": {"GET": OPERATOR, "POST": OPERATOR},
    "jobs/<uuid:job_id>/diagnose/": {"POST": OPERATOR},
    "jobs/<uuid:job_id>/log/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/charts/": {"POST": VIEWER},
    "jobs/<uuid:job_id>/sync/": {"POST": OPERATOR},
    "jobs/<uuid:job_id>/rows/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/rollouts/": {"GET": VIEWER},
    "backtests/": {"GET": VIEWER},
    "backtests/new/": {"GET": OPERATOR, "POST": OPERATOR},
    "backtests/<uuid:backtest_id>/": {"GET": VIEWER},
    "backtests/<uuid:backtest_id>/delete/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/": {"GET": VIEWER},
    "pipelines/create/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/create/preview/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/": {"GET": VIEWER},
    "pipelines/<uuid:pipeline_id>/start/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/pause/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/resume/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/retry/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/cancel/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/delete/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/cancel/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/retry/": {"GET": OPERATOR, "POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/log/": {"GET": VIEWER},
    "tasks/": {"GET": VIEWER},
    "tasks/<uuid:task_id>/": {"GET": VIEWER},
    "tasks/<uuid:task_id>/cancel/": {"GET": OPERATOR, "POST": OPERATOR},
    "tasks/<uuid:task_id>/retry/": {"POST": OPERATOR},
    "recipes/": {"GET": VIEWER},
    "recipes/new/": {"GET": OPERATOR, "POST": OPERATOR},
    "recipes/import/": {"GET": OPERATOR, "POST": OPERATOR},
    "recipes/check/": {"POST": OPERATOR},
    "recipes/diff/": {"GET": VIEWER},
    "recipes/<slug:slug>/": {"GET": VIEWER},
    "recipes/<slug:slug>/edit/": {"GET": OPERATOR, "POST": OPERATOR},
    "recipes/<slug:slug>/delete/": {"GET": OPERATOR, "POST": OPERATOR},
    "datasets/": {"GET": VIEWER},
    "datasets/new/": {"GET": OPERATOR, "POST": OPERATOR},
    "datasets/<slug:slug>/": {"GET": VIEWER},
    "datasets/<slug:slug>/versions/new/": {"GET": OPERATOR, "POST": OPERATOR},
    "datasets/<slug:slug>/versions/<int:number>/file/": {"GET": VIEWER},
    "hosts/": {"GET": VIEWER},
    "hosts/new/": {"GET": ADMIN, "POST": ADMIN},
    "hosts/<slug:name>/": {"GET": VIEWER},
    "hosts/<slug:name>/edit/": {"GET": ADMIN, "POST": ADMIN},
    "hosts/<slug:name>/enroll/": {"GET": ADMIN, "POST": ADMIN},
    "hosts/<slug:name>/check/": {"POST": OPERATOR},
    "hosts/<slug:name>/setup/": {"POST": ADMIN},
    "hosts/<slug:name>/delete/": {"GET": ADMIN, "POST": ADMIN},
    "notifications/": {"GET": VIEWER},
    "notifications/read-all/": {"POST": VIEWER},
    "notifications/<int:notification_id>/read/": {"POST": VIEWER},
    "notifications/preferences/": {"GET": VIEWER, "POST": VIEWER},
    "notifications/targets/": {"GET": VIEWER, "POST": VIEWER},
    "notifications/targets/<int:target_id>/test/": {"POST": VIEWER},
    "notifications/targets/<int:target_id>/remove/": {"GET": VIEWER, "POST": VIEWER},
    "system/": {"GET": VIEWER},
    "system/training/": {"GET": VIEWER},
}

API: Final[dict[str, Row]] = {
    "schema/": {"GET": VIEWER},
    "projects/": {"GET": VIEWER},
    "gpus/": {"GET": VIEWER},
    "system/env/": {"GET": VIEWER},
    "audit/": {"GET": ADMIN},
    "pipelines/": {"GET": VIEWER, "POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/": {"GET": VIEWER, "DELETE": OPERATOR},
    "pipelines/<uuid:pipeline_id>/status/": {"GET": VIEWER},
    "pipelines/<uuid:pipeline_id>/start/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/pause/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/resume/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/retry/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/cancel/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/transitions/": {"GET": VIEWER},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/cancel/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/retry/": {"POST": OPERATOR},
    "pipelines/<uuid:pipeline_id>/stages/<slug:name>/log/": {"GET": VIEWER},
    "pipeline-templates/": {"GET": VIEWER},
    "backtests/": {"GET": VIEWER, "POST": OPERATOR},
    "backtests/<uuid:backtest_id>/": {"GET": VIEWER, "DELETE": OPERATOR},
    "backtests/<uuid:backtest_id>/runs/": {"GET": VIEWER},
    "jobs/": {"GET": VIEWER, "POST": OPERATOR},
    "jobs/diff/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/cancel/": {"POST": OPERATOR},
    "jobs/<uuid:job_id>/rerun/": {"POST": OPERATOR},
    "jobs/<uuid:job_id>/rollouts/": {"GET": VIEWER},
    "jobs/<uuid:job_id>/rollouts/<int:step>/": {"GET": VIEWER},
    "monitoring/<uuid:job_id>/metrics/sync/": {"POST": OPERATOR},
    "monitoring/<uuid:job>/system/": {"GET": VIEWER},
    "monitoring/<uuid:job>/metrics/": {"GET": VIEWER},
    "monitoring/<uuid:job>/metrics/rows/": {"GET": VIEWER},
    "monitoring/<uuid:job>/metrics/anomalies/": {"GET": VIEWER},
    "monitoring/<uuid:job>/metrics/bad-lines/": {"GET": VIEWER},
    "monitoring/<uuid:job>/anomalies/detected/": {"GET": VIEWER},
    "monitoring/<uuid:job>/diagnose/": {"POST": OPERATOR},
    "monitoring/<uuid:job>/health/": {"GET": VIEWER},
    "monitoring/<uuid:job>/thresholds/": {"GET": VIEWER},
    "monitoring/diagnose-all/": {"POST": OPERATOR},
    "monitoring/<uuid:job>/metrics/export/": {"GET": VIEWER},
    "monitoring/key-metrics/": {"GET": VIEWER},
    "tasks/": {"GET": VIEWER},
    "tasks/stats/overview/": {"GET": VIEWER},
    "tasks/<uuid:task_id>/": {"GET": VIEWER},
    "tasks/<uuid:task_id>/cancel/": {"POST": OPERATOR},
    "tasks/<uuid:task_id>/retry/": {"POST": OPERATOR},
    "recipes/": {"GET": VIEWER, "POST": OPERATOR},
    "recipes/validate/": {"POST": VIEWER},
    "recipes/import/": {"POST": VIEWER},
    "recipes/recommendations/": {"GET": VIEWER},
    "recipes/diff/": {"GET": VIEWER},
    "recipes/<slug:slug>/": {"GET": VIEWER, "PATCH": OPERATOR, "DELETE": OPERATOR},
    "recipes/<slug:slug>/revisions/": {"GET": VIEWER},
    "recipes/<slug:slug>/compile/": {"POST": VIEWER},
    "hosts/": {"GET": VIEWER, "POST": ADMIN},
    "hosts/<slug:name>/": {"GET": VIEWER, "PATCH": ADMIN, "DELETE": ADMIN},
    "hosts/<slug:name>/enroll/": {"POST": ADMIN},
    "hosts/<slug:name>/check/": {"POST": OPERATOR},
    "hosts/<slug:name>/setup/": {"POST": ADMIN},
    "notifications/": {"GET": VIEWER},
    "notifications/read-all/": {"POST": VIEWER},
    "notifications/<int:notification_id>/read/": {"POST": VIEWER},
    "notifications/preferences/": {"GET": VIEWER, "PATCH": VIEWER},
    "notifications/targets/": {"GET": VIEWER, "POST": VIEWER},
    "notifications/targets/<int:target_id>/": {"GET": VIEWER, "PATCH": VIEWER, "DELETE": VIEWER},
    "notifications/targets/<int:target_id>/test/": {"POST": VIEWER},
    "datasets/": {"GET": VIEWER, "POST": OPERATOR},
    "datasets/validate/": {"POST": OPERATOR},
    "datasets/<slug:slug>/versions/": {"GET": VIEWER, "POST": OPERATOR},
    "datasets/<slug:slug>/versions/<int:number>/verify/": {"POST": OPERATOR},
}

READ_BY_POST: Final = frozenset({"recipes/validate/", "recipes/import/", "recipes/<slug:slug>/compile/"})
"""What takes a body and keeps nothing: a token that is for reading may ask it."""

API_PREFIX: Final = "api/v1/"
FALLBACK: Final = "api/v1/^"
"""What takes every address below the API that nobody else takes: 401 for strangers, 404 for people."""

ANY_METHOD: Final = frozenset({"login/", "preferences/language/"})
"""Django's own views, which answer other methods by leading back."""

ROUTES: Final[dict[str, Row]] = {**PAGES, **{API_PREFIX + route: row for route, row in API.items()}}
