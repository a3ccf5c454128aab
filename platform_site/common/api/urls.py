"""Addresses of the shared things, below /api/v1/."""

from django.urls import path, re_path

from .resources import AuditList, ProjectList, SchemaView, Unknown

urlpatterns = [
    path("schema/", SchemaView.as_view(), name="schema"),
    path("projects/", ProjectList.as_view(), name="api-projects"),
    path("audit/", AuditList.as_view(), name="api-audit"),
]

fallback = [re_path(r"^", Unknown.as_view(), name="api-unknown")]
"""To stand after all others: an address nobody knows."""
