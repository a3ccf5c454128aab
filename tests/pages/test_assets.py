"""What the browser loads is prepared once, from a lock, with or without Node on the machine."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django.fixtures import Settings

from platform_site import assets

CHECKOUT = Path(settings.BASE_DIR)
CORE_LIMIT = 40 * 1024
CHARTS_LIMIT = 25 * 1024


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CHECKOUT / name, tmp_path)
    (tmp_path / "requirements").mkdir()
    shutil.copy(CHECKOUT / "requirements" / "node.txt", tmp_path / "requirements")
    return tmp_path


def test_the_lock_pins_exactly_by_hash_and_names_no_registry() -> None:
    lock = json.loads((CHECKOUT / "package-lock.json").read_text())
    wanted = json.loads((CHECKOUT / "package.json").read_text())["dependencies"]
    assert wanted == {"htmx.org": "4.0.1", "uplot": "1.6.32"}
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in (CHECKOUT / "package-lock.json").read_text()


def test_prepares_once_and_again_when_the_lock_changes(checkout: Path) -> None:
    assert assets.prepare(checkout) is True
    assert assets.prepare(checkout) is False
    made = checkout / "static-vendor" / "vendor"
    htmx = (made / "htmx.js").read_text()
    # The extension is in the same file, behind the core: two deferred scripts would race.
    assert htmx.index("var htmx=") < htmx.index('registerExtension("ws"')
    assert "sourceMappingURL" not in htmx
    assert sorted(path.name for path in checkout.iterdir()) == [
        "package-lock.json", "package.json", "requirements", "static-vendor",
    ]  # fmt: skip
    (made / "uplot.js").unlink()
    assert assets.prepare(checkout) is True
    lock = checkout / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    assert assets.prepare(checkout) is True


def test_works_where_there_is_no_node(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout / "nothing"))
    assert assets.find_npm() is None
    assert assets.prepare(checkout) is True
    assert (checkout / "static-vendor" / "vendor" / "uplot.css").stat().st_size > 1000


def test_a_tampered_package_is_refused_and_nothing_is_half_made(checkout: Path) -> None:
    assets.prepare(checkout)
    before = (checkout / "static-vendor" / "vendor" / "htmx.js").read_bytes()
    lock = checkout / "package-lock.json"
    content = json.loads(lock.read_text())
    content["packages"]["node_modules/uplot"]["integrity"] = "sha512-" + "A" * 86 + "=="
    lock.write_text(json.dumps(content))
    with pytest.raises(assets.AssetsError, match=r"npm could not install the front-end packages"):
        assets.prepare(checkout)
    assert (checkout / "static-vendor" / "vendor" / "htmx.js").read_bytes() == before


def test_a_broken_npm_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("npm", "node"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    assert assets.find_npm() is None


def test_pages_stay_light() -> None:
    assets.prepare()

    def zipped(*paths: Path) -> int:
        return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)

    def loaded(template: Path) -> set[str]:
        return set(re.findall(r'{% static "([^"]+\.(?:js|css))" %}', template.read_text()))

    def found(name: str) -> Path:
        return CHECKOUT / ("static-vendor" if name.startswith("vendor/") else "static") / name

    def imported(names: set[str]) -> set[str]:
        """What these scripts bring along at once; what they import() is for those who ask for it."""
        more = {
            f"js/{other}"
            for name in names
            if name.startswith("js/")
            for other in re.findall(r'^import (?:[^;]* from )?"\./([^"]+)"', found(name).read_text(), re.MULTILINE)
        }
        return names if more <= names else imported(names | more)

    templates = CHECKOUT / "templates"
    everywhere = loaded(templates / "base.html")
    charts = {"vendor/uplot.js", "vendor/uplot.css"}
    assert zipped(*map(found, charts)) <= CHARTS_LIMIT
    for page in templates.rglob("*.html"):
        own = imported(everywhere | loaded(page) - charts)
        assert zipped(*map(found, own)) <= CORE_LIMIT, page.name


def test_every_icon_that_is_asked_for_is_in_the_sprite() -> None:
    sprite = (CHECKOUT / "templates" / "partials" / "sprite.html").read_text()
    drawn = set(re.findall(r'<symbol id="i-([\w-]+)"', sprite))
    used = set()
    for path in (CHECKOUT / "templates").rglob("*.html"):
        used |= set(re.findall(r'{% icon "([\w-]+)"', path.read_text()))
    assert used <= drawn
    statuses = {"pending", "queued", "starting", "running", "cancelling", "completed", "failed", "paused", "cancelled"}
    assert statuses | {"skipped", "lost"} <= drawn


def test_scripts_import_each_other_under_hashed_names(tmp_path: Path, settings: Settings) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "platform_site.storage.HashedFiles"}}
    assets.prepare()
    call_command("collectstatic", interactive=False, verbosity=0)
    plain = {path.name for path in (CHECKOUT / "static" / "js").iterdir()}
    sent = [path for path in (tmp_path / "js").glob("*.js") if path.name not in plain]
    assert len(sent) == len(plain)
    imported = {name for path in sent for name in re.findall(r'(?:from|import) ?\(?"\./([^"]+)"', path.read_text())}
    assert {re.sub(r"\.[0-9a-f]{12}\.", ".", name) for name in imported} >= {"series.js", "playback.js", "log-view.js"}
    assert imported <= {path.name for path in sent}
