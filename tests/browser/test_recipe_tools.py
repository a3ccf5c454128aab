"""A script becomes a recipe in the browser: read, put right with a button, saved; and a run is made again."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pipelines.services import builtin

from . import world
from .conftest import Site, signed_in, watched
from .test_every_page_is_clean import violations

SCRIPT = """set -x
rate=1e-4
torchrun --nproc_per_node=8 -m verl.trainer.sft_trainer \\
    model.path=organisation/model \\
    data.train_files=$HOME/train.parquet \\
    optim.lr=$rate \\
    optim.weight_decy=0.1 \\
    trainer.save_freq=-1 \\
    trainer.total_epochs=$EPOCHS \\
    trainer.experiment_name=from-a-script "$@"
"""


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 360)])
def test_a_script_becomes_a_recipe(
    browser: Browser, site: Site, database: None, tmp_path: Path, theme: str, width: int
) -> None:
    ran = world.run("completed", name="It worked", root=tmp_path, steps=20)
    with signed_in(browser, site, theme=theme, width=width) as context:
        seen = watched(context)
        page = seen.page
        page.goto("/recipes/")
        page.get_by_role("link", name="Import", exact=True).click()
        assert violations(page) == []
        page.get_by_label("Command or script").fill(SCRIPT)
        page.get_by_role("button", name="Read it").click()
        expect(page.get_by_role("heading", name="What was understood")).to_be_visible()
        expect(page.get_by_role("row", name="optim.weight_decy")).to_contain_text("Did you mean optim.weight_decay?")
        expect(page.get_by_text("$EPOCHS is not set in the script.")).to_be_visible()
        expect(page.get_by_role("row", name="data.train_files")).to_contain_text("name the dataset instead")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

        page.get_by_role("button", name="Go on in the form").click()
        expect(page.get_by_label("Name", exact=True)).to_have_value("from-a-script")
        expect(page.locator("[name='set:optim.lr']")).to_have_value("0.0001")
        # What is wrong is told without a key being pressed.
        page.get_by_role("button", name="Apply the fix optim.weight_decy: optim.weight_decay").click()
        expect(page.locator("[name='set:optim.weight_decay']")).to_have_value("0.1")
        expect(page.locator("#checked")).to_contain_text("Only the last step is saved")
        assert violations(page) == []
        page.get_by_role("button", name="Apply the fix trainer.save_freq").click()
        expect(page.locator("[name='set:trainer.save_freq']")).to_have_value("after_each_epoch")
        page.get_by_label("Base model").fill("builtin:tiny-llama")
        page.get_by_label("Name", exact=True).fill(f"Mine, {theme}")
        page.get_by_role("button", name="Save recipe").click()
        expect(page.get_by_role("heading", name=f"Mine, {theme}")).to_be_visible()
        expect(page.get_by_role("heading", name="Worth a look")).to_have_count(0)

        worked = page.get_by_role("region", name="What worked for this model")
        worked.get_by_role("link", name="Run again It worked").first.click()
        page.wait_for_url("**/rerun/")
        expect(page.locator("[name=recipe]")).to_have_value("tiny-sft@1")
        expect(page.locator("[name=dataset]")).to_have_value(f"arithmetic@{ran.job.dataset_version.number}")
        assert violations(page) == []
        assert seen.complaints == []
        assert page.evaluate("seen.csp") == []


def test_another_recipe_brings_the_data_that_it_learns_from(browser: Browser, site: Site, database: None) -> None:
    builtin.install()
    with signed_in(browser, site) as context:
        page = context.new_page()
        page.goto("/jobs/new/?recipe=tiny-sft")
        data = page.get_by_label("Dataset", exact=True)
        data.select_option("arithmetic")
        page.get_by_label("Name", exact=True).fill("Kept")
        page.get_by_label("Recipe", exact=True).select_option("tiny-dpo")
        expect(data.locator("option", has_text="preference pairs")).not_to_have_count(0)
        expect(data.locator("option", has_text="SFT conversations")).to_have_count(0)
        expect(data).to_have_value("")
        expect(page.get_by_label("Name", exact=True)).to_have_value("Kept")
