"""Characters that steer a terminal rather than stand on it: controls, and marks that turn the direction of text."""

from __future__ import annotations

import unicodedata

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # these shape letters and emoji


def is_steering(character: str) -> bool:
    """Whether it should reach no terminal as it is; line ends and tabs are among them."""
    return unicodedata.category(character) in _STEERING and character not in _JOINERS
