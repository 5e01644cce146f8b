"""Secrets must be in no output of the test suite: not in logs of web, worker and servers, not in what tests print, not in what
doctor, status and `env` say.

The controller of a run collects what every test printed, and what commands of whole stacks said, and when all is over looks for
each secret of each stack there, and for whatever looks like a key, the link of a draft, a webhook's secret or a signed address. One that is found
fails the run.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from pydantic import SecretStr

from drystone.core.settings import variables

# What no setting holds: keys and webhooks' secrets that tests make, addresses that need no key.
_SHAPES = {
    "a key": re.compile(r"\b(?:dsk_\w{4,28}|t[0-9a-f]{12})\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    "a draft's link": re.compile(r"\bdsd_\w{4,28}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    "a reader's password": re.compile(r"\bdsr_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    "a webhook's secret": re.compile(r"whsec_[A-Za-z0-9+/]{32,}"),
    "a signed address": re.compile(r"X-Amz-Signature=[0-9a-f]{64}"),
}
# Secrets that a stack makes for itself are as long; shorter ones, of settings under test, are words.
_LEAST_LENGTH = 40
_PASSWORD = re.compile(r"://[^:@/]*:([^@/]+)@")
_SAID = "said.log"
# These commands tell a secret because they are asked for it.
_TELLING = {
    ("drafts", "create"),
    ("drafts", "link"),
    ("keys", "create"),
    ("keys", "rotate"),
    ("readers", "create"),
    ("readers", "rotate"),
    ("webhooks", "create"),
    ("webhooks", "rotate"),
}


@dataclass(frozen=True)
class Leak:
    """A secret that was found. name: of its variable, or what it looks like. where: a file, or a test."""

    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} is in {self.where}"


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The random secrets of a stack: value -> the name of its variable."""
    found = {}
    for name, (_group, info) in variables().items():
        value = environment.get(name, "")
        if info.annotation is not SecretStr or not value:
            continue
        password = _PASSWORD.search(value)
        secret = password[1] if password else value.rpartition(".")[2]
        if len(secret) >= _LEAST_LENGTH:
            found[secret] = name
    return found


def leaks(text: str, secrets: Mapping[str, str]) -> Iterator[str]:
    """The names of the secrets that stand in a text."""
    for secret, name in secrets.items():
        if secret in text:
            yield name
    for name, shape in _SHAPES.items():
        if shape.search(text):
            yield name


def note(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """Keep what a command said for the search at the end."""
    if arguments[:2] not in _TELLING:
        with (folder / _SAID).open("a", encoding="utf-8") as file:
            file.write(said)


def search(folder: Path, secrets: Mapping[str, str]) -> list[Leak]:
    """Leaks in all logs below a folder."""
    logs = [path for path in _files(folder) if _is_log(path)]
    return [
        Leak(name, str(path)) for path in logs for name in leaks(path.read_text("utf-8", errors="replace"), secrets)
    ]


def secrets_below(folder: Path) -> dict[str, str]:
    """The secrets of every stack below a folder, as each `.env` has them."""
    found: dict[str, str] = {}
    for path in _files(folder):
        if path.name == ".env":
            values = dotenv_values(stream=io.StringIO(path.read_text("utf-8", errors="replace")), interpolate=False)
            found |= secrets_of({name: value or "" for name, value in values.items()})
    return found


def _is_log(path: Path) -> bool:
    return path.suffix == ".log" or ".log." in path.name or path.parent.name.startswith("logs")


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, without those that links lead to."""
    for root, _folders, names in os.walk(folder):
        yield from (path for name in names if (path := Path(root, name)).is_file() and not path.is_symlink())


@dataclass(eq=False)
class Watch:
    """The plugin of the controller. folders: where logs of the run are, beside pytest's temporary folder."""

    secrets: dict[str, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    found: list[Leak] = field(default_factory=list)
    _captured: list[tuple[str, str]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What a test printed and logged, whether it passed or not."""
        self._captured += [(report.nodeid, said) for _title, said in report.sections if said]
        if report.failed:
            self._captured.append((report.nodeid, report.longreprtext))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search, before the folders go."""
        factory: Any = session.config._tmp_path_factory  # type: ignore[attr-defined]  # pytest has no public name for it
        folders = [factory.getbasetemp(), *self.folders]
        secrets = self.secrets | {secret: name for each in folders for secret, name in secrets_below(each).items()}
        self.found += [leak for each in folders for leak in search(each, secrets)]
        self.found += [Leak(name, test) for test, said in self._captured for name in leaks(said, secrets)]
        if self.found:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.found:
            terminalreporter.section("secrets in the output", red=True, bold=True)
            for leak in dict.fromkeys(self.found):
                terminalreporter.line(str(leak), red=True)
