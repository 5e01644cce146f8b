"""The pictures of the guides: small, shown, and told to who cannot see them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.png"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)]+\.png)\)")


def test_each_is_shown_with_a_sentence_that_stands_for_it() -> None:
    shown = {(page.parent / path).resolve(): said for page in PAGES for said, path in _SHOWN.findall(page.read_text())}

    assert len(PICTURES) >= 7
    assert set(shown) == set(PICTURES)
    assert all(len(said) > 30 for said in shown.values())


def test_none_is_large() -> None:
    assert {path.name for path in PICTURES if path.stat().st_size > 150_000} == set()
