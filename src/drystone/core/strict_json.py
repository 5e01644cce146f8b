"""JSON as RFC 8259 has it: Python's own reader also takes NaN, Infinity and numbers that become infinite."""

from __future__ import annotations

import json
import math
from typing import Any


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)  # 1e999 is none that JSON could carry on
    return value


# Raises ValueError, and RecursionError for what is nested too deep.
DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
