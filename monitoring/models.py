"""What is seen of a run: its stream, the segments of it (one an attempt's file), and the rows read from them."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Stream(models.Model):
    """The metrics of one training stage, over all its attempts. Shares its uuid with stage and job."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="streams")
    version = models.PositiveBigIntegerField(default=0, help_text="Grows with each sync that changed something.")
    target_step = models.PositiveBigIntegerField(_("target step"), null=True, blank=True)
    last_step = models.BigIntegerField(_("last step"), null=True, blank=True)
    has_anomaly = models.BooleanField(_("anomaly"), default=False)
    anomaly_type = models.CharField(_("anomaly type"), max_length=64, blank=True)
    anomaly_message = models.TextField(_("anomaly message"), blank=True)
    anomaly_step = models.BigIntegerField(_("anomaly step"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    def __str__(self) -> str:
        return str(self.id)


class Segment(models.Model):
    """One attempt's metrics file, and how far it has been read."""

    stream = models.ForeignKey(Stream, on_delete=models.CASCADE, related_name="segments")
    attempt = models.PositiveIntegerField(_("attempt"))
    path = models.CharField(_("path"), max_length=1000, help_text="Absolute, on the host of the attempt.")
    offset = models.PositiveBigIntegerField(_("offset"), default=0)
    generation = models.PositiveIntegerField(_("generation"), default=0)
    fingerprint = models.CharField(_("fingerprint"), max_length=128, blank=True)
    resumed_from = models.BigIntegerField(_("resumed from step"), null=True, blank=True)
    first_step = models.BigIntegerField(_("first step"), null=True, blank=True)
    last_step = models.BigIntegerField(_("last step"), null=True, blank=True)
    bad_lines = models.PositiveBigIntegerField(_("bad lines"), default=0)

    class Meta:
        ordering: ClassVar = ["stream_id", "attempt"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["stream", "attempt"], name="segment_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.stream_id}#{self.attempt}"
