"""A command of verl becomes the draft of a recipe. Nothing is stored, and nothing of it is run."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from pipelines.recipes import imports
from pipelines.recipes.imports import Imported, Located, ShellProblem
from pipelines.recipes.spec import Checked
from pipelines.services.recipes import Draft, check_draft
from platform_site.common.errors import Invalid
from platform_site.common.models import User


@dataclass(frozen=True)
class ReadCommand:
    """`checked` judges the draft as if it were saved now, where a name and a dataset are still to come."""

    draft: Draft
    imported: Imported
    checked: Checked

    @property
    def problems(self) -> Sequence[Located]:
        """What could not be taken over, in the order of the text."""
        return sorted(self.imported.problems, key=lambda problem: problem.line)


def read_command(user: User, text: str, *, admin: bool) -> ReadCommand:
    """Raises Invalid where there is no command of verl in the text."""
    try:
        imported = imports.read(text)
    except ShellProblem as problem:
        told = _(problem.template) % problem.values
        raise Invalid(told, {"text": told}, code="invalid_script") from problem
    spec = imported.spec
    draft = Draft(
        name=imported.name,
        algorithm=spec.algorithm,
        trainer=spec.trainer,
        base_model=spec.base_model,
        params=spec.params,
    )
    return ReadCommand(draft, imported, check_draft(user, draft, admin=admin))
