"""Setting hosts up."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from environments.selectors import host_for
from pipelines.selectors import pipeline_for
from pipelines.services.setup_host import set_up
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiView
from platform_site.common.roles import Role

from .shapes import PipelineShape


class SetupSerializer(StrictSerializer):
    packages = serializers.ChoiceField(
        choices=["cpu", "cuda"], required=False, help_text="Without it: what the machine has."
    )
    wheelhouse = serializers.BooleanField(
        required=False, help_text="Send the wheels from the platform's data folder: for hosts without a package index."
    )


class HostSetup(ApiView):
    """Sets up the training environment of a host, or brings it up to date; the answer is the pipeline that does it."""

    required_role: ClassVar = Role.ADMIN

    @extend_schema(request=SetupSerializer, responses={202: PipelineShape})
    def post(self, request: Request, name: str) -> Response:
        asked = SetupSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        pipeline = set_up(signed_in(request), host_for(request.user, name), **asked.validated_data)
        found = pipeline_for(request.user, pipeline.pk)
        return Response(PipelineShape(found).data, status=status.HTTP_202_ACCEPTED)
