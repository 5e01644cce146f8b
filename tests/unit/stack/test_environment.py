"""`.env` against the settings: each fault gives its own finding, and no secret is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import unprivileged

from drystone.core import settings as core_settings
from drystone.stack import dotenv
from drystone.stack.diagnosis import environment
from drystone.stack.diagnosis.findings import Code

SECRET = "Zq8-fW_3kLm0vR7tY2uXo5"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with an `.env` as `up` writes it."""
    assert dotenv.create(tmp_path / ".env")
    return tmp_path


def found(root: Path, shell: dict[str, str] | None = None) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in environment.findings(root, shell or {})]


def line(name: str, value: str) -> Callable[[str], str]:
    def replace(text: str) -> str:
        lines = [f"{name}={value}" if each.startswith(f"{name}=") else each for each in text.splitlines()]
        return "\n".join(lines) + "\n"

    return replace


def test_a_new_env_has_nothing_wrong_and_neither_has_none(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert found(root) == []
    assert found(tmp_path_factory.mktemp("new")) == []


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda text: text + "COLOUR=red\n", Code.ENV_UNKNOWN, "COLOUR in .env is no variable"),
        (lambda text: text.replace("API_PORT=", "API_PROT="), Code.ENV_UNKNOWN, "API_PROT in .env is no variable"),
        (lambda text: text.replace("S3_ENDPOINT_URL=", "S3_ENDPOINT_URI="), Code.ENV_UNKNOWN, "S3_ENDPOINT_URI"),
        (lambda text: text.replace("REDIS_URL=", "# "), Code.ENV_MISSING, "REDIS_URL is set neither in .env nor"),
        (line("REDIS_URL", "''"), Code.ENV_MISSING, "REDIS_URL is set neither in .env nor in the shell."),
        (line("POSTGRES_SUPERUSER_PASSWORD", "''"), Code.ENV_MISSING, "POSTGRES_SUPERUSER_PASSWORD is set neither"),
        (line("API_PORT", "eighty"), Code.ENV_INVALID, "API_PORT in .env: input should be a valid integer"),
        (line("JOB_HEARTBEAT_S", "20"), Code.ENV_INVALID, "JOB_HEARTBEAT_S in .env: must be at most half"),
        (line("REDIS_URL", "redis://127.0.0.1:16379/0"), Code.ENV_INVALID, "REDIS_URL in .env: holds no password"),
        (line("LOG_FORMAT", '"json"'), Code.ENV_UNSAFE_LINE, "(LOG_FORMAT) is understood differently"),
        (lambda text: text + "export LOG_LEVEL=INFO\n", Code.ENV_UNSAFE_LINE, "(LOG_LEVEL)"),
        (lambda text: text + "DATABASE_URL\n", Code.ENV_UNSAFE_LINE, "is understood differently"),
        (line("S3_SECRET_ACCESS_KEY", "change-me-s3"), Code.ENV_WEAK_SECRET, "S3_SECRET_ACCESS_KEY is the placeholder"),
        (line("S3_SECRET_ACCESS_KEY", "Ab3-_xYz"), Code.ENV_WEAK_SECRET, "has fewer than 16 characters"),
        (line("POSTGRES_SUPERUSER_PASSWORD", "abcabc" * 8), Code.ENV_WEAK_SECRET, "of only 3 different characters"),
        (line("DRYSTONE_API_KEY", f"dsk_local.{'ab' * 20}"), Code.ENV_WEAK_SECRET, "of only 2 different characters"),
        (
            line("MIGRATION_DATABASE_URL", "postgresql://o:short@127.0.0.1:15432/drystone"),
            Code.ENV_WEAK_SECRET,
            "The secret in MIGRATION_DATABASE_URL has fewer than 16 characters.",
        ),
    ],
)
def test_a_fault_in_env_gives_its_own_finding(root: Path, spoil: Callable[[str], str], code: Code, says: str) -> None:
    path = root / ".env"
    before = path.read_text()
    path.write_text(spoil(before))
    assert path.read_text() != before

    ((got, message),) = found(root)

    assert got == code
    assert says in message
    secrets = [value for value in dotenv.parse(before).values() if len(value) >= 43]
    assert not any(secret in message for secret in secrets)


@pytest.mark.parametrize(
    ("mode", "is_wrong"), [(0o644, True), (0o604, True), (0o660, True), (0o640, False), (0o400, False)]
)
def test_who_may_read_or_change_the_secrets(root: Path, mode: int, is_wrong: bool) -> None:
    (root / ".env").chmod(mode)

    assert [code for code, _ in found(root)] == ([Code.ENV_READABLE] if is_wrong else [])


def test_a_file_that_is_not_utf_8_is_told_as_such(root: Path) -> None:
    (root / ".env").write_bytes("LOG_LEVEL='ü'\n".encode("latin-1"))

    assert found(root) == [(Code.ENV_UNSAFE_LINE, f"{root / '.env'} is not UTF-8.")]


