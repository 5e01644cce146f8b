"""The site made of docs/: built without a warning, so that each link leads somewhere; every page in it, found by its words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = sorted(str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-d",
            built / "trees",
            DOCS,
            built / "html",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return built / "html"


def test_every_page_is_in_the_site_and_has_a_way_to_it(site: Path) -> None:
    front = (site / "index.html").read_text()

    assert [page for page in PAGES if not (site / f"{page}.html").is_file()] == []
    assert [page for page in PAGES if page != "index" and f'href="{page}.html"' not in front] == []


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r"""<(?:script|img|iframe)[^>]+src=["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//""")

    assert [page.name for page in site.rglob("*.html") if fetched.search(page.read_text())] == []


def test_pages_are_found_by_their_words(site: Path) -> None:
    text = (site / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))

    def found(word: str) -> set[str]:
        lists = [index[kind].get(word, []) for kind in ("terms", "titleterms")]
        numbers = [number for each in lists for number in (each if isinstance(each, list) else [each])]
        return {index["docnames"][number] for number in numbers}

    assert "guides/backup" in found("restor")
    assert "concepts/search" in found("bm25")
    assert "reference/settings" in found("api_port")


def test_the_reference_is_written_from_the_code(site: Path) -> None:
    commands, settings, routes = (
        (site / "reference" / f"{page}.html").read_text() for page in ("commands", "settings", "routes")
    )

    assert "drystone backup verify" in commands
    assert "Send files, and wait until they can be found." in commands
    assert "DRYSTONE_DATA_DIR" in settings
    assert "POST /api/v1/collections" in re.sub(r"<[^>]+>", "", routes)
