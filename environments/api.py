"""REST for hosts, below /api/v1/. What lets the platform in goes in here, and never comes out."""

from typing import Any, ClassVar

import django_filters
from django.conf import settings
from django.db.models import QuerySet
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.common.api.filters import StrictFilterSet
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.errors import Invalid
from platform_site.common.roles import Role
from platform_site.common.selectors import projects_for

from . import training
from .drift import Drift, drift
from .messages import send_comparison
from .models import Host
from .selectors import host_for, hosts_for
from .services import hosts as services
from .transports.connection import fingerprint


class EnvironmentDifferenceSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    status = serializers.CharField(help_text="error or warning; only errors make the environment differ.")
    message = serializers.CharField()
    wanted = serializers.CharField(help_text="Of a package: the version that is needed.")
    found = serializers.CharField(help_text="Of a package: the version that is there; empty where it is missing.")


class DriftSerializer(serializers.Serializer[Any]):
    """An environment against version.json, as it was last compared: current, differs, or unknown before that."""

    status = serializers.CharField(help_text="current, differs or unknown.")
    differences = EnvironmentDifferenceSerializer(many=True)
    kind = serializers.CharField(help_text="cpu or cuda.")
    python = serializers.CharField()
    torch_build = serializers.CharField(help_text="cpu, or the CUDA version that torch was built for.")
    as_of = serializers.DateTimeField(allow_null=True)


class HostEnvironmentSerializer(DriftSerializer):
    host = serializers.CharField()
    training = serializers.DictField(child=serializers.CharField(), help_text="`{status, message}`.")


class SystemEnvironmentSerializer(HostEnvironmentSerializer):
    """This machine; `hosts` are the others, `policy` says what is done about one that differs."""

    policy = serializers.CharField(help_text="report or update.")
    hosts = HostEnvironmentSerializer(many=True)


def environment_of(host: Host) -> dict[str, Any]:
    found = training.state(host)
    told = {"status": found.status, "message": found.message}
    return {"host": host.name, "training": told, **DriftSerializer(drift(host)).data}


class HostSerializer(serializers.ModelSerializer[Host]):
    """Whether there are credentials is told; what they are is not."""

    project = serializers.CharField(source="project.slug")
    kind = serializers.CharField(help_text="local, ssh or ray.")
    labels = serializers.ListField(child=serializers.CharField())
    gpus = serializers.ListField(child=serializers.DictField(), help_text="`{index, name, memory_mib}` each.")
    facts = serializers.DictField()
    fingerprint = serializers.SerializerMethodField(help_text="Of the enrolled host key; empty when there is none.")
    has_credentials = serializers.SerializerMethodField()
    training = serializers.SerializerMethodField()
    environment = serializers.SerializerMethodField()

    class Meta:
        model = Host
        fields = (
            "name", "project", "kind", "address", "port", "user", "has_credentials", "fingerprint", "root", "python",
            "slots", "enabled", "labels", "gpus", "gpus_by_hand", "revision", "unreachable_since", "seen_at",
            "checking_since", "last_error", "last_error_at", "facts", "facts_at", "training", "environment",
            "created_at",
        )  # fmt: skip

    def get_fingerprint(self, host: Host) -> str:
        return fingerprint(host.host_key)

    def get_has_credentials(self, host: Host) -> bool:
        return bool(host.secret)

    @extend_schema_field(serializers.DictField(child=serializers.CharField()))
    def get_training(self, host: Host) -> dict[str, str]:
        found = training.state(host)
        return {"status": found.status, "message": found.message}

    @extend_schema_field(DriftSerializer)
    def get_environment(self, host: Host) -> dict[str, Any]:
        return dict(DriftSerializer(drift(host)).data)


class ChangesSerializer(StrictSerializer):
    address = serializers.CharField(max_length=253, help_text="Of a Ray cluster: its Jobs API, https://ray-head:8265.")
    port = serializers.IntegerField(required=False, min_value=1, max_value=65_535)
    user = serializers.CharField(required=False, max_length=64, help_text="Over SSH.")
    token = serializers.CharField(required=False, write_only=True, max_length=2000, help_text="Of a Ray cluster.")
    password = serializers.CharField(required=False, write_only=True, max_length=1000, trim_whitespace=False)
    private_key = serializers.CharField(
        required=False, write_only=True, max_length=20_000, trim_whitespace=False, help_text="OpenSSH or PEM."
    )
    passphrase = serializers.CharField(required=False, write_only=True, max_length=1000, trim_whitespace=False)
    root = serializers.CharField(required=False, allow_blank=True, max_length=1000)  # type: ignore[assignment]  # the metaclass takes it out of the class
    python = serializers.CharField(required=False, allow_blank=True, max_length=1000)
    slots = serializers.IntegerField(required=False, min_value=1, max_value=1000)
    enabled = serializers.BooleanField(required=False)
    labels = serializers.ListField(child=serializers.CharField(), required=False, help_text="Recipes may ask for them.")
    gpus_by_hand = serializers.BooleanField(required=False, help_text="What the driver says is left aside.")
    gpus = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="`{index, name, memory_mib}` each."
    )


class HostChangesSerializer(ChangesSerializer):
    revision = serializers.IntegerField(
        required=False, min_value=0, help_text="The one that is changed: 409 when somebody changed it meanwhile."
    )


