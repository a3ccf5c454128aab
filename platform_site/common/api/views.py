"""The bases of all REST views: rights, filters and pages come from the settings, idempotency from here."""

from typing import Any

from rest_framework import generics, mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .idempotency import IdempotentPosts


class ApiView(IdempotentPosts, APIView):
    """One address with handlers `get`, `post`, …"""


class ApiListView(IdempotentPosts, mixins.ListModelMixin, generics.GenericAPIView[Any]):
    """`GET` is a filtered, ordered page of `get_queryset()`; add `post` for making one."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.list(request, *args, **kwargs)


class ApiDetailView(IdempotentPosts, generics.GenericAPIView[Any]):
    """An address of one object, found by `get_object()`."""


class ApiViewSet(IdempotentPosts, viewsets.GenericViewSet[Any]):
    """For owners who prefer routers."""
