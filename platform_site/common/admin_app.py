"""Django's admin as an app of ours. A module of its own: the site itself needs models, which are not ready yet."""

from django.contrib.admin.apps import AdminConfig


class AnnealAdminConfig(AdminConfig):
    """In INSTALLED_APPS in place of django.contrib.admin."""

    default_site = "platform_site.common.admin_site.AnnealAdminSite"
