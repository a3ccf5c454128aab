"""REST for datasets, below /api/v1/."""

import os
from collections.abc import Sequence
from contextlib import closing
from typing import IO, Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.urls import path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from platform_site.common import audit
from platform_site.common.api.filters import StrictFilterSet
from platform_site.common.api.parsers import Json
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiListView, ApiView
from platform_site.common.errors import Invalid
from platform_site.common.selectors import projects_for
from platform_site.common.uploads import FORM_ROOM

from . import selectors
from .models import Dataset, DatasetCopy, DatasetVersion
from .services import datasets as services
from .services import store, validate
from .services.sources import open_path


class CopySerializer(serializers.ModelSerializer[DatasetCopy]):
    host = serializers.CharField(source="host.name")

    class Meta:
        model = DatasetCopy
        fields = ("host", "verified_at")


class VersionSerializer(serializers.ModelSerializer[DatasetVersion]):
    copies = CopySerializer(many=True)
    used_by = serializers.SerializerMethodField(help_text="Jobs that trained on it.")
    columns = serializers.ListField(child=serializers.CharField())
    stats = serializers.DictField()

    class Meta:
        model = DatasetVersion
        fields = ("number", "sha256", "size", "rows", "columns", "format", "stats", "copies", "used_by", "created_at")

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_used_by(self, version: DatasetVersion) -> list[str]:
        return [str(job.pk) for job in version.jobs.all()]


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    project = serializers.CharField(source="project.slug")
    versions = serializers.SerializerMethodField(help_text="How many there are.")
    latest = serializers.SerializerMethodField()

    class Meta:
        model = Dataset
        fields = ("slug", "name", "kind", "description", "project", "is_builtin", "created_at", "versions", "latest")

    @extend_schema_field(serializers.IntegerField())
    def get_versions(self, dataset: Dataset) -> int:
        return len(dataset.versions.all())

    @extend_schema_field(VersionSerializer(allow_null=True))
    def get_latest(self, dataset: Dataset) -> Any:
        newest = next(iter(dataset.versions.all()), None)
        return None if newest is None else VersionSerializer(newest).data


class SourceSerializer(StrictSerializer):
    """A file, sent or named."""

    file = serializers.FileField(required=False, allow_empty_file=True, help_text="JSONL, one object a line.")
    path = serializers.CharField(
        required=False, max_length=4000, help_text="Instead of a file: one inside the platform's import folder."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("file" in attrs) == ("path" in attrs):
            raise serializers.ValidationError({"file": [_("Give either a file or a path.")]})
        return attrs


class CheckedSourceSerializer(SourceSerializer):
    kind = serializers.ChoiceField(choices=Dataset.Kind.choices)


class NewDatasetSerializer(CheckedSourceSerializer):
    name = serializers.CharField(max_length=200)
    slug = serializers.CharField(required=False, max_length=63)
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000, default="")


PROBLEMS = inline_serializer(
    "DatasetProblem", {"line": serializers.IntegerField(), "message": serializers.CharField()}, many=True
)
REPORT = inline_serializer(
    "DatasetReport",
    {
        "valid": serializers.BooleanField(),
        "errors": PROBLEMS,
        "warnings": PROBLEMS,
        "rows": serializers.IntegerField(),
        "columns": serializers.ListField(child=serializers.CharField()),
        "stats": serializers.DictField(),
        "truncated": serializers.BooleanField(),
    },
)
VERIFIED = inline_serializer(
    "DatasetVerified",
    {"ok": serializers.BooleanField(), "sha256": serializers.CharField(), "problem": serializers.CharField()},
)


class TakesFile:
    """Mixin for views that take a file. The work is hashing and writing, and doing it twice does no harm: it is
    kept out of database transactions."""

    parser_classes: Sequence[type[BaseParser]] = (MultiPartParser, Json)
    naturally_idempotent = True

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # APIView has it
        # Before anything reads the body. A body larger than it says is cut by the server.
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > validate.max_bytes() + FORM_ROOM:
            raise store.too_large()


