"""What is trained on: named datasets, their immutable versions, and the copies of them on hosts."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Dataset(models.Model):
    class Kind(models.TextChoices):
        SFT = "sft", _("SFT conversations")
        PREFERENCE = "preference", _("preference pairs")
        PROMPTS = "prompts", _("prompts with a checkable answer")
        EVAL = "eval", _("evaluation items")

    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="datasets")
    slug = models.SlugField(_("slug"), max_length=63, unique=True)
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    description = models.TextField(_("description"), blank=True)
    is_builtin = models.BooleanField(_("built in"), default=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """One content, never changed: the file stands in the store under its sha256."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(_("number"))
    sha256 = models.CharField("sha256", max_length=64)
    size = models.PositiveBigIntegerField(_("size in bytes"))
    rows = models.PositiveBigIntegerField(_("rows"))
    columns = models.JSONField(_("columns"), default=list)
    format = models.CharField(_("format"), max_length=16)
    stats = models.JSONField(_("statistics"), default=dict, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["dataset_id", "-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_number"),
            models.UniqueConstraint(fields=["dataset", "sha256"], name="dataset_version_content"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id}@{self.number}"


class DatasetCopy(models.Model):
    """A version's file on a host, with the time its hash was last verified there."""

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="copies")
    host = models.ForeignKey("environments.Host", on_delete=models.CASCADE, related_name="dataset_copies")
    path = models.CharField(_("path"), max_length=1000)
    verified_at = models.DateTimeField(_("verified"), null=True, blank=True)
    mtime_ns = models.BigIntegerField(null=True, editable=False)
    sending_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "host"], name="dataset_copy_once"),
        ]

    def __str__(self) -> str:
        return self.path
