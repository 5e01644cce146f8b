"""When all that may be found is compared, and when a graph is walked."""

from __future__ import annotations

import pytest

from drystone.search.queries import EXACT_UP_TO, is_few


@pytest.mark.parametrize(
    ("passages", "all_vectors", "expected"),
    [
        (EXACT_UP_TO, 0, True),
        (EXACT_UP_TO + 1, 0, False),  # nobody has counted: the graph is walked
        (100_000, 100_000, False),
        (11_000, 100_000, False),  # one in nine is met soon
        (11_000, 1_100_000, False),
        (11_000, 1_300_000, True),  # one in a hundred is not
        (60_000, 10_000_000, True),
        (1_000_000, 10_000_000, False),
    ],
)
def test_few_of_many_are_compared(passages: int, all_vectors: float, expected: bool) -> None:
    assert is_few(passages, all_vectors) is expected
