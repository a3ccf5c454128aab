"""REST for notifications, below /api/v1/: everybody's own. Addresses that messages go to go in, and never come out."""

from typing import Any, ClassVar

import django_filters
from django.conf import settings
from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from notifications import selectors
from notifications.kinds import kinds
from notifications.models import Notification, Target
from notifications.services import preferences, reading, targets
from notifications.services.outside import told
from platform_site.common.api.filters import StatusFilter, StrictFilterSet, refuse_unknown
from platform_site.common.api.people import signed_in
from platform_site.common.api.serializers import StrictSerializer
from platform_site.common.api.views import ApiDetailView, ApiListView, ApiView
from platform_site.common.roles import Role
from platform_site.common.severity import Severity

SEVERITIES = [severity.word for severity in Severity]
LEAST = ["warning", "error", "critical"]


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    """In the language of the request."""

    severity = serializers.ChoiceField(choices=SEVERITIES, source="severity_word")
    about = serializers.CharField(source="event.about", help_text="Name of what it happened to.")
    title = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    link = serializers.CharField(source="event.link", help_text="Path on this site.")
    count = serializers.IntegerField(help_text="Events that are told as one; the worst is shown.")

    class Meta:
        model = Notification
        fields = ("id", "kind", "severity", "about", "title", "text", "link", "count", "at", "last_at", "read_at")

    def get_title(self, notification: Notification) -> str:
        return notification.event.told.title

    def get_text(self, notification: Notification) -> str:
        return notification.event.told.text


class NotificationFilter(StrictFilterSet):
    unread = django_filters.BooleanFilter(field_name="read_at", lookup_expr="isnull")
    kind = django_filters.ChoiceFilter(choices=lambda: [(kind.slug, kind.slug) for kind in kinds()])
    severity = StatusFilter(choices=[(word, word) for word in SEVERITIES], method="of_severity")

    def of_severity(self, found: QuerySet[Notification], _name: str, word: str) -> QuerySet[Notification]:
        return found.filter(severity=Severity.of(word))


class Notifications(ApiListView):
    """What you were told in the page, newest first."""

    serializer_class = NotificationSerializer
    queryset = Notification.objects.none()
    filterset_class = NotificationFilter
    search_fields: ClassVar = ["event__about"]
    ordering_fields: ClassVar = ["at", "last_at", "severity"]

    def get_queryset(self) -> QuerySet[Notification]:
        return selectors.notifications_for(self.request.user)


class ReadOne(ApiView):
    required_role = Role.VIEWER
    writing_scope = "operate"
    naturally_idempotent = True

    @extend_schema(operation_id="notifications_read", request=None, responses=NotificationSerializer)
    def post(self, request: Request, notification_id: int) -> Response:
        """Mark as read."""
        return Response(NotificationSerializer(reading.read(signed_in(request), notification_id)).data)


class ReadAll(ApiView):
    required_role = Role.VIEWER
    writing_scope = "operate"
    naturally_idempotent = True

    @extend_schema(
        operation_id="notifications_read_all",
        request=None,
        responses=inline_serializer("NotificationsRead", {"read": serializers.IntegerField()}),
    )
    def post(self, request: Request) -> Response:
        """Mark all as read; how many were not."""
        return Response({"read": reading.read_all(signed_in(request))})


class ChannelSerializer(StrictSerializer):
    kinds = serializers.ListField(
        child=serializers.CharField(), required=False, max_length=100, help_text="What is told there."
    )
    severity = serializers.ChoiceField(choices=LEAST, required=False, help_text="Of anomalies: from which severity on.")


class ChannelsSerializer(StrictSerializer):
    page = ChannelSerializer(required=False)
    browser = ChannelSerializer(required=False)
    email = ChannelSerializer(required=False)
    webhook = ChannelSerializer(required=False)


class PreferencesSerializer(StrictSerializer):
    channels = ChannelsSerializer(required=False)
    mine_only = serializers.BooleanField(
        required=False, help_text="Of pipelines and runs, only those that you started."
    )
    language = serializers.ChoiceField(
        choices=[code for code, _name in settings.LANGUAGES], required=False, help_text="Of what is sent outside."
    )


