"""The addresses of pages."""

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.urls import path
from django.views.i18n import set_language

from pipelines.views import monitor, pipelines, recipe_import, recipes, rollouts, runs, tasks

from . import datasets, home, hosts, notifications, preferences, system

urlpatterns = [
    path("", home.home, name="home"),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("preferences/theme/", preferences.theme, name="theme"),
    path("preferences/language/", login_not_required(set_language), name="set_language"),
    path("jobs/", runs.jobs, name="jobs"),
    path("jobs/new/", runs.new_job, name="job-new"),
    path("jobs/compare/", runs.compare_jobs, name="job-compare"),
    path("jobs/<uuid:job_id>/", runs.job, name="job"),
    path("jobs/<uuid:job_id>/cancel/", runs.cancel_job, name="job-cancel"),
    path("jobs/<uuid:job_id>/diagnose/", runs.diagnose_job, name="job-diagnose"),
    path("jobs/<uuid:job_id>/rerun/", runs.rerun, name="job-rerun"),
    path("jobs/<uuid:job_id>/log/", runs.job_log, name="job-log"),
    path("jobs/<uuid:job_id>/charts/", monitor.keep_charts, name="job-charts"),
    path("jobs/<uuid:job_id>/sync/", monitor.sync_job, name="job-sync"),
    path("jobs/<uuid:job_id>/rows/", monitor.job_rows, name="job-rows"),
    path("jobs/<uuid:job_id>/rollouts/", rollouts.job_rollouts, name="job-rollouts"),
    path("pipelines/", pipelines.pipelines, name="pipelines"),
    path("pipelines/create/", pipelines.create_pipeline, name="pipeline-create"),
    path("pipelines/create/preview/", pipelines.preview_pipeline, name="pipeline-preview"),
    path("pipelines/<uuid:pipeline_id>/", pipelines.pipeline, name="pipeline"),
    path("pipelines/<uuid:pipeline_id>/start/", pipelines.start_pipeline, name="pipeline-start"),
    path("pipelines/<uuid:pipeline_id>/pause/", pipelines.pause_pipeline, name="pipeline-pause"),
    path("pipelines/<uuid:pipeline_id>/resume/", pipelines.resume_pipeline, name="pipeline-resume"),
    path("pipelines/<uuid:pipeline_id>/retry/", pipelines.retry_pipeline, name="pipeline-retry"),
    path("pipelines/<uuid:pipeline_id>/cancel/", pipelines.cancel_pipeline, name="pipeline-cancel"),
    path("pipelines/<uuid:pipeline_id>/delete/", pipelines.delete_pipeline, name="pipeline-delete"),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/cancel/", pipelines.cancel_stage, name="stage-cancel"),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/retry/", pipelines.retry_stage, name="stage-retry"),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/log/", pipelines.stage_log, name="stage-log"),
    path("tasks/", tasks.tasks, name="tasks"),
    path("tasks/<uuid:task_id>/", tasks.task, name="task"),
    path("tasks/<uuid:task_id>/cancel/", tasks.cancel_task, name="task-cancel"),
    path("tasks/<uuid:task_id>/retry/", tasks.retry_task, name="task-retry"),
    path("recipes/", recipes.recipes, name="recipes"),
    path("recipes/new/", recipes.new_recipe, name="recipe-new"),
    path("recipes/import/", recipe_import.import_recipe, name="recipe-import"),
    path("recipes/check/", recipes.check_recipe, name="recipe-check"),
    path("recipes/diff/", recipes.diff_recipes, name="recipe-diff"),
    path("recipes/<slug:slug>/", recipes.recipe, name="recipe"),
    path("recipes/<slug:slug>/edit/", recipes.edit_recipe, name="recipe-edit"),
    path("recipes/<slug:slug>/delete/", recipes.delete_recipe, name="recipe-delete"),
    path("datasets/", datasets.datasets, name="datasets"),
    path("datasets/new/", datasets.new_dataset, name="dataset-new"),
    path("datasets/<slug:slug>/", datasets.dataset, name="dataset"),
    path("datasets/<slug:slug>/versions/new/", datasets.new_version, name="dataset-version-new"),
    path("datasets/<slug:slug>/versions/<int:number>/file/", datasets.download, name="dataset-file"),
    path("hosts/", hosts.hosts, name="hosts"),
    path("hosts/new/", hosts.new_host, name="host-new"),
    path("hosts/<slug:name>/", hosts.host, name="host"),
    path("hosts/<slug:name>/edit/", hosts.edit_host, name="host-edit"),
    path("hosts/<slug:name>/enroll/", hosts.enroll_host, name="host-enroll"),
    path("hosts/<slug:name>/check/", hosts.check_host, name="host-check"),
    path("hosts/<slug:name>/setup/", hosts.set_up_host, name="host-setup"),
    path("hosts/<slug:name>/delete/", hosts.delete_host, name="host-delete"),
    path("notifications/", notifications.notifications, name="notifications"),
    path("notifications/read-all/", notifications.read_notifications, name="notifications-read"),
    path("notifications/preferences/", notifications.notification_preferences, name="notification-preferences"),
    path("notifications/targets/", notifications.add_target, name="notification-target-new"),
    path("notifications/targets/<int:target_id>/test/", notifications.try_target, name="notification-target-test"),
    path(
        "notifications/targets/<int:target_id>/remove/", notifications.remove_target, name="notification-target-remove"
    ),
    path("notifications/<int:notification_id>/read/", notifications.read_notification, name="notification-read"),
    path("system/", system.system, name="system"),
    path("system/training/", system.training_banner, name="training-banner"),
]
