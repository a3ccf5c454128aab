"""A checkpoint counts only when all of it is there; nothing is unpickled to find out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_runtime import checkpoints

from .checkpoint_files import write_safetensors, write_shard, write_step, write_transformers_step


def test_a_whole_checkpoint_is_good(tmp_path: Path) -> None:
    write_step(tmp_path, 4)
    write_step(tmp_path, 12)
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok, found.why) == (12, True, "")


def test_no_folder_and_an_empty_folder_have_no_checkpoint(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        found = checkpoints.survey(str(folder))
        assert (found.step, found.ok, found.why) == (None, False, "no checkpoint was written")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def hole(path: Path) -> None:
    """As after a crash of the machine: the length is right, the beginning was never written."""
    content = path.read_bytes()
    path.write_bytes(bytes(2048) + content[2048:])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", ["model_world_size_2_rank_1.pt", "optim_world_size_2_rank_0.pt", "data_0.pt"])
@pytest.mark.parametrize(("damage", "said"), [(cut, "zip"), (hole, "where it should be")])
def test_a_damaged_newest_checkpoint_leaves_the_one_before(
    tmp_path: Path, name: str, damage: Callable[[Path], None], said: str
) -> None:
    write_step(tmp_path, 4)
    damage(write_step(tmp_path, 12) / name)
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok) == (4, False)
    assert found.why.startswith("step 12: ")
    assert name in found.why
    assert said in found.why


def test_one_that_is_still_being_written_leaves_the_one_before(tmp_path: Path) -> None:
    write_step(tmp_path, 4)
    folder = write_step(tmp_path, 12)
    remove(folder / "data_0.pt")
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok) == (4, False)
    assert found.why == "step 12: is not finished: the state of the data is not there"


def test_every_rank_must_be_there(tmp_path: Path) -> None:
    folder = write_step(tmp_path, 4, world=3)
    remove(folder / "model_world_size_3_rank_1.pt")
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok) == (None, False)
    assert found.why == "step 4: model: no file of rank 1 of 3"


def test_world_sizes_must_not_mix(tmp_path: Path) -> None:
    write_step(tmp_path, 4, world=2)
    write_shard(tmp_path / "global_step_4/model_world_size_1_rank_0.pt")
    assert "world sizes" in checkpoints.survey(str(tmp_path)).why


def test_weights_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "global_step_3").mkdir()
    assert checkpoints.survey(str(tmp_path)).why == "step 3: holds no weights"


def test_actor_and_critic_are_looked_at_apart(tmp_path: Path) -> None:
    write_step(tmp_path, 4, role="actor")
    assert checkpoints.survey(str(tmp_path)).ok
    write_shard(tmp_path / "global_step_4/critic/model_world_size_2_rank_0.pt")
    assert "rank 1 of 2" in checkpoints.survey(str(tmp_path)).why


def test_whole_weights_in_safetensors_count_as_well(tmp_path: Path) -> None:
    weights = tmp_path / "global_step_4/huggingface/model.safetensors"
    write_safetensors(weights)
    write_shard(tmp_path / "global_step_4/data_0.pt")
    assert checkpoints.survey(str(tmp_path)).ok
    cut(weights)
    assert "model.safetensors" in checkpoints.survey(str(tmp_path)).why


def test_an_index_must_not_name_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "global_step_4/huggingface"
    write_safetensors(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in checkpoints.survey(str(tmp_path)).why
    write_safetensors(folder / "model-00002-of-00002.safetensors")
    write_shard(tmp_path / "global_step_4/data_0.pt")
    assert checkpoints.survey(str(tmp_path)).ok


@given(content=st.binary(max_size=600), name=st.sampled_from(["m.safetensors", "model_world_size_1_rank_0.pt"]))
def test_no_content_makes_it_fall_over(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("step") / "global_step_1"
    target = folder / ("huggingface" if name.startswith("m.") else ".") / name
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    assert isinstance(checkpoints.survey(str(folder.parent)).ok, bool)


@pytest.mark.parametrize("cut_at", range(0, 9000, 500))
def test_no_prefix_of_a_shard_is_good(tmp_path: Path, cut_at: int) -> None:
    folder = write_step(tmp_path, 1, world=1)
    shard = folder / "model_world_size_1_rank_0.pt"
    content = shard.read_bytes()
    shard.write_bytes(content[: min(cut_at, len(content) - 1)])
    assert not checkpoints.survey(str(tmp_path)).ok


@pytest.mark.parametrize("weights", ["model.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_checkpoint_of_transformers_is_good(tmp_path: Path, weights: str, ranks: int) -> None:
    write_transformers_step(tmp_path, 8, weights=weights, ranks=ranks)
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok, found.why) == (8, True, "")


@pytest.mark.parametrize("damage", [cut, remove])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"])
def test_a_damaged_one_of_transformers_leaves_the_one_before(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    write_transformers_step(tmp_path, 4)
    damage(write_transformers_step(tmp_path, 8) / name)
    found = checkpoints.survey(str(tmp_path))
    assert (found.step, found.ok) == (4, False)
    assert found.why.startswith("step 8: ")
    assert (name in found.why) or ("no weights" in found.why)


def test_a_random_state_cut_short_is_told(tmp_path: Path) -> None:
    cut(write_transformers_step(tmp_path, 8, ranks=2) / "rng_state_1.pth")
    assert "rng_state_1.pth" in checkpoints.survey(str(tmp_path)).why


@pytest.mark.parametrize("state", ['{"global_step": 7}', "[]", "{}", "8"])
def test_a_state_of_another_step_or_of_none_is_refused(tmp_path: Path, state: str) -> None:
    (write_transformers_step(tmp_path, 8) / "trainer_state.json").write_text(state)
    assert "trainer_state.json" in checkpoints.survey(str(tmp_path)).why


def test_an_index_of_transformers_must_not_name_what_is_missing(tmp_path: Path) -> None:
    folder = write_transformers_step(tmp_path, 8, weights="model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in checkpoints.survey(str(tmp_path)).why