class Preferences(ApiView):
    """How you want to be told."""

    required_role: ClassVar = {"PATCH": Role.VIEWER}
    writing_scope = "operate"

    @extend_schema(operation_id="notification_preferences", responses=PreferencesSerializer)
    def get(self, request: Request) -> Response:
        refuse_unknown(request.query_params, {"format"})
        return Response(_shown(preferences.wishes_for(signed_in(request))))

    @extend_schema(
        operation_id="notification_preferences_change", request=PreferencesSerializer, responses=PreferencesSerializer
    )
    def patch(self, request: Request) -> Response:
        """What is left out stays. `kinds` of a channel is the whole list."""
        asked = PreferencesSerializer(data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        return Response(_shown(preferences.keep(signed_in(request), **asked.validated_data)))


def _shown(wishes: preferences.Wishes) -> dict[str, Any]:
    return {
        "channels": {
            name: {
                "kinds": [kind.slug for kind in kinds() if kind.slug not in channel.off],
                "severity": channel.least.word,
            }
            for name, channel in wishes.channels.items()
        },
        "mine_only": wishes.mine_only,
        "language": wishes.language,
    }


class TargetSerializer(serializers.ModelSerializer[Target]):
    problem = serializers.SerializerMethodField(
        help_text="Why a message did not arrive; empty when the last one did, and none is lost."
    )
    lost = serializers.IntegerField(
        read_only=True,
        help_text="Events that did not arrive, or may not have, since the address was last changed or a test arrived.",
    )

    class Meta:
        model = Target
        fields = ("id", "name", "medium", "service", "created_at", "sent_at", "problem", "problem_at", "lost")

    @extend_schema_field(serializers.CharField())
    def get_problem(self, target: Target) -> str:
        return told(target.problem)


class NewTargetSerializer(StrictSerializer):
    name = serializers.CharField(max_length=60)
    url = serializers.CharField(
        max_length=targets.LONGEST, write_only=True, help_text="As Apprise writes them; an https address takes JSON."
    )


class Targets(ApiListView):
    """Where messages to you are sent. The addresses themselves are never shown."""

    required_role = Role.VIEWER
    writing_scope = "operate"
    # A process looks at the address, which no transaction waits for; a second one of the same name is refused.
    naturally_idempotent = True
    serializer_class = TargetSerializer
    queryset = Target.objects.none()
    search_fields: ClassVar = ["name"]
    ordering_fields: ClassVar = ["name", "created_at"]

    def get_queryset(self) -> QuerySet[Target]:
        return selectors.targets_for(self.request.user)

    @extend_schema(request=NewTargetSerializer, responses={201: TargetSerializer})
    def post(self, request: Request) -> Response:
        asked = NewTargetSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(TargetSerializer(targets.add(signed_in(request), **asked.validated_data)).data, status=201)


class TargetDetail(ApiDetailView):
    required_role = Role.VIEWER
    writing_scope = "operate"
    serializer_class = TargetSerializer

    def get(self, request: Request, target_id: int) -> Response:
        return Response(TargetSerializer(selectors.target_for(request.user, target_id)).data)

    @extend_schema(request=NewTargetSerializer, responses=TargetSerializer)
    def patch(self, request: Request, target_id: int) -> Response:
        target = selectors.target_for(request.user, target_id)
        asked = NewTargetSerializer(data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        return Response(TargetSerializer(targets.change(target, **asked.validated_data)).data)

    def delete(self, request: Request, target_id: int) -> Response:
        targets.remove(selectors.target_for(request.user, target_id))
        return Response(status=204)


class TryTarget(ApiView):
    required_role = Role.VIEWER
    writing_scope = "operate"
    # Sends, which no transaction waits for; a second one is refused for some seconds.
    naturally_idempotent = True

    @extend_schema(operation_id="notification_targets_test", request=None, responses=TargetSerializer)
    def post(self, request: Request, target_id: int) -> Response:
        """Send a message now. 422 says why it did not arrive."""
        targets.try_out(selectors.target_for(request.user, target_id))
        return Response(TargetSerializer(selectors.target_for(request.user, target_id)).data)


urlpatterns = [
    path("notifications/", Notifications.as_view(), name="api-notifications"),
    path("notifications/read-all/", ReadAll.as_view(), name="api-notifications-read-all"),
    path("notifications/preferences/", Preferences.as_view(), name="api-notification-preferences"),
    path("notifications/targets/", Targets.as_view(), name="api-notification-targets"),
    path("notifications/targets/<int:target_id>/", TargetDetail.as_view(), name="api-notification-target"),
    path("notifications/targets/<int:target_id>/test/", TryTarget.as_view(), name="api-notification-target-test"),
    path("notifications/<int:notification_id>/read/", ReadOne.as_view(), name="api-notification-read"),
]
