"""Numbers, lengths of time and addresses as pages show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import Request

from drystone.adapters.parsing import SUPPORTED
from drystone.console import pages, showing


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (1_536_000, "1.54 MB"), (2 * 10**12, "2 TB")],
)
def test_bytes_are_shown_in_the_largest_unit(value: int, shown: str) -> None:
    assert showing.size(value) == shown.replace(" ", "\u00a0")


def test_every_format_that_is_read_has_a_name_for_people() -> None:
    names = {media_type: re.sub("<[^>]+>", "", showing.media_type(media_type)) for media_type in SUPPORTED}

    assert all(len(name) < 20 and "/" not in name for name in names.values()), names
    assert showing.media_type('a/"b') == '<span title="a/&#34;b">a/&#34;b</span>'


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (59.4, "59 s"), (60, "1 minute"), (7300, "2 hours")])
def test_a_length_of_time_is_shown_in_its_largest_unit(seconds: float, shown: str) -> None:
    assert showing.span(seconds) == shown


def test_a_moment_says_when_it_was_exactly() -> None:
    at = datetime.now(UTC) - timedelta(hours=3, minutes=1)
    assert f'title="{at:%Y-%m-%d %H:%M:%S} UTC">3 hours ago</time>' in showing.ago(at)


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (None, ""),
        ("say why", "Say why."),
        ("GET /api/v1/entities lists those there are", ""),
        ("/openapi.json lists the paths there are", ""),
        ("the first upload into a name creates it; GET /api/v1/collections lists what there is", "The first upload into a name creates it."),
        ("send it files, POST /api/v1/documents; or make another", "Send it files; or make another."),
        ("send it into the store (POST /api/v1/uploads)", "Send it into the store."),
        ("look at the newest version: GET /api/v1/documents/{id}", "Look at the newest version."),
    ],
)  # fmt: skip
def test_a_hint_is_for_people(hint: str | None, shown: str) -> None:
    assert showing.hint(hint) == shown


def test_there_is_a_dash_for_what_never_was() -> None:
    assert showing.ago(None) == "–"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "//example.org/",
        "/\\example.org",
        "\\\\example.org",
        "javascript:alert(1)",
        "//[",
        "https://[x]/",
        "//\u2100",
        "collections",
        "/sign-in",
        "/sign-out",
        "",
        None,
    ],
)
def test_nobody_is_sent_on_to_another_site(url: str | None) -> None:
    assert pages.within(url) == "/"


def test_an_address_that_looks_like_none_stays_here() -> None:
    assert pages.within("///example.org") == "/example.org"


def test_a_page_here_is_gone_back_to_with_its_question() -> None:
    assert pages.within("/search?q=wall&limit=10#x") == "/search?q=wall&limit=10"


def _asked(query: str) -> Request:
    return Request({"type": "http", "path": "/search", "query_string": query.encode(), "headers": []})


def test_a_page_asked_otherwise_keeps_all_values_of_what_stays() -> None:
    request = _asked("q=wall&collection=a&collection=b&before=7")

    assert showing.with_query(request, before=None) == "/search?q=wall&collection=a&collection=b"
    assert showing.with_query(request, q="a b", before=8) == "/search?collection=a&collection=b&q=a+b&before=8"
    assert showing.with_query(request, collection=None, q=None, before=None) == "/search"


def test_one_of_several_values_is_taken_out_or_added() -> None:
    request = _asked("entity=o3&q=ozone&entity=no2")

    assert showing.without_value(request, "entity", "o3") == "/search?q=ozone&entity=no2"
    assert showing.without_value(request, "entity", "co") == "/search?entity=o3&q=ozone&entity=no2"
    assert showing.with_value(request, "entity", "co&") == "/search?entity=o3&q=ozone&entity=no2&entity=co%26"
    assert showing.with_value(request, "entity", "no2") == "/search?entity=o3&q=ozone&entity=no2"
