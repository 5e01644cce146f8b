"""Queries and who judged what relevant to them, read from the formats of BEIR and TREC.

Every refusal names file and line. Ids stay as they stand in the files; what they name is for others to find out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from drystone.core.errors import Invalid, NotFound

Queries = dict[str, str]
"""query id -> text, in the order of the file."""
Judgements = dict[str, dict[str, int]]
"""query id -> document id -> grade; above 0 is relevant."""

Lines = Iterator[tuple[int, str]]

_ID_FIELDS, _TEXT_FIELDS = ("_id", "id", "query_id", "qid"), ("text", "query")
_BEIR_HEADER = ["query-id", "corpus-id", "score"]
_QUERY_FORMATS = 'a query a line: {"_id": "1", "text": "…"} or id<TAB>text'
_QREL_FORMATS = (
    "either BEIR: a first line query-id<TAB>corpus-id<TAB>score, then one such line per judgement; "
    "or TREC: query-id 0 document-id grade"
)


def read_queries(path: Path) -> Queries:
    """The queries of a JSONL file (BEIR's `_id` and `text`, or `id` and `query`) or of one of `id<TAB>text`.

    Raises NotFound without the file; Invalid for what is none of these, empty or there twice.
    """
    found: Queries = {}
    stood: dict[str, int] = {}
    for number, query_id, text in _parse_queries(path):
        if not query_id or not text:
            _refuse(path, number, "The id or the text of the query is empty.", hint=_QUERY_FORMATS)
        if query_id in found:
            _refuse(path, number, f"Query {query_id} stands on line {stood[query_id]} already.", hint="one line each")
        found[query_id], stood[query_id] = text, number
    if not found:
        _refuse(path, 1, "There is no query in the file.", hint=_QUERY_FORMATS)
    return found


def read_judgements(path: Path) -> Judgements:
    """The judgements of a BEIR file (with its header) or of TREC qrels, whose second column is ignored.

    Raises NotFound without the file; Invalid for another format, a grade that is no whole number, or two grades for one
    document of one query.
    """
    found: Judgements = {}
    stood: dict[tuple[str, str], int] = {}
    for number, query_id, document_id, grade in _parse_judgements(path):
        of_query = found.setdefault(query_id, {})
        if of_query.setdefault(document_id, grade) != grade:
            first = stood[query_id, document_id]
            _refuse(
                path,
                number,
                f"Document {document_id} has grade {grade} for query {query_id} here, {of_query[document_id]} on line {first}.",
                hint="keep one of the two lines",
            )
        stood.setdefault((query_id, document_id), number)
    if not found:
        _refuse(path, 1, "There is no judgement in the file.", hint=_QREL_FORMATS)
    return found


def lines_of(path: Path) -> Lines:
    """Number and text of every line that is not blank. Raises NotFound, or Invalid for bytes that are no UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise NotFound("file.not_found", f"Cannot read {path}: {exc.strerror}.", hint="check the path") from exc
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.decode().rstrip("\r")
        except UnicodeDecodeError:
            _refuse(path, number, "The line is no UTF-8 text.", hint="save the file as UTF-8")
        if text.strip():
            yield number, text


def object_of(path: Path, number: int, line: str, *, hint: str) -> dict[str, Any]:
    """The JSON object of a line. Raises Invalid, naming the place."""
    try:
        value = json.loads(line)
    except ValueError as exc:
        _refuse(path, number, f"The line is no JSON: {exc}.", hint=hint)
    if not isinstance(value, dict):
        _refuse(path, number, "The line is no JSON object.", hint=hint)
    return value


def _parse_queries(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, id and text of each query."""
    lines = list(lines_of(path))
    if not lines:
        return
    if lines[0][1].lstrip().startswith("{"):
        yield from ((number, *_query_of(path, number, line)) for number, line in lines)
        return
    first = [cell.strip().lower() for cell in lines[0][1].split("\t")]
    has_header = len(first) == 2 and first[0] in (*_ID_FIELDS, "query-id") and first[1] in _TEXT_FIELDS
    for number, line in lines[1:] if has_header else lines:
        cells = line.split("\t")
        if len(cells) != 2:
            _refuse(path, number, f"{_count(len(cells))} where a query has 2: id<TAB>text.", hint=_QUERY_FORMATS)
        yield number, cells[0].strip(), cells[1].strip()


def _query_of(path: Path, number: int, line: str) -> tuple[str, str]:
    row = object_of(path, number, line, hint=_QUERY_FORMATS)
    query_id, text = (next((row[name] for name in names if name in row), None) for names in (_ID_FIELDS, _TEXT_FIELDS))
    if not isinstance(query_id, str | int) or isinstance(query_id, bool) or not isinstance(text, str):
        _refuse(path, number, 'The object lacks "_id" or "text" (or "id" or "query").', hint=_QUERY_FORMATS)
    return str(query_id).strip(), text.strip()


def _parse_judgements(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line number, query id, document id and grade of each judgement."""
    lines = list(lines_of(path))
    if not lines:
        return
    (number, first), parse = lines[0], _beir
    if [cell.strip() for cell in first.split("\t")] == _BEIR_HEADER:
        lines = lines[1:]
    elif _is_trec(first):
        parse = _trec
    else:
        _refuse(path, number, "The line begins neither BEIR's nor TREC's format of judgements.", hint=_QREL_FORMATS)
    for number, line in lines:
        query_id, document_id, grade = parse(path, number, line)
        yield number, query_id, document_id, _grade(path, number, grade)


def _is_trec(line: str) -> bool:
    cells = line.split()
    return len(cells) == 4 and cells[3].removeprefix("-").isdecimal()


def _beir(path: Path, number: int, line: str) -> tuple[str, str, str]:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 3 or not all(cells):
        _refuse(path, number, f"{_count(len(cells))} where a judgement has 3, between tabs.", hint=_QREL_FORMATS)
    return cells[0], cells[1], cells[2]


def _trec(path: Path, number: int, line: str) -> tuple[str, str, str]:
    cells = line.split()
    if len(cells) != 4:
        _refuse(path, number, f"{_count(len(cells))} where a judgement has 4, between blanks.", hint=_QREL_FORMATS)
    return cells[0], cells[2], cells[3]


def _grade(path: Path, number: int, cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        _refuse(path, number, f"The grade {cell!r} is no whole number.", hint=_QREL_FORMATS)


def _count(cells: int) -> str:
    return "1 column stands here" if cells == 1 else f"{cells} columns stand here"


def _refuse(path: Path, number: int, what: str, *, hint: str) -> NoReturn:
    raise Invalid("eval.bad_file", f"{path}:{number}: {what}", hint=hint)
