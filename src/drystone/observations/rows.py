"""Rows as they are sent, to columns of numbers: JSON, NDJSON and CSV, each row judged by itself. Asks no database.

This is where most of the time of a bulk goes that is not PostgreSQL's, so one validator of pydantic looks at each row, and
what rows have in common (entity, metric, source, unit) is kept once.
"""

from __future__ import annotations

import csv
import io
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, BinaryIO, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic reads those of typing from Python 3.12 on only

from drystone.core.errors import Invalid
from drystone.core.text import is_storable

Format = Literal["json", "ndjson", "csv"]
# What is wrong with a row: code, message, fix, JSON pointer into the row.
Fault = tuple[str, str, str, str]
MOST_ROWS = 100_000
MOST_LINE_BYTES = 64 << 10
MAX_NAME, MAX_UNIT, MAX_ATTRIBUTES_BYTES = 200, 64, 8 << 10
# Sums over a century of such values are still numbers.
MAX_VALUE = 1e300
DEFAULT_SOURCE = "default"
# Counted from documents, and written by nobody: `mentioned`.
MENTIONS = "mentions"
_PLAIN_COLUMNS = ("entity", "metric", "observed_at", "value", "source", "unit", "attributes")
_OF_EVIDENCE = ("version_id", "start", "end", "quote_sha256")
COLUMNS = (*_PLAIN_COLUMNS, *_OF_EVIDENCE)
# There is one way only to match it: in time linear to the text.
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
# The exact decimal of a double has some 770 digits; nobody writes them, and what is read of a cell has an end.
_MOST_DIGITS, _MOST_OFFSET_DIGITS = 400, 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
# PostgreSQL's functions say ten years: this stays within them.
FURTHEST = timedelta(days=3650)

_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
_Offset = Annotated[int, Field(ge=0, le=2**31 - 1)]


class EvidenceIn(TypedDict):
    """Where a value was read: code points `start` to `end` of the text of a document's version, and what stood there."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # as pydantic has it for TypedDicts

    version_id: UUID
    start: _Offset
    end: _Offset
    quote_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ObservationIn(TypedDict):
    """A value at a moment. What is left out is the default; unit: of all values of the series."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[misc]  # the same

    entity: _Name
    metric: _Name
    observed_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    value: Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
    source: NotRequired[_Name]
    unit: NotRequired[Annotated[str, Field(min_length=1, max_length=MAX_UNIT)] | None]
    attributes: NotRequired[dict[str, Any] | None]
    evidence: NotRequired[EvidenceIn | None]


ROW: TypeAdapter[ObservationIn] = TypeAdapter(ObservationIn)


@dataclass(frozen=True)
class Problem:
    """Why a row was not taken. row: of NDJSON and CSV its line; of JSON its place, from 1. fix: what to do."""

    row: int
    code: str
    message: str
    fix: str
    pointer: str = ""


@dataclass(frozen=True)
class Name:
    """What rows of one series have in common. unit: as they say it; None: they say none."""

    entity: str
    metric: str
    source: str
    unit: str | None


@dataclass(frozen=True)
class Extra:
    """What few rows have. attributes: as JSON."""

    attributes: str | None = None
    version_id: UUID | None = None
    start: int | None = None
    end: int | None = None
    quote_sha256: bytes | None = None


@dataclass
class Rows:
    """Rows that are right in themselves, as columns, and the problems of the others.

    names: each once; codes: of each row its place in them. times: microseconds since 1970. numbers: rows as people count them.
    is_list: they came as a list of JSON, whose pointers count from 0.
    """

    is_list: bool = False
    names: list[Name] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    codes: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    extras: dict[int, Extra] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)


class _Wrong(Exception):
    """A row that cannot be taken. Turned into a Problem where its number is known."""

    def __init__(self, code: str, message: str, fix: str, pointer: str = "") -> None:
        super().__init__(message)
        self.fault: Fault = (code, message, fix, pointer)


