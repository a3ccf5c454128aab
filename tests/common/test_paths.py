"""Names and paths from people stay where they belong."""

import os
from pathlib import Path

import pytest

from platform_site.common import paths
from platform_site.common.errors import Invalid, NotFound

ESCAPES = [
    "../x",
    "a/../../x",
    "..",
    "/etc/passwd",
    "..\\x",
    "a\\..\\..\\x",
    "%2e%2e/x",
    "%252e%252e/x",
    "a%2fb",
    "a\0b",
    "a\nb",
    "\ud800",
    "",
    "x" * 5000,
]


@pytest.mark.parametrize("good", ["a", "0", "tiny-sft", "a_b-c9", "a" * 63])
def test_a_slug_is_taken_as_it_is(good: str) -> None:
    assert paths.slug(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "A", "-a", "_a", "a" * 64, "a b", "a.b", "a/b", "..", "a\n", "é", "a$(id)", "`id`", None, 7, *ESCAPES],
)
def test_what_is_no_slug_is_refused_and_named(bad: object) -> None:
    with pytest.raises(Invalid) as caught:
        paths.slug(bad, field="name")
    assert list(caught.value.fields) == ["name"]


@pytest.mark.parametrize("word", sorted(paths.ROUTE_WORDS))
def test_words_of_addresses_are_no_names(word: str) -> None:
    with pytest.raises(Invalid):
        paths.slug(word)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("inside")
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "secret").write_text("outside")
    (folder / "out").symlink_to(tmp_path)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "round").symlink_to(folder / "deep")
    return folder


@pytest.mark.parametrize("bad", ESCAPES)
def test_no_path_leaves_its_root(root: Path, bad: str) -> None:
    with pytest.raises(Invalid):
        paths.inside(root, bad)
    with pytest.raises(Invalid):
        paths.inside(root, "deep", bad)
    with pytest.raises(Invalid):
        paths.open_inside(root, bad)


def test_a_path_inside_may_not_exist_yet(root: Path) -> None:
    assert paths.inside(root, "new", "file") == root / "new" / "file"
    assert paths.inside(root, "round/file") == root / "deep" / "file"


@pytest.mark.parametrize("bad", ["out/secret", "link", "out"])
def test_a_link_does_not_lead_out(root: Path, bad: str) -> None:
    with pytest.raises(Invalid):
        paths.inside(root, bad)
    with pytest.raises(Invalid):
        paths.allowed(str(root / bad), [root])
    with pytest.raises((Invalid, NotFound)):
        paths.open_inside(root, bad)


def test_a_path_in_an_allowed_root_is_resolved(root: Path, tmp_path: Path) -> None:
    assert paths.allowed(str(root / "round" / "file"), [tmp_path / "other", root]) == root / "deep" / "file"
    with pytest.raises(NotFound):
        paths.allowed(str(root / "nothing"), [root])


@pytest.mark.parametrize("name", ["root-sibling", "secret", "nothing"])
def test_outside_of_the_roots_everything_looks_alike(root: Path, name: str) -> None:
    with pytest.raises(Invalid):
        paths.allowed(str(root.parent / name), [root])
    with pytest.raises(Invalid):
        paths.allowed("relative/file", [root])
    with pytest.raises(Invalid):
        paths.allowed(str(root / ".." / name), [root])


def test_opening_reads_the_file_inside(root: Path) -> None:
    with paths.open_inside(root, "deep/file") as file:
        assert file.read() == b"inside"


def test_a_folder_swapped_for_a_link_after_the_check_is_not_followed(root: Path) -> None:
    checked = paths.inside(root, "deep/file")
    (root / "deep").rename(root / "moved")
    (root.parent / "file").write_text("outside")
    (root / "deep").symlink_to(root.parent)
    with pytest.raises(NotFound):
        paths.open_inside(root, str(checked.relative_to(root)))


def test_only_regular_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for name in ("pipe", "deep"):
        with pytest.raises(Invalid):
            paths.open_inside(root, name)
    with pytest.raises(NotFound):
        paths.open_inside(root, "deep/nothing")
