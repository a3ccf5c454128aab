"""The addresses below /api/v1/, app by app."""

from platform_site.common.api import urls as common

urlpatterns = [
    *common.urlpatterns,
    *common.fallback,
]
