"""Where things run."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _


class Host(models.Model):
    """A machine that runs stages. `local` is the one that runs the platform."""

    class Kind(models.TextChoices):
        LOCAL = "local", _("this machine")

    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="hosts")
    name = models.SlugField(_("name"), max_length=63, unique=True)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.LOCAL)
    root = models.CharField(_("root folder"), max_length=1000, help_text=_("Run folders live below it. Absolute."))
    python = models.CharField(
        _("training Python"),
        max_length=1000,
        blank=True,
        help_text=_("Empty: the checkout's own environment."),
    )
    slots = models.PositiveSmallIntegerField(
        _("slots"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("How many runs may share it at a time."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    unreachable_since = models.DateTimeField(_("unreachable since"), null=True, blank=True)
    retry_at = models.DateTimeField(_("next try"), null=True, blank=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    observer = models.CharField(max_length=64, blank=True, editable=False)
    observer_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
