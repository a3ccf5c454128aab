"""GPUs: who has which, and the GPU-hours of each project."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from pipelines.gpu_selectors import HostSlots, Slot, gpu_hours, gpu_slots
from platform_site.common.api.views import ApiView
from platform_site.common.roles import Role


class GpuShape(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="As the driver counts, in the order of the bus.")
    name = serializers.CharField(allow_blank=True)
    memory_gib = serializers.FloatField(help_text="0 where nobody knows it.")
    task_id = serializers.UUIDField(allow_null=True, help_text="The attempt that has it.")
    pipeline = serializers.UUIDField(allow_null=True)
    stage = serializers.CharField(allow_null=True)


class HostGpusShape(serializers.Serializer[Any]):
    host = serializers.CharField()
    labels = serializers.ListField(child=serializers.CharField())
    gpus = GpuShape(many=True)


class UsageShape(serializers.Serializer[Any]):
    project = serializers.CharField()
    gpu_hours = serializers.FloatField(help_text="Of all attempts, each for as long as it really ran.")


class GpusShape(serializers.Serializer[Any]):
    hosts = HostGpusShape(many=True)
    usage = UsageShape(many=True)


class Gpus(ApiView):
    required_role = Role.VIEWER

    @extend_schema(responses={200: GpusShape})
    def get(self, request: Request) -> Response:
        """Every GPU of every host with who has it, and what each project used so far."""
        return Response(
            {
                "hosts": [_host(found) for found in gpu_slots(request.user)],
                "usage": [
                    {"project": used.project.slug, "gpu_hours": round(used.gpu_hours, 4)}
                    for used in gpu_hours(request.user)
                ],
            }
        )


def _host(found: HostSlots) -> dict[str, Any]:
    return {
        "host": found.host.name,
        "labels": found.host.labels,
        "gpus": [_gpu(slot) for slot in found.slots],
    }


def _gpu(slot: Slot) -> dict[str, Any]:
    stage = slot.attempt.stage if slot.attempt is not None else None
    return {
        "index": slot.index,
        "name": slot.name,
        "memory_gib": slot.memory_gib,
        "task_id": slot.attempt.pk if slot.attempt is not None else None,
        "pipeline": stage.pipeline_id if stage is not None else None,
        "stage": stage.name if stage is not None else None,
    }
