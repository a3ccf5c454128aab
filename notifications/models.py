"""What happened, who was told of it in the browser, and what was sent where."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from notifications.kinds import Told, kind_of, label_of, severity_label
from platform_site.common.severity import Severity


class Event(models.Model):
    """Something that people are told of, written in the transaction in which it happened; the outbox of all that
    follows from it. `key` names it for good: it happens once, however often it is noticed.

    `about` is the name of what it happened to, and `group` identifies that: events of one group and kind that come one
    after the other are told as one.
    """

    key = models.CharField(max_length=400, unique=True)
    kind = models.CharField(_("kind"), max_length=32)
    severity = models.PositiveSmallIntegerField(_("severity"), choices=[(one.value, one.word) for one in Severity])
    group = models.CharField(max_length=100)
    about = models.CharField(_("about"), max_length=200)
    link = models.CharField(_("link"), max_length=300, help_text="Path on this site.")
    args = models.JSONField(default=dict, blank=True)
    owner = models.ForeignKey(
        "common.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    at = models.DateTimeField(_("at"), auto_now_add=True)
    spread_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(spread_at=None), name="event_unspread"),
            models.Index(fields=["at"], name="event_at"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def told(self) -> Told:
        """In the active language."""
        kind = kind_of(self.kind)
        return kind.tell(self.about, self.args) if kind is not None else Told(f"{self.kind}: {self.about}", "")


class Notification(models.Model):
    """What one person was told in the browser: an event, or several of one group and kind that came one after the
    other while the first was unread. `event` is the worst of them, and the newest of the worst; `key` that of the
    first, so that nobody is told of an event twice."""

    user = models.ForeignKey("common.User", on_delete=models.CASCADE, related_name="notifications", db_index=False)
    key = models.CharField(max_length=400)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(_("kind"), max_length=32)
    group = models.CharField(max_length=100)
    severity = models.PositiveSmallIntegerField(_("severity"), choices=[(one.value, one.word) for one in Severity])
    count = models.PositiveIntegerField(_("events"), default=1)
    at = models.DateTimeField(_("at"))
    last_at = models.DateTimeField(_("last"))
    in_page = models.BooleanField(_("in the page"), default=True)
    in_browser = models.BooleanField(_("by the browser"), default=False)
    read_at = models.DateTimeField(_("read"), null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-last_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "key"], name="notification_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["user", "-last_at"], name="notification_newest"),
            models.Index(fields=["user", "group"], condition=Q(read_at=None), name="notification_unread"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.key}"

    @property
    def kind_label(self) -> str:
        return label_of(self.kind)

    @property
    def severity_word(self) -> str:
        return Severity(self.severity).word

    @property
    def severity_label(self) -> str:
        return severity_label(self.severity)


class Preference(models.Model):
    """How one person wants to be told; without a row the defaults of `notifications.services.preferences` count."""

    user = models.OneToOneField(
        "common.User", on_delete=models.CASCADE, primary_key=True, related_name="notification_preference"
    )
    channels = models.JSONField(_("channels"), default=dict, help_text="{channel: {off: [kind], from: severity}}.")
    mine_only = models.BooleanField(_("only of what I started"), default=False)
    language = models.CharField(_("language"), max_length=16, default="en", help_text="Of what is sent outside.")

    def __str__(self) -> str:
        return str(self.user_id)


class Target(models.Model):
    """Where one person has messages sent to. The address is a secret: it is sealed, and never shown again.

    `lost` are events that did not arrive, or of which nobody knows, since it was last changed or a test arrived; while
    there are any, `problem` stays.
    """

    class Medium(models.TextChoices):
        EMAIL = "email", _("e-mail")
        WEBHOOK = "webhook", _("webhook")

    user = models.ForeignKey("common.User", on_delete=models.CASCADE, related_name="notification_targets")
    name = models.CharField(_("name"), max_length=60)
    medium = models.CharField(_("medium"), max_length=8, choices=Medium.choices)
    service = models.CharField(_("service"), max_length=60, help_text="As it calls itself, e.g. Slack.")
    secret = models.TextField(editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    tested_at = models.DateTimeField(null=True, blank=True, editable=False)
    sent_at = models.DateTimeField(_("last sent"), null=True, blank=True, editable=False)
    problem = models.JSONField(_("last problem"), default=dict, blank=True, editable=False)
    problem_at = models.DateTimeField(null=True, blank=True, editable=False)
    lost = models.PositiveIntegerField(_("lost"), default=0, editable=False)

    class Meta:
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "name"], name="target_name"),
        ]

    def __str__(self) -> str:
        return self.name


class Lane(models.Model):
    """Half of what goes to a target: errors (`urgent`), or the rest. Neither waits for the other.

    `next_at`: nothing is sent before. It grows with a flood, and holds the place while a message is on its way.
    """

    target = models.ForeignKey(Target, on_delete=models.CASCADE, related_name="lanes", db_index=False)
    urgent = models.BooleanField(_("errors"))
    next_at = models.DateTimeField(null=True, blank=True)
    pause_s = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-urgent", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["target", "urgent"], name="lane_once"),
        ]

    def __str__(self) -> str:
        return f"{self.target_id}: {'urgent' if self.urgent else 'routine'}"


class Delivery(models.Model):
    """An event on its way to a target: to each at most once. One that may have arrived is not sent again."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        SENDING = "sending", _("sending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")
        UNKNOWN = "unknown", _("may have arrived")

    lane = models.ForeignKey(Lane, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.PENDING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)

    class Meta:
        ordering: ClassVar = ["id"]
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["lane", "event"], name="delivery_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["lane"], condition=Q(state__in=["pending", "sending"]), name="delivery_due"),
        ]

    def __str__(self) -> str:
        return f"{self.lane_id}: {self.event_id}"