class NewHostSerializer(ChangesSerializer):
    name = serializers.CharField(max_length=63)
    kind = serializers.ChoiceField(choices=["ssh", "ray"], default="ssh")


class EnrolSerializer(StrictSerializer):
    fingerprint = serializers.CharField(
        required=False, max_length=100, help_text="The one that you compared with the host's own. Without it: show it."
    )


class KeySerializer(serializers.Serializer[Any]):
    fingerprint = serializers.CharField()
    kind = serializers.CharField()
    enrolled = serializers.BooleanField()
    changed = serializers.BooleanField()


class HostFilter(StrictFilterSet):
    kind = django_filters.ChoiceFilter(choices=Host.Kind.choices)
    enabled = django_filters.BooleanFilter()


class Hosts(ApiListView):
    """The hosts, those that do not answer first; and adding one: a machine over SSH, or a Ray cluster."""

    required_role: ClassVar = {"POST": Role.ADMIN}
    serializer_class = HostSerializer
    queryset = Host.objects.none()
    filterset_class = HostFilter
    search_fields: ClassVar = ["name", "address"]
    ordering_fields: ClassVar = ["name", "created_at"]

    def get_queryset(self) -> QuerySet[Host]:
        return hosts_for(self.request.user)

    @extend_schema(request=NewHostSerializer, responses={201: HostSerializer})
    def post(self, request: Request) -> Response:
        asked = NewHostSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        project = projects_for(request.user).order_by("id").first()
        if project is None:
            raise Invalid(_("There is no project yet. Run manage.py install_builtins."))
        given = dict(asked.validated_data)
        kind = Host.Kind(given.pop("kind"))
        host = services.create(signed_in(request), project, given.pop("name"), given, kind)
        return Response(HostSerializer(host).data, status=201)


class HostDetail(ApiDetailView):
    required_role: ClassVar = {"PATCH": Role.ADMIN, "DELETE": Role.ADMIN}
    serializer_class = HostSerializer

    def get(self, request: Request, name: str) -> Response:
        return Response(HostSerializer(host_for(request.user, name)).data)

    @extend_schema(request=HostChangesSerializer, responses=HostSerializer)
    def patch(self, request: Request, name: str) -> Response:
        """Another address, port or user forgets the credentials, and another address or port the host key. With another
        address, port, user, root folder or Python it is checked anew. With `revision` the answer is 409, which says
        what changed, when somebody else changed it since."""
        host = host_for(request.user, name)
        asked = HostChangesSerializer(data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        fields = dict(asked.validated_data)
        revision = fields.pop("revision", None)
        services.update(signed_in(request), host, fields, revision=revision)
        return Response(HostSerializer(host_for(request.user, name)).data)

    def delete(self, request: Request, name: str) -> Response:
        services.delete(signed_in(request), host_for(request.user, name))
        return Response(status=204)


class HostEnroll(ApiView):
    """Shows the host's key; with the fingerprint of it, pins it. Needs no credentials and sends none."""

    required_role = Role.ADMIN
    naturally_idempotent = True

    @extend_schema(request=EnrolSerializer, responses=KeySerializer)
    def post(self, request: Request, name: str) -> Response:
        host = host_for(request.user, name)
        asked = EnrolSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        confirmed = asked.validated_data.get("fingerprint")
        if confirmed is None:
            return Response(KeySerializer(services.shown_key(host)).data)
        return Response(KeySerializer(services.enrol(signed_in(request), host, confirmed)).data)


class HostCheck(ApiView):
    """Logs in and keeps what the machine is: the answer has its facts, or says what hinders it. Its training
    environment is compared soon after. A Ray cluster takes its time: the answer is 202, and `checking_since` is null
    when it is done."""

    naturally_idempotent = True

    @extend_schema(request=None, responses={200: HostSerializer, 202: HostSerializer})
    def post(self, request: Request, name: str) -> Response:
        host = host_for(request.user, name)
        is_slow = host.kind == Host.Kind.RAY
        if is_slow:
            services.begin_check(host)
        else:
            services.check(host)
            send_comparison(host.pk)
        return Response(HostSerializer(host_for(request.user, name)).data, status=202 if is_slow else 200)


class SystemEnvironment(ApiView):
    """This machine's training environment, and each other host's, against version.json."""

    @extend_schema(responses=SystemEnvironmentSerializer)
    def get(self, request: Request) -> Response:
        here = {"host": "", "training": {}, **DriftSerializer(Drift("unknown")).data}
        others = []
        for host in hosts_for(request.user):
            if host.is_local:
                here = environment_of(host)
            else:
                others.append(environment_of(host))
        return Response({**here, "policy": settings.ENVIRONMENT_POLICY, "hosts": others})


urlpatterns = [
    path("system/env/", SystemEnvironment.as_view(), name="api-system-env"),
    path("hosts/", Hosts.as_view(), name="api-hosts"),
    path("hosts/<slug:name>/", HostDetail.as_view(), name="api-host"),
    path("hosts/<slug:name>/enroll/", HostEnroll.as_view(), name="api-host-enroll"),
    path("hosts/<slug:name>/check/", HostCheck.as_view(), name="api-host-check"),
]
