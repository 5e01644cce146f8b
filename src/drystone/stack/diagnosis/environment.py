"""What the environment says and what is wrong with it: `.env` against the settings, and against its other readers.

Reads only. No value of a secret leaves this module but masked.
"""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from drystone.core import consistency
from drystone.core import settings as core_settings
from drystone.core.settings import SettingsError
from drystone.stack import dotenv
from drystone.stack.diagnosis.findings import Code, Finding

MASK = "********"


@dataclass(frozen=True)
class Variable:
    """One variable as this stack sees it. source: missing when it has no default and nobody set it."""

    name: str
    value: str
    source: Literal["shell", ".env", "default", "missing"]
    differs: bool  # from a default that one could keep


def variables(root: Path, shell: Mapping[str, str]) -> list[Variable]:
    """Every variable, in the order of `.env.example`, secrets masked."""
    in_file = _read(root / ".env")
    return [_variable(name, field, in_file, shell) for name, (_, field) in core_settings.variables().items()]


def merged(root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """What `.env` and the shell say together, read leniently: lines that are reported as unsafe have their value too."""
    return _read(root / ".env") | {name: value for name, value in shell.items() if value}


def says_something(shell: Mapping[str, str]) -> bool:
    """Whether the shell sets any variable that has no default: then it is meant to make `.env` unnecessary."""
    return any(shell.get(name) for name, (_, field) in core_settings.variables().items() if field.is_required())


def findings(root: Path, shell: Mapping[str, str]) -> list[Finding]:
    """Everything that is wrong with `.env` and the shell's variables; one fault gives one finding.

    Nothing when there is no `.env` yet that could be wrong.
    """
    path = root / ".env"
    readable = list(_readable(path))
    try:
        unsafe = list(_unsafe_lines(path))
    except UnicodeDecodeError:
        return [Finding(Code.ENV_UNSAFE_LINE, f"{path} is not UTF-8.", "save it as UTF-8"), *readable]
    except PermissionError:
        unreadable = core_settings.unreadable(path)
        return [Finding(Code.ENV_UNREADABLE, unreadable.message, str(unreadable.hint)), *readable]
    unknown = list(_unknown(_read(path)))
    weak = list(_weak_secrets(merged(root, shell)))
    told = [*unsafe, *unknown, *weak]
    unusable = _unusable(root, shell) if path.is_file() or says_something(shell) else ()
    names = {name for name, _ in told}
    return [finding for _, finding in told] + [finding for name, finding in unusable if name not in names] + readable


def _variable(name: str, field: FieldInfo, in_file: Mapping[str, str], shell: Mapping[str, str]) -> Variable:
    default = "" if field.is_required() else core_settings.as_text(field.default)
    for source, values in (("shell", shell), (".env", in_file)):
        if value := values.get(name):
            differs = not field.examples and value != default  # what has an example must be set anyway
            return Variable(name, _masked(field, value), "shell" if source == "shell" else ".env", differs)
    if field.is_required():
        return Variable(name, "", "missing", differs=False)
    return Variable(name, default, "default", differs=False)


def _masked(field: FieldInfo, value: str) -> str:
    # A password that stands unescaped in a URL may hold an @: what is before the last one is covered.
    covered = re.sub(r"(?<=://)([^:/?#]*):.*(?=@)", rf"\1:{MASK}", value)
    is_url = covered != value or (field.annotation is SecretStr and "://" in value)
    return covered if is_url or field.annotation is not SecretStr else MASK


def _read(path: Path) -> dict[str, str]:
    """As leniently as python-dotenv: a line that is reported as unsafe still has its value."""
    try:
        return core_settings.read_environment(path, {})
    except UnicodeDecodeError:
        return {}


# Each of these gives the name of the variable that the finding is about, so that none is told twice.


def _unsafe_lines(path: Path) -> Iterator[tuple[str, Finding]]:
    for number, name in dotenv.unsafe_lines(path.read_bytes().decode()) if path.is_file() else []:
        where = f"Line {number} of .env{f' ({name})' if name else ''}"
        message = f"{where} is understood differently by its readers: Python, honcho and sh."
        yield name, Finding(Code.ENV_UNSAFE_LINE, message, f"write {dotenv.ALLOWED_IN_WORDS}")


def _unknown(in_file: Iterable[str]) -> Iterator[tuple[str, Finding]]:
    """With the known name that was probably meant."""
    known = list(core_settings.variables())
    for name in in_file:
        if name in known:
            continue
        meant = next(iter(difflib.get_close_matches(name, set(known) - set(in_file), 1, 0.8)), "")
        fix = f"rename it to {meant}" if meant else "remove the line, or see .env.example for the names there are"
        yield meant, Finding(Code.ENV_UNKNOWN, f"{name} in .env is no variable of Drystone: nothing reads it.", fix)


def _weak_secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, Finding]]:
    for name, (_, field) in core_settings.variables().items():
        value = environment.get(name, "")
        if not (value and field.examples and field.annotation is SecretStr):
            continue  # EMBEDDING_API_KEY has no example: it is for somebody else to make
        if why := _weakness(consistency.secret_of(name, value)):
            fix = f"set another secret in {name}: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
            yield name, Finding(Code.ENV_WEAK_SECRET, f"The secret in {name} {why}.", fix)


def _weakness(secret: str) -> str:
    if not secret:
        return ""
    if core_settings.PLACEHOLDER.search(secret):
        return "is the placeholder of .env.example, which everybody knows"
    if len(secret) < core_settings.MIN_SECRET_LENGTH:
        return f"has fewer than {core_settings.MIN_SECRET_LENGTH} characters"
    if len(set(secret)) < consistency.MIN_VARIETY:
        return f"is made of only {len(set(secret))} different characters"
    return ""


def _unusable(root: Path, shell: Mapping[str, str]) -> Iterator[tuple[str, Finding]]:
    try:
        core_settings.parse(merged(root, shell))
    except SettingsError as exc:
        for problem in exc.values["problems"]:
            name, _, why = problem.partition(": ")
            if why == "is missing":
                fix = f"./drystone env create adds what can be made up; else add {name} to .env, as in .env.example"
                yield name, Finding(Code.ENV_MISSING, f"{name} is set neither in .env nor in the shell.", fix)
            else:
                where = "the shell" if shell.get(name) else ".env"
                fix = f"correct {name} in {where}; .env.example says what it means"
                yield name, Finding(Code.ENV_INVALID, f"{name} in {where}: {why}.", fix)


def _readable(path: Path) -> Iterator[Finding]:
    if path.is_file() and path.stat().st_mode & core_settings.OTHERS:
        mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
        message = f"Others on this machine may read or change {path} and the secrets in it (mode {mode})."
        yield Finding(Code.ENV_READABLE, message, f"chmod 600 '{path}'")
