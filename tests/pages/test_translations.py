"""Everything a page says can be translated, and is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.utils import translation

from platform_site import display, translations

CHECKOUT = Path(settings.BASE_DIR)
CATALOGUE = CHECKOUT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
HOLES = re.compile(r"%\(\w+\)[sdr]|\{\w+\}|</?\w+>")
APPS = ("platform_site", "pipelines", "monitoring", "datasets", "environments", "notifications", "templates")


def entries() -> list[polib.POEntry]:
    return [entry for entry in polib.pofile(str(CATALOGUE)) if not entry.obsolete]


def texts(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def test_every_message_is_translated() -> None:
    empty = [entry.msgid for entry in entries() if not all(texts(entry)) or "fuzzy" in entry.flags]
    assert empty == []


def test_a_translation_keeps_what_is_put_in() -> None:
    """A lost or misspelt %(name)s is an error at run time, in that language alone."""
    wrong = [
        entry.msgid
        for entry in entries()
        for text in texts(entry)
        if sorted(HOLES.findall(entry.msgid)) != sorted(HOLES.findall(text))
        and sorted(HOLES.findall(entry.msgid_plural)) != sorted(HOLES.findall(text))
    ]
    assert wrong == []


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="gettext is not installed (Debian: apt install gettext)")
def test_the_catalogue_has_every_message(tmp_path: Path) -> None:
    """Extracted afresh from a copy: nothing is missing there, and nothing stands there that nobody says."""
    for name in APPS:
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "runtime"))
    (tmp_path / "locale").mkdir()
    argv = [sys.executable, "-c", EXTRACT, str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {
        (entry.msgctxt, entry.msgid)
        for entry in polib.pofile(str(tmp_path / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"))
    }
    kept = {(entry.msgctxt, entry.msgid) for entry in entries()}
    assert sorted(map(str, found - kept)) == [], "not in the catalogue: run `manage.py makemessages`, then translate"
    assert sorted(map(str, kept - found)) == [], "nobody says these any more"


EXTRACT = """
import sys, django
from django.conf import settings
from django.core.management import call_command
settings.configure(LOCALE_PATHS=[sys.argv[1] + "/locale"], LANGUAGES=[("en", "English"), ("zh-hans", "Chinese")])
django.setup()
call_command("makemessages", locale=["zh_Hans"], no_location=True, verbosity=0)
"""


def test_compiled_without_gettext_it_speaks_chinese(tmp_path: Path) -> None:
    folder = tmp_path / "zh_Hans" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    shutil.copy(CATALOGUE, folder)
    assert translations.compile_all(tmp_path) == 1
    assert translations.compile_all(tmp_path) == 0, "compiled again though nothing changed"
    assert polib.mofile(str(folder / "django.mo")).find("Runs").msgstr == "运行"


def test_a_broken_catalogue_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "zh_Hans" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.po").write_text('msgid "a"\nnonsense\n')
    with pytest.raises(translations.TranslationError, match=r"django\.po"):
        translations.compile_all(tmp_path)


def test_templates_hold_no_bare_words() -> None:
    """Text between tags that no translate tag produces. Names, keys and code stay as they are."""
    allowed = {
        "Anneal",
        "· Anneal",
        "English",
        "简体中文",
        "403",
        "404",
        "500",
        "CSV",
        "JSON",
        "Parquet",
        "Python",
        "Ray",
        "SFT",
        "num",
        "environments/setup_local_env.sh training",
    }
    bare = {}
    for path in (CHECKOUT / "templates").rglob("*.html"):
        text = re.sub(
            r"{#.*?#}|{% comment.*?endcomment %}|{% blocktranslate.*?endblocktranslate %}",
            "",
            path.read_text(),
            flags=re.S,
        )
        text = re.sub(r"<(code|kbd|style|script)\b.*?</\1>", "", text, flags=re.S)
        text = re.sub(r"{%.*?%}|{{.*?}}|<[^>]*>", "\n", text, flags=re.S)
        words = {w.strip() for w in text.split("\n") if re.search(r"[A-Za-z]{2}", w)} - allowed
        if words and "admin" not in path.parts:
            bare[str(path)] = words
    assert bare == {}


def test_numbers_and_times_read_in_both_languages() -> None:
    translations.compile_all(CHECKOUT / "locale")
    assert [display.duration(s) for s in (0, 0.001, 0.0999, 0.1, 0.234, 5, 72, 3700, 90000)] == [
        "< 0.1 s",
        "< 0.1 s",
        "< 0.1 s",
        "0.1 s",
        "0.23 s",
        "5 s",
        "1 min 12 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
    with translation.override("zh-hans"):
        assert display.duration(72) == "1 分 12 秒"
        assert display.status_label("failed") == "失败"
