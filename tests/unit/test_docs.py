"""The documentation says what is so: dotted names exist, links lead somewhere, variables are real."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from drystone.core import settings
from drystone.stack.diagnosis.findings import Code

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = sorted({name for page in PAGES for name in re.findall(r"`(drystone(?:\.\w+)+)`", page.read_text())})


def _resolve(dotted: str) -> object:
    parts = dotted.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for name in parts[depth:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("name", NAMES)
def test_a_dotted_name_in_the_docs_exists(name: str) -> None:
    assert _resolve(name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_variable_named_in_the_docs_exists(page: Path) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", page.read_text()))

    assert (
        named
        - set(settings.variables())
        - {"NO_COLOR", "DRYSTONE_PYTHON", "DRYSTONE_ROOT", "DRYSTONE_PORTS", "DRYSTONE_URL"}
        == set()
    )


def test_the_guide_explains_every_finding_of_doctor_and_no_other() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()

    assert re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", page, re.MULTILINE) == [code.value for code in Code]


def test_every_threat_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "concepts" / "security.md").read_text()
    threats = [line for line in page.splitlines() if re.match(r"\| [STRIDE] \|", line)]
    named = [re.findall(r"`(tests/[\w/.]+)`", line.rpartition(" | ")[2]) for line in threats]

    assert {line[2] for line in threats} == set("STRIDE")
    assert all(named)
    assert [path for paths in named for path in paths if not (ROOT / path).is_file()] == []
