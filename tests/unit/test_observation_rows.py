"""Rows of observations in three formats: what is taken, what is refused row by row, and what as a whole."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from drystone.core.errors import Invalid
from drystone.observations import rows
from drystone.observations.rows import Format, Rows, microseconds, read

NOW = datetime(2026, 11, 23, tzinfo=UTC)
GOOD = {"entity": "pump-7", "metric": "temperature", "observed_at": "2026-11-23T08:30:00Z", "value": 21.5}


def taken(body: str | bytes, form: Format, **how: Any) -> Rows:
    return read(io.BytesIO(body.encode() if isinstance(body, str) else body), form, now=NOW, **how)


def as_ndjson(*given: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, given))


def told(found: Rows) -> list[tuple[int, str]]:
    return [(problem.row, problem.code) for problem in found.problems]


def shown(found: Rows) -> list[tuple[str, int, float]]:
    return [
        (found.names[code].metric, at, value)
        for code, at, value in zip(found.codes, found.times, found.values, strict=True)
    ]


def test_the_three_formats_say_the_same() -> None:
    evidence = {
        "version_id": "0199c0de-0000-7000-8000-000000000000",
        "start": 3,
        "end": 9,
        "quote_sha256": "ab" * 32,
    }
    full = GOOD | {"source": "sensor", "unit": "°C", "attributes": {"by": "Ada, 1"}, "evidence": evidence}
    table = (
        "entity,metric,observed_at,value,source,unit,attributes,version_id,start,end,quote_sha256\n"
        'pump-7,temperature,2026-11-23T08:30:00Z,21.5,sensor,°C,"{""by"": ""Ada, 1""}",'
        f"{evidence['version_id']},3,9,{evidence['quote_sha256']}\n"
        "pump-7,temperature,2026-11-23T08:30:00Z,21.5,,,,,,,\n"
    )

    of_json, of_ndjson, of_csv = (
        taken(json.dumps([full, GOOD]), "json"),
        taken(as_ndjson(full, GOOD), "ndjson"),
        taken(table, "csv"),
    )

    for found in (of_json, of_ndjson, of_csv):
        assert not found.problems
        assert found.names == of_json.names
        assert shown(found) == shown(of_json)
        assert found.extras == of_json.extras
    assert of_json.names[1] == rows.Name("pump-7", "temperature", "default", None)
    assert of_json.extras[0].attributes == '{"by":"Ada, 1"}'
    assert of_json.extras[0].quote_sha256 == bytes.fromhex("ab" * 32)
    assert list(of_csv.numbers) == [2, 3]  # lines of the file


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -0.000001),
        ("1970-01-01 00:00:00.5+00:00", 0.5),
        ("2026-03-29T02:30:00+01:00", 1774747800),  # an hour that clocks in Berlin leave out
    ],
)
def test_a_time_is_a_moment(said: str, seconds: float) -> None:
    found = taken(as_ndjson(GOOD | {"observed_at": said}), "ndjson")

    assert list(found.times) == [round(seconds * 1_000_000)]


def test_microseconds_are_exact_where_a_float_would_not_be() -> None:
    assert microseconds(datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) == 7_258_118_399_999_999


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"value": "21.5"}, "observation.invalid"),
        ({"value": None}, "observation.invalid"),
        ({"value": True}, "observation.invalid"),
        ({"value": 1e301}, "observation.invalid"),
        ({"value": 10**400}, "observation.invalid"),
        ({"metric": ""}, "observation.invalid"),
        ({"metric": "x" * 201}, "observation.invalid"),
        ({"metric": "a\0b"}, "observation.invalid"),
        ({"metric": "mentions"}, "observation.reserved_metric"),
        ({"unit": ""}, "observation.invalid"),
        ({"colour": "red"}, "observation.invalid"),
        ({"entity": 7}, "observation.invalid"),
        ({"attributes": [1]}, "observation.invalid"),
        ({"attributes": {"a": "\0"}}, "observation.invalid"),
        ({"attributes": {"a": "x" * 9000}}, "observation.invalid"),
        ({"evidence": {"version_id": "x"}}, "observation.invalid"),
        (
            {
                "evidence": {
                    "version_id": "0199c0de-0000-7000-8000-000000000000",
                    "start": 9,
                    "end": 3,
                    "quote_sha256": "0" * 64,
                }
            },
            "observation.invalid",
        ),
        ({"observed_at": "yesterday"}, "observation.bad_time"),
        ({"observed_at": "1700000000"}, "observation.bad_time"),
        ({"observed_at": 1700000000}, "observation.invalid"),
        ({"observed_at": "2026-11-23T08:30:00"}, "observation.no_time_zone"),
        ({"observed_at": "2026-11-23"}, "observation.no_time_zone"),
        ({"observed_at": "1899-12-31T23:59:59Z"}, "observation.time_out_of_range"),
        ({"observed_at": "2037-01-01T00:00:00Z"}, "observation.time_out_of_range"),
    ],
)
@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_bad_row_is_told_with_its_number_and_the_others_are_taken(
    change: dict[str, Any], code: str, form: Format
) -> None:
    given = [GOOD, GOOD | change, GOOD]
    found = taken(json.dumps(given) if form == "json" else as_ndjson(*given), form)

    assert told(found) == [(2, code)]
    assert found.problems[0].fix
    assert list(found.numbers) == [1, 3]


@pytest.mark.parametrize("bad", ["{", "nonsense", "[1]", '"a"', '{"value": NaN}', '{"value": Infinity}', "\xff"])
def test_a_line_that_is_no_row_is_told(bad: str) -> None:
    body = as_ndjson(GOOD).encode() + b"\n" + bad.encode("latin-1") + b"\n\n" + as_ndjson(GOOD).encode()

    found = taken(body, "ndjson")

    assert [row for row, _ in told(found)] == [2]
    assert list(found.numbers) == [1, 4]


@pytest.mark.timeout(60)  # by a pattern that goes back once for each digit the last would take minutes
@pytest.mark.parametrize(
    "cell",
    ["abc", "1,5", "1_000", "nan", "inf", "0x10", "1e999", "21.5 °C", "\u0663", "0" * 400 + "7", "1" * 60_000 + "x"],
    ids=lambda cell: ascii(cell[:10]),
)
def test_a_cell_that_is_no_number_is_told(cell: str) -> None:
    body = f'entity,metric,observed_at,value\np,m,2026-01-01T00:00:00Z,"{cell}"\np,m,2026-01-01T00:00:00Z, 7 \n'

    found = taken(body, "csv")

    assert told(found) == [(2, "observation.invalid")]
    assert list(found.values) == [7]


def test_csv_has_a_mark_at_its_beginning_quoted_lines_and_columns_in_any_order() -> None:
    body = '\ufeffValue,Entity,Metric,observed_at\r\n1,"a ""b""\nc",m,2026-01-01T00:00:00Z\r\n\r\n2,,m,2026-01-01T00:00:00Z\r\n3,e\r\n'

    found = taken(body, "csv")

    assert [name.entity for name in found.names] == ['a "b"\nc']
    assert told(found) == [(5, "observation.invalid"), (6, "observation.invalid")]


@pytest.mark.parametrize(
    ("body", "form", "code"),
    [
        ("{}", "json", "request.invalid"),
        ("[", "json", "request.not_json"),
        ("[{}, NaN]", "json", "request.not_json"),
        ("entity,metric\n", "csv", "observations.bad_header"),
        ("entity,metric,observed_at,value,colour\n", "csv", "observations.bad_header"),
        ("entity,metric,observed_at,value,value\n", "csv", "observations.bad_header"),
        ("", "csv", "observations.bad_header"),
        ('entity,metric,observed_at,value\n"a', "csv", "request.not_csv"),
        (b"entity,metric,observed_at,value\n\xff\n", "csv", "request.bad_encoding"),
        (b" " * (rows.MOST_LINE_BYTES + 1), "ndjson", "observations.line_too_long"),
        (b"{}\n" * (rows.MOST_ROWS + 1), "ndjson", "observations.too_many"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_as_a_whole(body: str | bytes, form: Format, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        taken(body, form)

    assert refused.value.code == code
    assert refused.value.hint


def test_what_is_not_kept_is_not_taken() -> None:
    found = taken(
        as_ndjson(GOOD, GOOD | {"observed_at": "2026-09-30T23:59:59Z"}),
        "ndjson",
        oldest=datetime(2026, 10, 1, tzinfo=UTC),
    )

    assert told(found) == [(2, "observation.too_old")]


def test_an_empty_body_has_no_rows() -> None:
    for body, form in (("[]", "json"), ("", "ndjson"), ("entity,metric,observed_at,value\n", "csv")):
        found = taken(body, form)  # type: ignore[arg-type]  # mypy makes one type of the tuples
        assert (len(found), found.problems) == (0, [])


@pytest.mark.parametrize("start", ["9" * 5000, "\u00b2", "-1", ""])
def test_evidence_that_starts_nowhere_is_told(start: str) -> None:
    header = "entity,metric,observed_at,value,version_id,start,end,quote_sha256"
    cells = f"p,m,2026-01-01T00:00:00Z,1,0190a1b2-0000-7000-8000-000000000000,{start},5,{'0' * 64}"

    found = taken(f"{header}\n{cells}\n", "csv")

    assert told(found) == [(2, "observation.invalid")]