def opened(given: dict[str, Any]) -> IO[bytes]:
    """The file of a request, to be closed by the caller. Raises TooLarge."""
    file: IO[bytes] = given["file"].file if "file" in given else open_path(given["path"])
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > validate.max_bytes():
        file.close()
        raise store.too_large()
    return file


class DatasetFilter(StrictFilterSet):
    kind = django_filters.ChoiceFilter(choices=Dataset.Kind.choices)


class Datasets(TakesFile, ApiListView):
    """The datasets, and making one with its first version."""

    serializer_class = DatasetSerializer
    queryset = Dataset.objects.none()
    filterset_class = DatasetFilter
    search_fields: ClassVar = ["slug", "name", "description"]
    ordering_fields: ClassVar = ["slug", "name", "kind", "created_at"]

    def get_queryset(self) -> QuerySet[Dataset]:
        return selectors.datasets_for(self.request.user)

    @extend_schema(
        request={"multipart/form-data": NewDatasetSerializer, "application/json": NewDatasetSerializer},
        responses={201: DatasetSerializer},
    )
    def post(self, request: Request) -> Response:
        asked = NewDatasetSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        project = projects_for(request.user).order_by("id").first()
        if project is None:
            raise Invalid(_("There is no project yet. Run manage.py install_builtins."))
        with closing(opened(given)) as file:
            dataset = services.create_dataset(
                user=signed_in(request),
                project=project,
                name=given["name"],
                kind=given["kind"],
                file=file,
                slug=given.get("slug"),
                description=given["description"],
            )
        return Response(DatasetSerializer(selectors.dataset_for(request.user, dataset.slug)).data, status=201)


class Versions(TakesFile, ApiListView):
    """The versions of a dataset, newest first, and adding one. The same content again is the same version."""

    serializer_class = VersionSerializer
    queryset = DatasetVersion.objects.none()
    ordering_fields: ClassVar = ["number", "created_at", "rows", "size"]

    def get_queryset(self) -> QuerySet[DatasetVersion]:
        return selectors.versions_for(self.request.user, self.kwargs["slug"])

    @extend_schema(
        request={"multipart/form-data": SourceSerializer, "application/json": SourceSerializer},
        responses={201: VersionSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        dataset = selectors.dataset_for(request.user, slug)
        asked = SourceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with closing(opened(asked.validated_data)) as file:
            version = services.add_version(user=signed_in(request), dataset=dataset, file=file)
        return Response(VersionSerializer(selectors.version_for(request.user, slug, version.number)).data, status=201)


class Verify(ApiView):
    """Reads a version's file again and compares it with what was recorded."""

    naturally_idempotent = True

    @extend_schema(request=None, responses={200: VERIFIED})
    def post(self, request: Request, slug: str, number: int) -> Response:
        version = selectors.version_for(request.user, slug, number)
        verified = store.verify(version)
        audit.record("dataset.verify", request.user, version, ok=verified.ok)
        return Response({"ok": verified.ok, "sha256": version.sha256, "problem": verified.problem})


class Validate(TakesFile, ApiView):
    """Says what is wrong with a file, by line. Keeps nothing."""

    @extend_schema(
        request={"multipart/form-data": CheckedSourceSerializer, "application/json": CheckedSourceSerializer},
        responses={200: REPORT},
    )
    def post(self, request: Request) -> Response:
        asked = CheckedSourceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with closing(opened(asked.validated_data)) as file:
            report = validate.validate(file, asked.validated_data["kind"])
        return Response(
            {
                "valid": report.valid,
                "errors": [{"line": problem.line, "message": problem.message} for problem in report.problems],
                "warnings": [],
                "rows": report.rows,
                "columns": report.columns,
                "stats": report.stats,
                "truncated": report.truncated,
            }
        )


urlpatterns = [
    path("datasets/", Datasets.as_view(), name="api-datasets"),
    path("datasets/validate/", Validate.as_view(), name="api-dataset-validate"),
    path("datasets/<slug:slug>/versions/", Versions.as_view(), name="api-dataset-versions"),
    path("datasets/<slug:slug>/versions/<int:number>/verify/", Verify.as_view(), name="api-dataset-verify"),
]
