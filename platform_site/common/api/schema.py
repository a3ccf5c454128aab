"""The OpenAPI description: every operation with its token, its errors and, on POST, its Idempotency-Key."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from drf_spectacular.utils import Direction, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from .authentication import KEYWORD
from .idempotency import HEADER, LONGEST_KEY


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registration
    target_class = "platform_site.common.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return build_bearer_security_scheme_object(header_name="Authorization", token_prefix=KEYWORD)


class ErrorDetailSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="A word for programs.")
    message = serializers.CharField(help_text="A sentence for people.")
    fields = serializers.DictField(  # type: ignore[assignment]  # the contract's name; the class's own is not used
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="Dotted name of a field: what is wrong with it.",
    )


class ErrorSerializer(serializers.Serializer[Any]):
    error = ErrorDetailSerializer()


class Schema(AutoSchema):
    """REST framework views as we write them."""

    def get_override_parameters(self) -> list[Any]:
        if self.method != "POST":
            return []
        return [
            OpenApiParameter(
                HEADER,
                str,
                OpenApiParameter.HEADER,
                description="The same key with the same body has one effect and one answer for 24 hours. "
                f"At most {LONGEST_KEY} characters.",
            )
        ]

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction=direction)
        for status, words in self._errors().items():
            if status not in bodies:
                response = OpenApiResponse(ErrorSerializer, description=words)
                bodies[status] = self._get_response_for_code(  # type: ignore[no-untyped-call]  # theirs
                    response, status, ["application/json"], direction
                )
        return dict(sorted(bodies.items()))

    def _errors(self) -> dict[str, str]:
        found = {
            "400": "Malformed: unknown or wrong field or parameter.",
            "401": "No token or session, or a wrong one.",
            "403": "Role or scope do not allow it.",
            "429": "Too many requests.",
            "503": "Something that is needed is away.",
        }
        if "{" in self.path:
            found["404"] = "Nothing there that you may see."
        if self.method not in {"GET", "HEAD"}:
            found["409"] = "The state does not allow it."
            found["413"] = "Too large."
            found["422"] = "Well-formed, but it cannot be."
        return found
