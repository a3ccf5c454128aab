"""What every installation starts with, however often it is installed."""

import hashlib
import io
import json
import subprocess
import sys

import pytest
from django.core.management import call_command

from datasets.models import Dataset, DatasetVersion
from datasets.services import store
from datasets.services.validate import validate
from environments.models import Host
from pipelines.models import Queue, Recipe, RecipeRevision
from pipelines.recipes import builtin
from pipelines.recipes.compiler import compile_recipe
from pipelines.services.builtin import install
from platform_runtime.answers import last_number
from platform_site.common import queues
from platform_site.common.models import Project

from .cases import dataset_of, place

ARITHMETIC = "ca23bd9fd6a6adc25b1a0cc172166cb0e0d9b72e65edca7434834a05f2b92491"


def test_everything_is_there_once_however_often_it_is_installed(installed, settings):
    assert install().made == []
    assert Project.objects.get().slug == "default"
    assert dict(Queue.objects.values_list("name", "priority")) == queues.PRIORITY
    host = Host.objects.get()
    assert (host.name, host.root) == ("local", str(settings.DATA_DIR))
    assert set(Recipe.objects.values_list("slug", "is_template")) == {(one.slug, True) for one in builtin.RECIPES}
    assert set(Dataset.objects.values_list("slug", "is_builtin")) == {(one.slug, True) for one in builtin.DATASETS}
    assert (RecipeRevision.objects.count(), DatasetVersion.objects.count()) == (
        len(builtin.RECIPES), len(builtin.DATASETS),
    )  # fmt: skip
    assert Recipe.objects.get(slug="tiny-sft").revisions.get().dataset == Dataset.objects.get(slug="arithmetic")


def test_what_an_administrator_changed_stays(installed):
    Queue.objects.filter(name="training").update(slots=7)
    Host.objects.update(slots=3)
    install()
    assert Queue.objects.get(name="training").slots == 7
    assert Host.objects.get().slots == 3


def test_a_changed_recipe_gets_a_new_revision_and_keeps_the_old(installed):
    revisions = RecipeRevision.objects.filter(recipe__slug="tiny-sft")
    revisions.update(params={"optim.lr": 1})
    assert install().made == ["recipe tiny-sft@2"]
    assert install().made == []
    assert list(revisions.values_list("number", flat=True)) == [2, 1]


def test_a_lost_or_damaged_file_is_made_again(installed):
    version = DatasetVersion.objects.get(dataset__slug="arithmetic")
    store.path_of(version.sha256, version.format).write_bytes(b"rot")
    install()
    assert store.verify(version).ok


def test_a_moved_data_folder_moves_the_host(installed, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    install()
    assert Host.objects.get().root == str(tmp_path)


def test_somebodys_own_recipe_of_that_name_is_left_alone(installed):
    Recipe.objects.filter(slug="tiny-sft").update(is_template=False)
    RecipeRevision.objects.update(params={"mine": 1})
    install()
    assert RecipeRevision.objects.get(recipe__slug="tiny-sft").params == {"mine": 1}


def test_the_command_says_what_it_made(db, capsys):
    call_command("install_builtins")
    assert "made recipe tiny-sft@1" in capsys.readouterr().out
    call_command("install_builtins")
    assert capsys.readouterr().out.strip() == "nothing to do"


def test_the_arithmetic_is_the_same_on_every_machine_and_right():
    content = builtin.ARITHMETIC.content()
    assert hashlib.sha256(content).hexdigest() == ARITHMETIC
    rows = [json.loads(line) for line in content.splitlines()]
    assert len(rows) == builtin.ROWS == len({row["messages"][0]["content"] for row in rows})
    for row in rows:
        words = row["messages"][0]["content"].split()
        assert row["messages"][1]["content"].endswith(f"#### {int(words[2]) + int(words[4].rstrip('?'))}")


def test_the_arithmetic_does_not_depend_on_the_hash_seed():
    script = (
        "import hashlib\n"
        "from pipelines.recipes import builtin\n"
        "print(hashlib.sha256(builtin.ARITHMETIC.content()).hexdigest())\n"
    )
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": seed}
        )
        assert answer.stdout.strip() == ARITHMETIC


def test_the_arithmetic_is_a_valid_dataset():
    report = validate(io.BytesIO(builtin.ARITHMETIC.content()), "sft")
    assert (report.valid, report.rows, report.columns) == (True, builtin.ROWS, ["messages"])


def test_the_items_of_the_evaluation_are_right_and_none_was_trained_on():
    content = builtin.ARITHMETIC_EVAL.content()
    assert validate(io.BytesIO(content), builtin.ARITHMETIC_EVAL.kind).rows == builtin.ITEMS
    trained = [json.loads(line)["messages"] for line in builtin.ARITHMETIC.content().splitlines()]
    items = [json.loads(line) for line in content.splitlines()]
    assert len({item["question"] for item in items}) == len(items)
    assert not {item["question"] for item in items} & {messages[0]["content"] for messages in trained}
    for item in items:
        words = item["question"].split()
        assert int(item["answer"]) == int(words[2]) + int(words[4].rstrip("?"))
        # The same words, and what a model was taught to answer is understood.
        sums = f"{words[2]} plus {words[4]}"
        assert trained[0][0]["content"] in {
            item["question"].replace(sums, f"{a} plus {b}?") for a in range(51) for b in range(51)
        }
    for messages in trained:
        words = messages[0]["content"].split()
        assert last_number(messages[1]["content"]) == str(int(words[2]) + int(words[4].rstrip("?")))


@pytest.mark.parametrize("recipe", builtin.ON_CPU, ids=lambda recipe: recipe.slug)
def test_every_built_in_recipe_for_a_cpu_compiles_to_a_dozen_steps_or_more(recipe):
    for where in (place(), place(cuda=True, gpus=1)):
        compiled = compile_recipe(recipe.spec, dataset_of(recipe), where)
        assert compiled.target_step >= 12
        assert compiled.checkpoint_required
        assert not compiled.adjusted
