"""Composing, keeping and loading the collection of Debian's manuals, on a few made-up documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import debian


def _document(name: str, *contents: str) -> dict[str, Any]:
    passages = [
        {
            "ordinal": n,
            "start": 0,
            "end": 3,
            "page": None,
            "title_path": ["T"],
            "content": content,
            "content_hash": content.encode().hex(),
            "length": 1,
        }
        for n, content in enumerate(contents)
    ]
    return {"id": name, "title": "T", "text": "abc", "headings": [], "passages": passages}


def _packages() -> dict[str, Iterator[dict[str, Any]]]:
    return {
        "large": iter([_document("large/1", "a", "b", "c"), _document("large/2", "d", "e")]),
        "small": iter([_document("small/1", "f"), _document("small/2", "a", "g", "g"), _document("small/3", "h")]),
    }


def test_the_package_that_gave_fewest_comes_next_and_nothing_comes_twice() -> None:
    found = [(row["id"], [p["content"] for p in row["passages"]]) for _, row in debian.spread(_packages(), 100)]

    assert found == [
        ("large/1", ["a", "b", "c"]),
        ("small/1", ["f"]),
        ("small/2", ["g"]),
        ("small/3", ["h"]),
        ("large/2", ["d", "e"]),
    ]


def test_fewer_passages_are_the_beginning_of_more() -> None:
    few, many = ([row["id"] for _, row in debian.spread(_packages(), count)] for count in (4, 6))

    assert few == many[: len(few)]
    assert len(many) > len(few)


def test_what_is_kept_is_loaded_up_to_the_number_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "_PART", 2)
    made = debian._made()
    (made / "vectors").mkdir(parents=True)
    with (made / "documents.jsonl").open("w") as file:
        for _, row in debian.spread(_packages(), 100):
            file.write(json.dumps(row) + "\n")
    (made / "questions.json").write_text('["how to build"]')
    for number, (path, part) in enumerate(debian._parts(8)):
        np.save(path, np.full((len(part), 4), number, np.float16))

    loaded = debian.load(5)

    assert [passage.content for passage in loaded.passages] == ["a", "b", "c", "f", "g"]
    assert [loaded.documents[passage.document].id for passage in loaded.passages][-2:] == ["small/1", "small/2"]
    assert loaded.vectors[:, 0].tolist() == [0, 0, 1, 1, 2]
    assert loaded.questions == ["how to build"]
    with pytest.raises(SystemExit, match="--passages 9"):
        debian.load(9)


@pytest.mark.parametrize(
    ("heading", "plain"),
    [
        ("5.2.1. Reducing the File Size¶", "Reducing the File Size"),
        ("Chapter 72. Hash Indexes", "Hash Indexes"),
        ("A.3 Writing Rules#", "Writing Rules"),
        ("How it works", "How it works"),
    ],
)
def test_a_heading_loses_its_number(heading: str, plain: str) -> None:
    assert debian.bare(heading) == plain


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Why do I see no output?", True),
        ("Printing Text in Black and White", True),
        ("Caching", False),
        ("void setValue(int value)", False),
        ("g_variant_new ()", False),
        ("struct GtkAssistant", False),
        ("Table of Contents", False),
        (" ".join(["word"] * 13), False),
    ],
)
def test_a_question_is_a_few_plain_words(heading: str, expected: bool) -> None:
    assert debian.is_question(heading) is expected
