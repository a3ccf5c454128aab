"""Where things run."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from .gpus import validate_gpus, validate_labels


class Host(models.Model):
    """A machine that runs stages. `local` is the one that runs the platform."""

    class Kind(models.TextChoices):
        LOCAL = "local", _("this machine")
        SSH = "ssh", _("over SSH")
        RAY = "ray", _("a Ray cluster")

    project = models.ForeignKey("common.Project", on_delete=models.PROTECT, related_name="hosts")
    name = models.SlugField(_("name"), max_length=63, unique=True)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices, default=Kind.LOCAL)
    address = models.CharField(_("address"), max_length=253, blank=True, help_text=_("Name or IP address."))
    port = models.PositiveIntegerField(
        _("port"), default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    user = models.CharField(_("user"), max_length=64, blank=True, help_text=_("Needs no special rights there."))
    secret = models.TextField(editable=False, blank=True)
    host_key = models.TextField(_("host key"), editable=False, blank=True)
    root = models.CharField(
        _("root folder"),
        max_length=1000,
        blank=True,
        help_text=_("All that the platform writes there lives below it. Absolute; empty: anneal in the user's home."),
    )
    python = models.CharField(
        _("training Python"),
        max_length=1000,
        blank=True,
        help_text=_("Absolute. Empty: the environment that the platform sets up."),
    )
    slots = models.PositiveSmallIntegerField(
        _("slots"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("How many runs may share it at a time."),
    )
    labels = models.JSONField(
        _("labels"),
        default=list,
        blank=True,
        validators=[validate_labels],
        help_text=_("Words that recipes may ask for, as a JSON list."),
    )
    gpus = models.JSONField(
        _("list of GPUs"),
        default=list,
        blank=True,
        validators=[validate_gpus],
        help_text=_("As the driver counts them: a JSON list of {index, name, memory_mib}."),
    )
    gpus_by_hand = models.BooleanField(
        _("GPUs set by hand"), default=False, help_text=_("What the driver says is left aside.")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    unreachable_since = models.DateTimeField(_("unreachable since"), null=True, blank=True)
    retry_at = models.DateTimeField(_("next try"), null=True, blank=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    seen_at = models.DateTimeField(_("last answer"), null=True, editable=False)
    checking_since = models.DateTimeField(_("being checked since"), null=True, editable=False)
    revision = models.PositiveIntegerField(_("revision"), default=0, editable=False)
    """Counts the changes that people made. Two who change it at once name the same one: the second is refused."""
    observer = models.CharField(max_length=64, blank=True, editable=False)
    observer_until = models.DateTimeField(null=True, blank=True, editable=False)
    facts = models.JSONField(_("facts"), default=dict, editable=False, blank=True)
    facts_at = models.DateTimeField(_("facts as of"), null=True, editable=False)
    environment = models.JSONField(_("training environment"), default=dict, editable=False, blank=True)
    """What verify_env said of it, with the digest of the version.json that it was compared with; {} before that."""
    environment_at = models.DateTimeField(_("environment compared"), null=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=500, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> str:
        """Where it is reached, and over SSH as whom: user@address:port, an IPv6 address in brackets."""
        if self.kind != self.Kind.SSH:
            return self.address
        return f"{self.user}@{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"

    @property
    def is_local(self) -> bool:
        return self.kind == self.Kind.LOCAL
