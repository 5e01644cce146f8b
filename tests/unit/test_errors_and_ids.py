"""Errors keep what they say when sent between processes; ids sort by time."""

from __future__ import annotations

import pickle
import time

from drystone.core.errors import Invalid
from drystone.core.ids import new_id


def test_an_error_survives_a_process_border() -> None:
    error = Invalid("a.b", "What happened.", hint="do this", pointer="/x")

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), copy.code, str(copy), copy.values) == (Invalid, "a.b", str(error), {"pointer": "/x"})


def test_ids_are_uuid_7_and_sort_by_time() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()

    assert first < second
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert abs(first.int >> 80) - int(time.time() * 1000) < 5_000
