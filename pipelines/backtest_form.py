"""The form of a back-test."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from monitoring.diagnostics.core import Severity
from monitoring.told import rule_title, severity_label
from platform_site.common.errors import PlatformError

from .models import Recipe
from .services.backtests import LONGEST_NAME, MOST_RUNS, REPLAYED, Asked, parse_limits


class BacktestForm(forms.Form):
    """Rules, what is changed of them, and which runs."""

    name = forms.CharField(label=_("Name"), required=False, max_length=LONGEST_NAME)
    rules = forms.MultipleChoiceField(label=_("Rules"), required=False, widget=forms.CheckboxSelectMultiple)
    limits = forms.CharField(
        label=_("Limits to try"),
        required=False,
        max_length=4000,
        widget=forms.Textarea({"rows": 4, "spellcheck": "false"}),
    )
    learnt = forms.BooleanField(label=_("With learnt thresholds"), required=False, initial=True)
    least = forms.ChoiceField(label=_("Alarms count from"), initial="error")
    algorithm = forms.ChoiceField(label=_("Method"), required=False)
    recipe = forms.ChoiceField(label=_("Recipe"), required=False)
    most = forms.IntegerField(label=_("Newest runs"), min_value=1, max_value=MOST_RUNS, initial=100)

    def __init__(self, *args: Any, recipes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: dict[str, list[tuple[str, Any]]] = {
            "rules": [(name, rule_title(name)) for name in REPLAYED],
            "least": [(severity.word, severity_label(severity)) for severity in reversed(Severity)],
            "algorithm": [("", _("All methods")), *Recipe.Algorithm.choices],
            "recipe": [("", _("All recipes")), *((slug, slug) for slug in recipes)],
        }
        for name, offered in choices.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField), "each of these is one"
            field.choices = offered

    def asked(self) -> Asked:
        """Of a valid form. Raises Invalid for limits of another form."""
        told = self.cleaned_data
        return Asked(
            rules=told["rules"],
            limits=parse_limits(told["limits"].splitlines()),
            learnt=told["learnt"],
            least=told["least"],
            algorithm=told["algorithm"],
            recipe=told["recipe"],
            most=told["most"],
            name=told["name"],
        )

    def tell(self, error: PlatformError) -> None:
        """What was refused, at its field where it has one."""
        for name in error.fields or [""]:
            self.add_error(name if name in self.fields else None, error.message)
