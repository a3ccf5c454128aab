"""The addresses below /api/v1/, app by app."""

from django.urls import include, path

from platform_site.common.api.urls import fallback

urlpatterns = [
    path("", include("platform_site.common.api.urls")),
    path("", include("pipelines.api.urls")),
    path("", include("pipelines.api_recipe_tools")),
    path("", include("pipelines.api_recipes")),
    path("", include("notifications.api")),
    path("", include("environments.api")),
    path("", include("datasets.api")),
    path("", include("monitoring.api")),
    path("", include("monitoring.api_findings")),
    path("", include("monitoring.system_api")),
    *fallback,
]
