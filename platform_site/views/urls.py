"""The addresses of pages."""

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.urls import path
from django.views.i18n import set_language

from pipelines import views as runs

from . import datasets, home, preferences, system

urlpatterns = [
    path("", home.home, name="home"),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("preferences/theme/", preferences.theme, name="theme"),
    path("preferences/language/", login_not_required(set_language), name="set_language"),
    path("jobs/", runs.jobs, name="jobs"),
    path("jobs/new/", runs.new_job, name="job-new"),
    path("jobs/<uuid:job_id>/", runs.job, name="job"),
    path("jobs/<uuid:job_id>/cancel/", runs.cancel_job, name="job-cancel"),
    path("jobs/<uuid:job_id>/rerun/", runs.rerun, name="job-rerun"),
    path("jobs/<uuid:job_id>/log/", runs.job_log, name="job-log"),
    path("recipes/", runs.recipes, name="recipes"),
    path("recipes/<slug:slug>/", runs.recipe, name="recipe"),
    path("datasets/", datasets.datasets, name="datasets"),
    path("datasets/<slug:slug>/", datasets.dataset, name="dataset"),
    path("system/", system.system, name="system"),
    path("system/training/", system.training_banner, name="training-banner"),
]
