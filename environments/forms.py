"""The forms of hosts. What lets the platform in goes in, and is never shown again."""

import re
from copy import copy
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from platform_site.common.errors import Conflict, PlatformError

from .models import Host
from .services import host_fields


class LabelsField(forms.CharField):
    """Words as people write them, with commas or spaces between; a list of them when it is clean."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return list(dict.fromkeys(word for word in re.split(r"[\s,]+", super().clean(value)) if word))


class AnyHostForm(forms.Form):
    """What is said of this machine too. `name` is there for new hosts alone, `revision`, the one that was changed, for
    others. All that is wrong with any field is told at once."""

    kind: ClassVar[str] = Host.Kind.LOCAL

    name = forms.CharField(label=_("Name"), max_length=63)
    python = forms.CharField(label=_("Training Python"), required=False, max_length=1000)
    slots = forms.IntegerField(label=_("Slots"), min_value=1, max_value=1000, initial=1)
    labels = LabelsField(label=_("Labels"), required=False, max_length=1000)
    enabled = forms.BooleanField(label=_("New runs may start here"), required=False, initial=True)
    revision = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, host: Host | None = None, **kwargs: Any) -> None:
        if host is not None:
            kwargs["initial"] = {name: getattr(host, name) for name in host_fields.FIELDS | {"revision"}}
        self.host = host
        super().__init__(*args, **kwargs)
        del self.fields["name" if host is not None else "revision"]

    def clean(self) -> dict[str, Any]:
        new = Host(kind=self.kind, name=self.cleaned_data.get("name", ""))
        host = new if self.host is None else copy(self.host)
        for name, told in host_fields.problems(host, self.asked()).items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, told)
        return self.cleaned_data

    def asked(self) -> dict[str, Any]:
        """What the service takes. Credentials that were left empty are not among it."""
        return {
            name: value
            for name, value in self.cleaned_data.items()
            if name not in ("name", "revision") and (name not in host_fields.SECRETS or value)
        }

    def tell(self, error: PlatformError) -> None:
        for name, said in error.fields.items():
            told = " ".join(said)
            if name in self.fields:
                self.add_error(name, told)
            else:
                self.add_error(None, f"{name}: {told}" if isinstance(error, Conflict) else told)
        if not error.fields or isinstance(error, Conflict):
            self.add_error(None, error.message)


class SshHostForm(AnyHostForm):
    kind = Host.Kind.SSH
    address = forms.CharField(label=_("Address"), max_length=253)
    port = forms.IntegerField(label=_("Port"), min_value=1, max_value=65_535, initial=22)
    user = forms.CharField(label=_("User"), max_length=64)
    private_key = forms.CharField(
        label=_("Private key"),
        required=False,
        strip=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
    )
    passphrase = forms.CharField(
        label=_("Passphrase of the key"), required=False, strip=False, max_length=1000, widget=forms.PasswordInput
    )
    password = forms.CharField(
        label=_("Password"), required=False, strip=False, max_length=1000, widget=forms.PasswordInput
    )
    root = forms.CharField(label=_("Root folder"), required=False, max_length=1000)


class RayHostForm(AnyHostForm):
    kind = Host.Kind.RAY
    address = forms.CharField(label=_("Address of the Jobs API"), max_length=253)
    token = forms.CharField(label=_("Token"), required=False, max_length=2000, widget=forms.PasswordInput)
    root = forms.CharField(label=_("Shared folder"), max_length=1000)
    python = forms.CharField(label=_("Training Python"), max_length=1000)


FORMS: dict[str, type[AnyHostForm]] = {form.kind: form for form in (AnyHostForm, SshHostForm, RayHostForm)}
