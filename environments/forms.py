"""The forms of hosts. What lets the platform in goes in, and is never shown again."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from platform_site.common.errors import Conflict, PlatformError

from .models import Host
from .services import hosts as services


class AnyHostForm(forms.Form):
    """What is said of this machine too. `name` is there for new hosts alone, `revision`, the one that was changed, for
    others."""

    name = forms.CharField(label=_("Name"), max_length=63)
    python = forms.CharField(label=_("Training Python"), required=False, max_length=1000)
    slots = forms.IntegerField(label=_("Slots"), min_value=1, max_value=1000, initial=1)
    enabled = forms.BooleanField(label=_("New runs may start here"), required=False, initial=True)
    revision = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, host: Host | None = None, **kwargs: Any) -> None:
        if host is not None:
            kwargs["initial"] = {name: getattr(host, name) for name in services.FIELDS | {"revision"}}
        super().__init__(*args, **kwargs)
        del self.fields["name" if host is not None else "revision"]

    def asked(self) -> dict[str, Any]:
        """What the service takes. Credentials that were left empty are not among it."""
        return {
            name: value
            for name, value in self.cleaned_data.items()
            if name not in ("name", "revision") and (name not in services.SECRETS or value)
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
    address = forms.CharField(label=_("Address of the Jobs API"), max_length=253)
    token = forms.CharField(label=_("Token"), required=False, max_length=2000, widget=forms.PasswordInput)
    root = forms.CharField(label=_("Shared folder"), max_length=1000)
    python = forms.CharField(label=_("Training Python"), max_length=1000)


FORMS: dict[str, type[AnyHostForm]] = {
    Host.Kind.LOCAL: AnyHostForm,
    Host.Kind.SSH: SshHostForm,
    Host.Kind.RAY: RayHostForm,
}
