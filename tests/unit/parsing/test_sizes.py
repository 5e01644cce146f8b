"""What is too large by its size alone is refused unread; what may shrink when it is read is not."""

from __future__ import annotations

import pytest

from drystone.adapters.parsing import Parser
from drystone.core.errors import Invalid
from drystone.core.settings import ParsingSettings

LIMIT = 1000


@pytest.fixture
def parser() -> Parser:
    return Parser(ParsingSettings(PARSE_MAX_TEXT_BYTES=LIMIT))


@pytest.mark.parametrize("media_type", ["text/plain", "text/markdown", "text/csv"])
def test_a_text_of_more_than_four_times_the_limit_is_too_large(parser: Parser, media_type: str) -> None:
    parser.check_size(4 * LIMIT, media_type)  # as UTF-32 it may just be short enough

    with pytest.raises(Invalid) as refused:
        parser.check_size(4 * LIMIT + 1, media_type)

    assert refused.value.code == "document.text_too_large"


@pytest.mark.parametrize("media_type", ["application/pdf", "text/html", "application/zip"])
def test_what_is_more_than_its_text_is_not_judged_by_its_size(parser: Parser, media_type: str) -> None:
    parser.check_size(1000 * LIMIT, media_type)