def test_the_shell_beats_the_file_and_is_named_when_it_is_wrong(root: Path) -> None:
    (root / ".env").write_text(line("API_PORT", "eighty")((root / ".env").read_text()))

    assert found(root, {"API_PORT": "8080"}) == []
    ((_, message),) = found(root, {"API_PORT": "ninety"})
    assert message.startswith("API_PORT in the shell: ")


def test_a_misspelt_name_is_told_with_the_one_that_was_meant(root: Path) -> None:
    (root / ".env").write_text((root / ".env").read_text().replace("API_PORT=", "API_PROT="))

    assert [finding.fix for finding in environment.findings(root, {})] == ["rename it to API_PORT"]


def test_every_variable_is_shown_with_its_source_and_without_its_secret(root: Path) -> None:
    in_file = dotenv.parse((root / ".env").read_text())
    text = (root / ".env").read_text().replace("LOG_FORMAT=console\n", "").replace("LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG")
    (root / ".env").write_text(text.replace("S3_BUCKET=drystone", "S3_BUCKET=wall"))

    shown = {each.name: each for each in environment.variables(root, {"S3_BUCKET": "drystone", "REDIS_BIN": ""})}

    assert list(shown) == list(core_settings.variables())
    assert (shown["LOG_LEVEL"].value, shown["LOG_LEVEL"].source, shown["LOG_LEVEL"].differs) == ("DEBUG", ".env", True)
    assert (shown["LOG_FORMAT"].value, shown["LOG_FORMAT"].source) == ("console", "default")
    assert (shown["S3_BUCKET"].value, shown["S3_BUCKET"].source, shown["S3_BUCKET"].differs) == (
        "drystone",
        "shell",
        False,
    )
    assert (shown["REDIS_BIN"].value, shown["REDIS_BIN"].source) == ("", "default")
    assert shown["DRYSTONE_API_KEY"].value == environment.MASK
    port = in_file["DATABASE_URL"].rpartition(":")[2]
    assert shown["DATABASE_URL"].value == f"postgresql://drystone_app:{environment.MASK}@127.0.0.1:{port}"
    assert shown["REDIS_URL"].value.startswith(f"redis://:{environment.MASK}@127.0.0.1:")
    assert not shown["REDIS_URL"].differs
    assert not shown["POSTGRES_SUPERUSER_PASSWORD"].differs


@pytest.mark.parametrize(
    "value",
    [f"redis://:{SECRET}@h:1/0", f"redis://u:{SECRET}@@h:1/0", f"redis://u:{SECRET}/#@h:1", SECRET, f"redis:/{SECRET}"],
)
def test_a_secret_is_masked_however_its_url_is_spoiled(tmp_path: Path, value: str) -> None:
    (shown,) = [each for each in environment.variables(tmp_path, {"REDIS_URL": value}) if each.name == "REDIS_URL"]

    assert SECRET not in shown.value
    assert environment.MASK in shown.value


def test_an_optional_secret_that_nobody_set_is_empty_not_the_placeholder(tmp_path: Path) -> None:
    shown = {each.name: each for each in environment.variables(tmp_path, {})}

    assert shown["POSTGRES_SUPERUSER_PASSWORD"].value == ""
    assert shown["SQL_ECHO"].value == "false"


def test_a_password_in_a_url_that_is_no_secret_by_itself_is_masked_too(tmp_path: Path) -> None:
    shell = {"EMBEDDING_URL": f"https://me:{SECRET}@models.example/v1"}
    (shown,) = [each for each in environment.variables(tmp_path, shell) if each.name == "EMBEDDING_URL"]

    assert shown.value == f"https://me:{environment.MASK}@models.example/v1"
    assert shown.differs


def test_an_env_that_may_not_be_read_is_told_with_whose_it_is(root: Path) -> None:
    modes_hold = unprivileged.prefix()
    (root / ".env").chmod(0)
    env = {name: value for name, value in os.environ.items() if name not in core_settings.variables()}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*modes_hold, sys.executable, "-m", "drystone.cli.main", *arguments]
        return subprocess.run(
            command,
            env=env | {"DRYSTONE_ROOT": str(root), "COLUMNS": "1000"},
            capture_output=True,
            text=True,
            check=False,
        )

    doctor, up, search = run("doctor", "--json"), run("up"), run("search", "bees")

    whose = f"{root}/.env belongs to {(root / '.env').owner()}, and {(root / '.env').owner()} may not read it."
    assert [each["message"] for each in json.loads(doctor.stdout)["findings"]] == [whose]
    for said in (up, search):
        assert (said.returncode, said.stderr.splitlines()[0]) == (2, f"error: {whose}")
