"""Which demo a machine gets."""

import pytest
from django.core.management import CommandError, call_command

from platform_site.management.commands import demo

GIB = 1024**3


def test_a_machine_with_memory_trains_smollm2() -> None:
    template, word = demo.suited(5 * GIB)
    assert (template.slug, word) == ("smollm2-sft-pipeline", "")


def test_a_small_machine_trains_a_tiny_model_and_says_why() -> None:
    template, word = demo.suited(int(3.14 * GIB))
    assert template.slug == "tiny-sft-pipeline"
    assert "3.1 GB" in word
    assert "SmolLM2 needs 5" in word


def test_free_memory_is_not_more_than_there_is() -> None:
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < demo.free_memory() <= total


@pytest.mark.django_db
def test_without_an_administrator_the_demo_says_how_to_make_one() -> None:
    with pytest.raises(CommandError, match="create_user"):
        call_command("demo", "--once")
