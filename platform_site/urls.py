"""Every address of the platform."""

from django.contrib import admin
from django.urls import include, path

from . import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api/v1/", include("platform_site.api_urls")),
    path("admin/", admin.site.urls),
    path("", include("platform_site.views.urls")),
]

handler400 = "platform_site.views.errors.bad_request"
handler403 = "platform_site.views.errors.forbidden"
handler404 = "platform_site.views.errors.not_found"
handler500 = "platform_site.views.errors.server_error"
