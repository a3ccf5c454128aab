"""A command of verl, pasted or sent as a file, and what was understood of it; from there into the form of recipes."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from platform_site.common.access import may
from platform_site.common.errors import Invalid
from platform_site.common.pages import needs, visitor
from platform_site.common.roles import Role

from ..models import Recipe
from ..recipes import yaml_text
from ..recipes.imports import Imported
from ..recipes.shell_words import LONGEST
from ..services.recipe_import import ReadCommand, read_command
from ..services.recipes import told

LONGEST_SHOWN: Final = LONGEST


@require_http_methods(["GET", "POST"])
@needs(Role.OPERATOR)
def import_recipe(request: HttpRequest) -> HttpResponse:
    """POST with `text`, or with a `file` that takes its place. Keeps nothing."""
    if request.method != "POST":
        return render(request, "recipes/import.html", {"text": ""})
    text, problem = _text(request)
    try:
        if problem:
            raise Invalid(problem)
        found = read_command(visitor(request), text, admin=may(request, Role.ADMIN))
    except Invalid as error:
        context: dict[str, Any] = {"text": text[:LONGEST_SHOWN], "errors": [error.message]}
        return render(request, "recipes/import.html", context, status=422)
    return render(request, "recipes/import.html", {"text": text, **_understood(found)})


def _text(request: HttpRequest) -> tuple[str, str]:
    """The script, and what is wrong with it as a text."""
    sent = request.FILES.get("file")
    if sent is None:
        return request.POST.get("text", "").replace("\r\n", "\n"), ""
    try:
        # A character has at most four bytes: more than that many need not be read to be refused.
        return sent.read(4 * LONGEST + 1).decode().replace("\r\n", "\n"), ""
    except UnicodeDecodeError:
        return "", _("The file is no text in UTF-8.")


def _understood(found: ReadCommand) -> dict[str, Any]:
    draft, imported = found.draft, found.imported
    wrong = {problem.key: problem for problem in reversed(found.checked.errors)}
    return {
        "found": found,
        "method": [Recipe.Algorithm(draft.algorithm).label, Recipe.Trainer(draft.trainer).label],
        "settings": [
            (key, value, (told(wrong[key]), wrong[key].suggestion) if key in wrong else None)
            for key, value in sorted(draft.params.items())
        ],
        "elsewhere": [
            (problem.key, told(problem))
            for problem in found.checked.errors
            if problem.key not in draft.params and (problem.key != "base_model" or draft.base_model)
        ],
        "wrong": len(wrong.keys() & draft.params.keys()),
        "left_out": _left_out(imported),
        "problems": [(one.line, one.problem.key, told(one.problem)) for one in found.problems],
        "yaml": yaml_text.write(draft.params),
    }


def _left_out(imported: Imported) -> list[tuple[int, str, str, str]]:
    return [(one.line, one.key, one.value, _(one.template)) for one in imported.left_out]
