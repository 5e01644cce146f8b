"""Versions of modules: three numbers, and ranges of them as npm writes them. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from drystone.catalogue.definitions import Step

FIRST = "1.0.0"
MOST = 100
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


def parse(text: str) -> tuple[int, int, int] | None:
    """The numbers of a version; None where it is none."""
    found = _VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def is_range(text: str) -> bool:
    """Whether it is a range: `^1.2`, `~1.2`, `>=1 <3`, `1.2.3`, `*`."""
    return _range(text) is not None


def admits(range_: str, version: str) -> bool:
    """Whether a version lies within a range."""
    from semantic_version import Version

    found = _range(range_)
    return found is not None and bool(found.match(Version(version)))


def after(version: str, step: Step) -> str:
    """The least version that says a step was taken from this one. Before 1.0.0 the second number stands for the first.

    Source: https://semver.org, 2.0.0, items 4 and 6 to 8; below 1.0.0 as npm and Cargo read ^.
    """
    major, minor, patch = parse(version) or (0, 0, 0)
    if major == 0:
        return {
            Step.NONE: version,
            Step.PATCH: f"0.{minor}.{patch + 1}",
            Step.MINOR: f"0.{minor}.{patch + 1}",
            Step.MAJOR: f"0.{minor + 1}.0",
        }[step]
    return {
        Step.NONE: version,
        Step.PATCH: f"{major}.{minor}.{patch + 1}",
        Step.MINOR: f"{major}.{minor + 1}.0",
        Step.MAJOR: f"{major + 1}.0.0",
    }[step]


@lru_cache(maxsize=1024)
def _range(text: str):  # type: ignore[no-untyped-def]  # the library ships no types
    from semantic_version import NpmSpec

    if not text.strip() or len(text) > MOST:
        return None
    try:
        return NpmSpec(text)
    except ValueError:
        return None
