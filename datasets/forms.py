"""The forms that bring data in."""

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from platform_site.common.errors import PlatformError

from .models import Dataset
from .services.validate import max_bytes

MOST_TOLD = 20
"""Wrong lines that a page lists; the API tells more."""


class VersionForm(forms.Form):
    """A file for a dataset that is there."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": ".jsonl,.json,application/jsonl,application/x-ndjson"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.use_required_attribute = False
        for field in self.fields.values():
            field.widget.attrs["autocomplete"] = "off"

    def clean_file(self) -> "UploadedFile[bytes]":
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        if file.size is not None and file.size > max_bytes():
            raise forms.ValidationError(
                _("The file is larger than the %(limit)s bytes that are taken.") % {"limit": f"{max_bytes():,}"}
            )
        return file

    def tell(self, error: PlatformError) -> list[str]:
        """Put a refusal at its field. Wrong lines of the file are returned, to be listed."""
        wrong = error.details.get("errors")
        if isinstance(wrong, list):
            self.add_error("file", _("The file was not taken in; nothing was kept."))
            told = _("Line %(line)d: %(problem)s")
            lines = [told % {"line": one["line"], "problem": one["message"]} for one in wrong]
            more = len(lines) - MOST_TOLD
            return lines[:MOST_TOLD] + ([_("… and %(n)d more.") % {"n": more}] if more > 0 else [])
        field = next((name for name in error.fields if name in self.fields), None)
        self.add_error(field, error.message)
        return []


class NewDatasetForm(VersionForm):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=200)
    kind = forms.ChoiceField(label=gettext_lazy("Kind"), choices=Dataset.Kind.choices)
    description = forms.CharField(label=gettext_lazy("Description"), required=False, max_length=10_000)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["name", "kind", "description", "file"])