def microseconds(moment: datetime) -> int:
    """Since 1970, without the rounding of a float."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def read(body: BinaryIO, form: Format, *, oldest: datetime = EARLIEST, now: datetime | None = None) -> Rows:
    """All rows of a body, which stands at its beginning. oldest: what is before it is refused, row by row.

    Raises Invalid for what cannot be read as this format at all, and for more rows than MOST_ROWS.
    """
    taking = _Taking(oldest, (now or datetime.now(UTC)) + FURTHEST)
    readers = {"json": _read_json, "ndjson": _read_ndjson, "csv": _read_csv}
    taking.rows.is_list = form == "json"
    readers[form](body, taking)
    return taking.rows


class _Taking:
    """Takes one row after the other."""

    def __init__(self, oldest: datetime, latest: datetime) -> None:
        self.rows = Rows()
        self._oldest, self._latest = oldest, latest
        self._from, self._until = microseconds(oldest), microseconds(latest)
        self._codes: dict[tuple[str, str, str, str | None], int] = {}
        self._taken = 0

    def take(self, number: int, row: ObservationIn) -> None:
        """Raises _Wrong."""
        try:
            moment = datetime.fromisoformat(row["observed_at"])
            since = moment - _EPOCH
        except (ValueError, TypeError) as exc:
            raise _bad_time(row["observed_at"]) from exc
        at = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if not self._from <= at < self._until:
            raise self._out_of_range(moment)
        said = (row["entity"], row["metric"], row.get("source", DEFAULT_SOURCE), row.get("unit"))
        code = self._codes.get(said)
        if code is None:
            code = self._add_name(said)
        if len(row) > 4:
            self._add_extra(row)
        rows = self.rows
        rows.numbers.append(number)
        rows.codes.append(code)
        rows.times.append(at)
        rows.values.append(row["value"])

    def count(self) -> None:
        """One row more, right or wrong. Raises Invalid for too many."""
        self._taken += 1
        if self._taken > MOST_ROWS:
            raise Invalid(
                "observations.too_many",
                f"A request has at most {MOST_ROWS:,} rows.",
                hint="send the rest in further requests; sending rows twice does no harm",
                status=413,
            )

    def refuse(self, number: int, wrong: _Wrong) -> None:
        self.rows.problems.append(Problem(number, *wrong.fault))

    def _add_name(self, said: tuple[str, str, str, str | None]) -> int:
        for name, value in zip(("entity", "metric", "source", "unit"), said, strict=True):
            if value is not None and not is_storable(value):
                raise _Wrong(
                    "observation.invalid",
                    f"{name} holds a NUL character or half a surrogate pair.",
                    "leave that character out",
                    f"/{name}",
                )
        if said[1] == MENTIONS:
            raise _Wrong(
                "observation.reserved_metric",
                f"The metric {MENTIONS!r} is counted from documents, and nobody writes it.",
                "give the metric another name",
                "/metric",
            )
        self._codes[said] = code = len(self.rows.names)
        self.rows.names.append(Name(*said))
        return code

    def _add_extra(self, row: ObservationIn) -> None:
        attributes, evidence = row.get("attributes"), row.get("evidence")
        if attributes is None and evidence is None:
            return
        given: dict[str, Any] = {}
        if attributes is not None:
            given["attributes"] = _attributes(attributes)
        if evidence is not None:
            if evidence["end"] < evidence["start"]:
                raise _Wrong("observation.invalid", "The evidence ends before it starts.", "swap them", "/evidence/end")
            given |= evidence
            given["quote_sha256"] = bytes.fromhex(evidence["quote_sha256"])
        self.rows.extras[len(self.rows)] = Extra(**given)

    def _out_of_range(self, moment: datetime) -> _Wrong:
        if moment >= self._latest or self._oldest == EARLIEST:
            return _Wrong(
                "observation.time_out_of_range",
                f"{moment.isoformat()} is not within {EARLIEST.year} and ten years from now.",
                "correct the time; milliseconds taken for seconds end up there",
                "/observed_at",
            )
        return _Wrong(
            "observation.too_old",
            f"{moment.isoformat()} is before {self._oldest.isoformat()}: what is older is not kept.",
            "raise OBSERVATIONS_KEEP_MONTHS to keep it",
            "/observed_at",
        )


def _bad_time(text: str) -> _Wrong:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return _Wrong(
            "observation.bad_time",
            f"{text[:40]!r} is no time.",
            "write it as 2026-11-23T08:30:00Z or 2026-11-23T09:30:00.5+01:00",
            "/observed_at",
        )
    return _Wrong(
        "observation.no_time_zone",
        f"{text[:40]!r} does not say how far from UTC it is.",
        "end it with Z, or with an offset such as +01:00",
        "/observed_at",
    )


def attributes_json(given: Mapping[str, Any]) -> str:
    """Attributes as they are kept. Raises Invalid for those that cannot be."""
    try:
        return _attributes(given)
    except _Wrong as exc:
        code, message, fix, pointer = exc.fault
        raise Invalid(code, message, hint=fix, pointer=pointer) from exc


def _attributes(given: Mapping[str, Any]) -> str:
    try:
        plain = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        plain = "\0"
    if not is_storable(plain) or "\\u0000" in plain:
        raise _Wrong(
            "observation.invalid", "The attributes cannot be kept.", "send a JSON object without NUL", "/attributes"
        )
    if len(plain.encode()) > MAX_ATTRIBUTES_BYTES:
        raise _Wrong(
            "observation.invalid",
            f"The attributes take more than {MAX_ATTRIBUTES_BYTES >> 10} KiB.",
            "leave some out",
            "/attributes",
        )
    return plain


def _invalid(exc: ValidationError) -> _Wrong:
    """What is wrong with a row first."""
    error = exc.errors(include_url=False, include_input=False)[0]
    if error["type"] == "json_invalid":
        return _Wrong("observation.not_json", f"The line is not valid JSON: {error['ctx']['error']}.", "correct it")
    place = [str(part) for part in error["loc"]]
    what = ".".join(place) or "the row"
    fixes = {
        "missing": f"add {what}",
        "extra_forbidden": f"there are {', '.join((*_PLAIN_COLUMNS, 'evidence'))}",
        "float_type": "send a number, as in 21.5, without quotes",
        "finite_number": "leave the row out where nothing was measured",
    }
    fix = fixes.get(error["type"], "/openapi.json describes a row")
    return _Wrong("observation.invalid", f"{what}: {error['msg']}.", fix, "".join(f"/{part}" for part in place))


def _read_json(body: BinaryIO, taking: _Taking) -> None:
    try:
        found = from_json(body.read(), allow_inf_nan=False)
    except ValueError as exc:
        raise Invalid(
            "request.not_json",
            f"The body is not valid JSON: {exc}.",
            hint="look there for quotes, commas and brackets; a row a line is application/x-ndjson",
        ) from exc
    if not isinstance(found, list):
        raise Invalid(
            "request.invalid",
            "The body is no list of observations.",
            hint='send [{"entity": …, "metric": …, "observed_at": …, "value": …}]',
            errors=[{"pointer": "", "detail": "Input should be a list"}],
        )
    validate = ROW.validator.validate_python
    for number, given in enumerate(found, start=1):
        taking.count()
        try:
            # Strict rules of Python would refuse ids and times, which JSON has as strings.
            row = validate(given) if not isinstance(given, dict) or not given.get("evidence") else _by_json(given)
            taking.take(number, row)
        except ValidationError as exc:
            taking.refuse(number, _invalid(exc))
        except _Wrong as wrong:
            taking.refuse(number, wrong)


def _by_json(given: Any) -> ObservationIn:
    return ROW.validate_json(json.dumps(given))


def _read_ndjson(body: BinaryIO, taking: _Taking) -> None:
    validate, take = ROW.validator.validate_json, taking.take
    for number, line in enumerate(_lines(body), start=1):
        if not line.strip():
            continue
        taking.count()
        try:
            take(number, validate(line))
        except ValidationError as exc:
            taking.refuse(number, _invalid(exc))
        except _Wrong as wrong:
            taking.refuse(number, wrong)


def _lines(body: BinaryIO) -> Iterator[bytes]:
    """Line after line. Raises Invalid for one without end."""
    buffered = io.BufferedReader(_Unclosed(body), buffer_size=1 << 18)
    while line := buffered.readline(MOST_LINE_BYTES + 1):
        if len(line) > MOST_LINE_BYTES:
            raise Invalid(
                "observations.line_too_long",
                f"A line has more than {MOST_LINE_BYTES >> 10} KiB.",
                hint="write one observation a line",
                status=413,
            )
        yield line


class _Unclosed(io.RawIOBase):
    """Reads from a file that stays open when its reader is gone."""

    def __init__(self, body: BinaryIO) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._body.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _read_csv(body: BinaryIO, taking: _Taking) -> None:
    reader = csv.reader(_texts(body), strict=True)
    try:
        columns = _columns(next(reader, []))
        for cells in reader:
            if not cells:
                continue
            taking.count()
            try:
                taking.take(reader.line_num, _row_of(columns, cells))
            except ValidationError as exc:
                taking.refuse(reader.line_num, _invalid(exc))
            except _Wrong as wrong:
                taking.refuse(reader.line_num, wrong)
    except csv.Error as exc:
        raise Invalid(
            "request.not_csv",
            f"The body is not CSV: {exc}, line {reader.line_num}.",
            hint="cells with commas, quotes or line breaks stand in quotes, quotes within them are doubled (RFC 4180)",
        ) from exc
    except UnicodeDecodeError as exc:
        raise Invalid("request.bad_encoding", "The CSV is not in UTF-8.", hint="save it as UTF-8") from exc


def _texts(body: BinaryIO) -> Iterator[str]:
    first = True
    for line in _lines(body):
        yield line.removeprefix(b"\xef\xbb\xbf").decode() if first else line.decode()
        first = False


def _columns(header: Sequence[str]) -> list[str]:
    """The names in the header. Raises Invalid for those that are not known, twice there or lacking."""
    names = [name.strip().lower() for name in header]
    unknown = [name for name in names if name not in COLUMNS]
    lacking = [name for name in _PLAIN_COLUMNS[:4] if name not in names]
    if not unknown and not lacking and len(set(names)) == len(names):
        return names
    if unknown:
        said = f"There is no column {unknown[0][:40]!r}"
    else:
        said = f"The column {lacking[0]} is missing" if lacking else "A column is there twice"
    raise Invalid(
        "observations.bad_header",
        f"{said} in the first line of the CSV.",
        hint=f"columns are {', '.join(COLUMNS)}, in any order, divided by commas; the first four are needed",
    )


def _row_of(columns: Sequence[str], cells: Sequence[str]) -> ObservationIn:
    """Cells as the same row in JSON would have them; an empty one is as if it were not there."""
    if len(cells) != len(columns):
        raise _Wrong(
            "observation.invalid",
            f"The line has {len(cells)} cells, the header {len(columns)}.",
            "a cell with a comma in it stands in quotes",
        )
    given: dict[str, Any] = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
    value = given.get("value")
    if value is not None:
        if len(value) > _MOST_DIGITS or not _NUMBER.fullmatch(value):
            raise _Wrong(
                "observation.invalid",
                f"value: {value[:40]!r} is no number.",
                "write it with a decimal point, without units or separators; leave the row out where nothing was measured",
                "/value",
            )
        given["value"] = float(value)
    if "attributes" in given:
        try:
            given["attributes"] = from_json(given["attributes"], allow_inf_nan=False)
        except ValueError as exc:
            raise _Wrong(
                "observation.invalid", "attributes: The cell is no JSON.", 'write {"name": "value"}', "/attributes"
            ) from exc
    evidence = {name: given.pop(name) for name in _OF_EVIDENCE if name in given}
    if not evidence:
        return ROW.validator.validate_python(given)  # type: ignore[no-any-return]  # pydantic types it as Any
    for name in ("start", "end"):
        if 0 < len(said := evidence.get(name, "")) <= _MOST_OFFSET_DIGITS and said.isascii() and said.isdecimal():
            evidence[name] = int(said)
    return _by_json(given | {"evidence": evidence})
