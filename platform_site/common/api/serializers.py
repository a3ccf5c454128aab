"""Input that is taken to the letter: a field nobody knows is an error, not silence."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from .nearest import unknown


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown and read-only fields by name, in nested serializers too (each checks its own level)."""

    def to_internal_value(self, data: Any) -> Any:
        problems: dict[str, list[serializers.ErrorDetail]] = {}
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            for name in data:
                if name in writable:
                    continue
                words = _("Read only.") if name in self.fields else unknown(str(name), writable)
                problems[str(name)] = [serializers.ErrorDetail(words, code="unknown_field")]
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if problems and isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **problems}) from None
            raise
        if problems:
            raise serializers.ValidationError(problems)
        return value


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """The same for serializers that follow a model."""
