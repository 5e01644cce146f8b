"""Queries and judgements are read from the formats of the field; what is none of them is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drystone.core.errors import Invalid, NotFound
from drystone.evaluation.judgements import read_judgements, read_queries

_HEADER = "query-id\tcorpus-id\tscore\n"


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "given"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        '{"_id": "q1", "text": "why walls stand", "metadata": {}}\n{"_id": "2", "text": "mortar"}\n',
        '{"id": "q1", "query": "why walls stand"}\n\n{"id": 2, "query": "mortar"}',
        "q1\twhy walls stand\n2\tmortar\n",
        "\ufeffquery_id\tquery\r\nq1\twhy walls stand\r\n2\tmortar\r\n",
        "qid\ttext\nq1\t why walls stand \n2\tmortar",
    ],
)
def test_queries_are_read_from_each_format(tmp_path: Path, content: str) -> None:
    assert read_queries(_file(tmp_path, content)) == {"q1": "why walls stand", "2": "mortar"}


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("", 1, "no query"),
        ("\n \n", 1, "no query"),
        ('{"_id": "1", "text": "a"}\n{"_id": "2", "text": ', 2, "no JSON"),
        ('{"_id": "1", "text": "a"}\n["2", "b"]', 2, "no JSON object"),
        ('{"_id": "1", "title": "a"}', 1, "lacks"),
        ('{"_id": true, "text": "a"}', 1, "lacks"),
        ('{"_id": "1", "text": " "}', 1, "empty"),
        ('{"_id": "1", "text": "a"}\n\n{"_id": 1, "text": "b"}', 3, "Query 1 stands on line 1 already"),
        ("1\ta\n2\n", 2, "1 column stands here"),
        ("1\ta\tb\n", 1, "3 columns stand here"),
        ("1\ta\n\tb\n", 2, "empty"),
        ("why walls stand\n", 1, "1 column stands here"),
        (b"1\ta\n2\t\xff\n", 2, "no UTF-8"),
    ],
)
def test_a_bad_line_of_queries_is_named(tmp_path: Path, content: str | bytes, line: int, said: str) -> None:
    path = _file(tmp_path, content)

    with pytest.raises(Invalid, match=re.escape(said)) as refused:
        read_queries(path)

    assert refused.value.message.startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    "content",
    [
        _HEADER + "q1\td 1\t2\nq1\td2\t0\n2\td2\t1\n",
        _HEADER.replace("\n", "\r\n") + "q1\td 1\t2\r\nq1\td2\t0\r\n2\td2\t1\r\n2\td2\t1\r\n",
    ],
)
def test_judgements_are_read_as_beir_has_them(tmp_path: Path, content: str) -> None:
    assert read_judgements(_file(tmp_path, content)) == {"q1": {"d 1": 2, "d2": 0}, "2": {"d2": 1}}


def test_judgements_are_read_as_trec_has_them(tmp_path: Path) -> None:
    path = _file(tmp_path, "q1 0 d1 2\nq1\t0\td2\t-1\n\n2 Q0 d2 1\n")

    assert read_judgements(path) == {"q1": {"d1": 2, "d2": -1}, "2": {"d2": 1}}


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("", 1, "no judgement"),
        (_HEADER, 1, "no judgement"),
        ("q1\td1\t1\n", 1, "neither BEIR's nor TREC's"),
        ("query-id corpus-id score\nq1 d1 1\n", 1, "neither BEIR's nor TREC's"),
        ('{"query-id": "q1"}\n', 1, "neither BEIR's nor TREC's"),
        ("q1 0 d1 relevant\n", 1, "neither BEIR's nor TREC's"),
        (_HEADER + "q1\td1\t1\nq1 d2 1\n", 3, "1 column stands here"),
        (_HEADER + "q1\td1\thigh\n", 2, "no whole number"),
        (_HEADER + "q1\td1\t0.5\n", 2, "no whole number"),
        (_HEADER + "q1\t\t1\n", 2, "3 columns"),
        (_HEADER + "q1\td1\t1\nq1\td1\t2\n", 3, "grade 2 for query q1 here, 1 on line 2"),
        ("q1 0 d1 1\nq1 0 d2\n", 2, "3 columns stand here"),
        ("q1 0 d1 1\nq1 0 d2 x\n", 2, "no whole number"),
    ],
)
def test_a_bad_line_of_judgements_is_named(tmp_path: Path, content: str, line: int, said: str) -> None:
    path = _file(tmp_path, content)

    with pytest.raises(Invalid, match=re.escape(said)) as refused:
        read_judgements(path)

    assert refused.value.message.startswith(f"{path}:{line}: ")
    assert refused.value.hint


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing"):
        read_queries(tmp_path / "nothing")
    with pytest.raises(NotFound, match="Is a directory"):
        read_judgements(tmp_path)
