"""A command of verl over REST and on its page: what was understood, what was left out, and on into the form."""

import html
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from pipelines.models import Recipe
from tests.people import alice, bob, browser, program

URL = "/api/v1/recipes/import/"
PAGE = "/recipes/import/"
COMMAND = """lr=1e-5
torchrun -m verl.trainer.sft_trainer \\
    model.path=organisation/model \\
    data.train_files=$HOME/x.parquet \\
    optim.lr=$lr \\
    optim.weight_decy=0.1 \\
    trainer.total_epochs=$EPOCHS \\
    trainer.experiment_name=first-try
"""


@pytest.fixture
def viewer(installed):
    return program(alice())


@pytest.fixture
def pages(installed):
    return browser(bob())


def test_a_command_is_answered_with_recipe_left_out_problems_and_validation(viewer):
    body = viewer.post(URL, {"text": COMMAND}, format="json").json()
    assert body["recipe"] == {
        "name": "first-try",
        "algorithm": "sft",
        "trainer": "verl",
        "base_model": "organisation/model",
        "params": {"optim.lr": 1e-5, "optim.weight_decy": 0.1},
    }
    assert [(one["key"], one["value"], one["line"]) for one in body["left_out"]] == [
        ("data.train_files", "$HOME/x.parquet", 4),
        ("trainer.experiment_name", "first-try", 8),
    ]
    assert "name the dataset instead" in body["left_out"][0]["reason"]
    assert body["problems"] == [
        {"line": 7, "key": "trainer.total_epochs", "message": "$EPOCHS is not set in the script."}
    ]
    assert body["validation"]["valid"] is False
    assert [(one["key"], one["suggestion"]) for one in body["validation"]["errors"]] == [
        ("optim.weight_decy", "optim.weight_decay")
    ]


def test_what_was_imported_can_be_posted_as_a_recipe(installed):
    operator = program(bob())
    body = operator.post(URL, {"text": COMMAND.replace("decy", "decay")}, format="json").json()
    assert body["validation"]["valid"]
    assert not Recipe.objects.filter(slug="first-try").exists()
    assert operator.post("/api/v1/recipes/", body["recipe"], format="json").status_code == 201


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ls", "There is no command of verl"),
        ("python3 -m verl.trainer.sft_trainer a='b", "is opened and never closed"),
        ("x" * 1_000_000, "Longer than"),
        ("$(" * 60_000, "the bracket is not closed"),
    ],
    ids=range(4),
)
def test_a_text_that_is_none_is_refused_with_a_reason(viewer, text, told):
    answer = viewer.post(URL, {"text": text}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_script")
    assert told in answer.json()["error"]["fields"]["text"][0]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 1, "other": 2}])
def test_a_body_without_a_text_is_refused(viewer, body):
    assert viewer.post(URL, body, format="json").status_code == 400


def test_nothing_of_a_command_is_run(viewer, tmp_path):
    mark = tmp_path / "ran"
    text = f"touch {mark}\npython3 -m verl.trainer.sft_trainer optim.lr=$(touch {mark}) model.path=`touch {mark}`"
    body = viewer.post(URL, {"text": text}, format="json").json()
    assert [one["message"].endswith("nothing is run here.") for one in body["problems"]] == [True, True]
    assert body["recipe"]["params"] == {}
    assert not mark.exists()


def test_the_page_shows_what_was_understood_and_goes_on_in_the_form(pages):
    assert "read as text" in pages.get(PAGE).content.decode()
    answer = pages.post(PAGE, {"text": COMMAND})
    page = answer.content.decode()
    assert answer.status_code == 200
    for told in ("organisation/model", "Did you mean optim.weight_decay?", "$EPOCHS is not set", "$HOME/x.parquet"):
        assert told in page
    posted = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.partition("/recipes/new/")[2]))
    posted["yaml"] = html.unescape(re.search(r'<textarea name="yaml" hidden>\n(.*?)</textarea>', page, re.S)[1])
    form = pages.post("/recipes/new/", {**posted, "do": "form"}).content.decode()
    assert 'name="name" value="first-try"' in form
    assert 'name="base_model" value="organisation/model"' in form
    assert 'name="set:optim.lr" value="1.0e-05"' in form
    assert "optim.weight_decy: 0.1" in form
    assert not Recipe.objects.filter(slug="first-try").exists()


def test_a_file_takes_the_place_of_the_text(pages):
    file = SimpleUploadedFile("run.sh", COMMAND.replace("\n", "\r\n").encode())
    page = pages.post(PAGE, {"text": "ls", "file": file}).content.decode()
    assert "organisation/model" in page


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff\xfe\x00", "no text in UTF-8"), (b"x" * 600_000, "Longer than"), (b"ls", "There is no command of verl")],
    ids=range(3),
)
def test_a_file_that_is_no_script_is_told_beside_the_field(pages, content, told):
    answer = pages.post(PAGE, {"file": SimpleUploadedFile("run.sh", content)})
    assert answer.status_code == 422
    assert told in answer.content.decode()
    assert 'aria-invalid="true"' in answer.content.decode()


def test_a_recipe_cannot_take_the_address(installed):
    answer = program(bob()).post(
        "/api/v1/recipes/",
        {"name": "Import", "slug": "import", "algorithm": "sft", "base_model": "builtin:tiny-llama"},
        format="json",
    )
    assert answer.status_code == 422
