"""Addresses of pipelines, jobs and tasks below /api/v1/."""

from django.urls import path

from . import backtests, gpus, hosts, jobs, pipelines, rollouts, tasks, templates

urlpatterns = [
    path("pipelines/", pipelines.Pipelines.as_view()),
    path("pipelines/<uuid:pipeline_id>/", pipelines.PipelineDetail.as_view()),
    path("pipelines/<uuid:pipeline_id>/status/", pipelines.PipelineStatusView.as_view()),
    path("pipelines/<uuid:pipeline_id>/start/", pipelines.PipelineStart.as_view()),
    path("pipelines/<uuid:pipeline_id>/pause/", pipelines.PipelinePause.as_view()),
    path("pipelines/<uuid:pipeline_id>/resume/", pipelines.PipelineResume.as_view()),
    path("pipelines/<uuid:pipeline_id>/cancel/", pipelines.PipelineCancel.as_view()),
    path("pipelines/<uuid:pipeline_id>/retry/", pipelines.PipelineRetry.as_view()),
    path("pipelines/<uuid:pipeline_id>/transitions/", pipelines.PipelineTransitions.as_view()),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/cancel/", pipelines.StageCancel.as_view()),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/retry/", pipelines.StageRetry.as_view()),
    path("pipelines/<uuid:pipeline_id>/stages/<slug:name>/log/", pipelines.StageLog.as_view()),
    path("hosts/<slug:name>/setup/", hosts.HostSetup.as_view()),
    path("gpus/", gpus.Gpus.as_view()),
    path("pipeline-templates/", templates.PipelineTemplates.as_view()),
    path("backtests/", backtests.Backtests.as_view()),
    path("backtests/<uuid:backtest_id>/", backtests.BacktestDetail.as_view()),
    path("backtests/<uuid:backtest_id>/runs/", backtests.BacktestRuns.as_view()),
    path("jobs/", jobs.Jobs.as_view()),
    path("jobs/diff/", jobs.JobDiff.as_view()),
    path("jobs/<uuid:job_id>/", jobs.JobDetail.as_view()),
    path("jobs/<uuid:job_id>/cancel/", jobs.JobCancel.as_view()),
    path("jobs/<uuid:job_id>/rerun/", jobs.JobRerun.as_view()),
    path("jobs/<uuid:job_id>/judge/", jobs.JobJudge.as_view()),
    path("jobs/<uuid:job_id>/rollouts/", rollouts.Rollouts.as_view()),
    path("jobs/<uuid:job_id>/rollouts/<int:step>/", rollouts.RolloutSamples.as_view()),
    path("monitoring/<uuid:job_id>/metrics/sync/", jobs.MetricsSync.as_view()),
    path("tasks/", tasks.Tasks.as_view()),
    path("tasks/stats/overview/", tasks.TaskOverview.as_view()),
    path("tasks/<uuid:task_id>/", tasks.TaskDetail.as_view()),
    path("tasks/<uuid:task_id>/cancel/", tasks.TaskCancel.as_view()),
    path("tasks/<uuid:task_id>/retry/", tasks.TaskRetry.as_view()),
]
