"""The form in which a run's page sends how its charts are to look."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _

from .services.charts import LONGEST_NAME, MOST_CHARTS, MOST_SMOOTHING, Layout


class Names(forms.Field):
    """Names of metrics, in the order in which they are repeated."""

    widget = forms.SelectMultiple

    def clean(self, value: Any) -> list[str]:
        names = list(dict.fromkeys(value or []))
        if len(names) > MOST_CHARTS or any(not name or len(name) > LONGEST_NAME for name in names):
            raise forms.ValidationError(_("Choose at most %(most)s metrics.") % {"most": MOST_CHARTS})
        return names


class ChartLayoutForm(forms.Form):
    charts = Names(required=False)
    chosen = forms.BooleanField(required=False)
    columns = forms.TypedChoiceField(choices=[("1", "1"), ("2", "2")], coerce=int)
    smoothing = forms.FloatField(min_value=0, max_value=MOST_SMOOTHING)
    scale = forms.ChoiceField(choices=[("linear", "linear"), ("log", "log")])
    axis = forms.ChoiceField(choices=[("step", "step"), ("time", "time")])

    @property
    def layout(self) -> Layout:
        """Of a valid form."""
        cleaned = self.cleaned_data
        return Layout(
            charts=cleaned["charts"] if cleaned["chosen"] else None,
            columns=cleaned["columns"],
            smoothing=cleaned["smoothing"],
            scale=cleaned["scale"],
            axis=cleaned["axis"],
        )
