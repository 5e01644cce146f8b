from __future__ import annotations

import shlex
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from honcho.environ import parse as honcho_parse

from drystone.core import settings
from drystone.core.errors import Invalid
from drystone.stack import dotenv

DEFAULT_PORTS = {port: port for port in dotenv.EXAMPLE_PORTS}


def read_with_sh(path: Path, names: list[str]) -> dict[str, str]:
    script = f". {shlex.quote(str(path))}; " + "; ".join(f"printf '%s\\0' \"${name}\"" for name in names)
    out = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={}).stdout
    return dict(zip(names, out.split("\0"), strict=False))


def test_a_new_env_reads_the_same_in_all_parsers_and_makes_valid_settings(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert dotenv.create(path)

    ours = dotenv.parse(path.read_text())

    assert list(ours) == list(settings.variables())
    assert dict(dotenv_values(path)) == ours
    assert read_with_sh(path, list(ours)) == ours
    assert honcho_parse(path.read_text()) == ours
    assert settings.parse(ours).api.port > 0


@pytest.mark.parametrize(
    "line",
    [
        "A=plain",
        "A=postgresql://user:p-_w@127.0.0.1:15432/db?x=1".replace("?", "%"),
        "A=a,b+c=d",
        "A=''",
        "A='with space # and hash'",
        "A='$dollar and (brackets); and \"double\"'",
        "A='ünïcödé'",
    ],
)
def test_allowed_lines_read_the_same_in_all_parsers(line: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(line + "\n")

    ours = dotenv.parse(line)

    assert dotenv.problems(line) == []
    assert dict(dotenv_values(path, interpolate=False)) == ours
    assert dict(dotenv_values(path)) == ours
    assert honcho_parse(line) == ours
    assert read_with_sh(path, ["A"]) == ours


@pytest.mark.parametrize(
    "line",
    [
        "A=with space",
        "A=value # comment",
        'A="double"',
        "A='it''s'",
        "A='back\\slash'",
        "A='${HOME}'",
        "A=$HOME",
        "A=",
        "export A=1",
        "A = 1",
        " A=1",
        "A=1 ",
        "A",
        "2A=1",
        "A='open",
        "A=1\r",
        "A='1'\r",
    ],
)
def test_ambiguous_lines_are_refused_by_number_and_name_but_not_value(line: str) -> None:
    text = f"# comment\n\n{line}\n"

    with pytest.raises(Invalid) as refused:
        dotenv.parse(text)

    assert "line 3" in refused.value.message
    assert "HOME" not in refused.value.message


def test_windows_line_ends_are_refused_because_sh_reads_them_into_the_value(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\r\nB=2\r\n")

    length = subprocess.run(["sh", "-c", f". {shlex.quote(str(path))}; echo ${{#A}}"], capture_output=True, check=True)
    assert length.stdout == b"2\n"
    with pytest.raises(Invalid, match=r"line 1 \(A\), line 2 \(B\)"):
        dotenv.read(path, {})


def test_each_placeholder_gets_one_long_random_secret() -> None:
    first = dotenv.parse(dotenv.compose(settings.example(), port_of=DEFAULT_PORTS))
    second = dotenv.parse(dotenv.compose(settings.example(), port_of=DEFAULT_PORTS))
    secrets = [settings.parse(each) for each in (first, second)]

    assert "change-me" not in "".join(first.values())
    assert first["REDIS_URL"].rpartition("/")[0] == first["CELERY_BROKER_URL"].rpartition("/")[0]
    passwords = [
        password
        for each in secrets
        for password in (
            each.database.parts.password,
            each.database.migration_parts.password,
            each.database.superuser_password.get_secret_value(),
            each.redis.parts.password,
            each.s3.secret_access_key.get_secret_value(),
            each.api.key.get_secret_value().partition(".")[2],
        )
    ]
    assert len(set(passwords)) == 12
    assert all(len(password) >= 43 for password in passwords)


def test_the_examples_ports_are_the_ones_known_here() -> None:
    parsed = dotenv.parse(settings.example())
    alone = ("API_PORT", "WORKER_METRICS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
    ports = {int(parsed[name]) for name in alone} | {
        settings._UrlParts(parsed[name]).port
        for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "S3_ENDPOINT_URL")
    }

    assert ports == set(dotenv.EXAMPLE_PORTS)


def test_ports_are_replaced_at_once_and_only_where_they_are_ports() -> None:
    example = "A=8310\nB=http://h:15432/8310\nC=83100\n# 8310\nD=18310\n"

    assert dotenv.compose(example, port_of={8310: 15432, 15432: 8310}) == (
        "A=15432\nB=http://h:8310/8310\nC=83100\n# 8310\nD=18310\n"
    )


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        before = dict(dotenv.EXAMPLE_PORTS)
        try:
            dotenv.EXAMPLE_PORTS[taken] = (0,)
            chosen = dotenv.choose_ports("free")
        finally:
            dotenv.EXAMPLE_PORTS.clear()
            dotenv.EXAMPLE_PORTS.update(before)

    assert chosen[taken] != taken


def test_free_ports_are_all_different_and_below_those_of_outgoing_connections() -> None:
    chosen = dotenv.choose_ports("random")
    every = [chosen[port] + offset for port, offsets in dotenv.EXAMPLE_PORTS.items() for offset in offsets]

    assert len(every) == len(set(every)) == 16
    assert all(1024 < port < 32768 for port in every)


def test_the_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    assert dotenv.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("MINE=1\n")
    assert not dotenv.create(path)
    assert path.read_text() == "MINE=1\n"
    assert [each.name for each in tmp_path.iterdir()] == [".env"]


def test_the_shell_beats_the_file_and_empty_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=file\nB=file\n")

    assert dotenv.read(path, {"A": "shell", "B": "", "C": "shell"}) == {"A": "shell", "B": "file", "C": "shell"}


def test_a_complete_environment_can_be_made_for_a_stack_of_its_own(tmp_path: Path) -> None:
    made = dotenv.make_environment(data_dir=tmp_path, model_dir=tmp_path / "m", LOG_LEVEL="DEBUG")
    parsed = settings.parse(made)

    assert list(made) == list(settings.variables())
    assert parsed.general.data_dir == tmp_path
    assert parsed.general.log_level == "DEBUG"
    assert parsed.database.parts.port == parsed.database.migration_parts.port


def lines_of(path: Path) -> dict[str, str]:
    return dotenv.parse(path.read_text())


@pytest.mark.parametrize("missing", [*(name for server in dotenv.SERVERS for name in server)])
def test_a_line_that_is_missing_is_added_and_nothing_else_is_changed(tmp_path: Path, missing: str) -> None:
    path = tmp_path / ".env"
    dotenv.create(path)
    before = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith(f"{missing}="))
    path.write_text(before.removesuffix("\n"))

    assert dotenv.complete(path, {}) == [missing]

    assert path.read_text().startswith(before)
    assert dotenv.complete(path, {}) == []
    assert sorted(lines_of(path)) == sorted(settings.variables())
    made = settings.parse(lines_of(path))
    assert made.database.parts.port == made.database.migration_parts.port
    assert made.redis.url.get_secret_value()[:-1] == made.redis.broker_url.get_secret_value()[:-1]


def test_all_that_is_missing_is_made_to_fit_together(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("LOG_LEVEL=DEBUG\nAPI_PORT=8999\n")

    added = dotenv.complete(path, {})

    assert sorted(added) == sorted(name for server in dotenv.SERVERS for name in server if name != "API_PORT")
    made = settings.parse(lines_of(path))
    assert (made.api.port, made.general.log_level) == (8999, "DEBUG")
    assert made.database.parts.port == made.database.migration_parts.port


def test_a_chosen_port_is_none_that_another_line_names(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("API_PORT=15432\nREDIS_URL=redis://:0123456789abcdef@127.0.0.1:18340/0\n")

    dotenv.complete(path, {})

    made = settings.parse(lines_of(path))
    assert made.database.parts.port != 15432
    assert made.s3.parts.port != 18333  # the S3 store needs ten ports, 18340 among them


def test_what_the_shell_says_is_not_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("LOG_LEVEL=DEBUG\n")

    added = dotenv.complete(path, {"API_PORT": "8999", "S3_ENDPOINT_URL": "http://127.0.0.1:19000"})

    assert "API_PORT" not in added
    assert "S3_ENDPOINT_URL" not in added
    assert "S3_SECRET_ACCESS_KEY" in added


@pytest.mark.parametrize("line", ["S3_ENDPOINT_URL=https://s3.example.org", "S3_ENDPOINT_URL=''"])
def test_nothing_is_made_up_for_a_server_that_is_not_ours(tmp_path: Path, line: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{line}\n")

    added = dotenv.complete(path, {})

    assert "S3_SECRET_ACCESS_KEY" not in added
    assert "REDIS_URL" in added


def test_a_file_that_gets_secrets_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.touch(mode=0o644)

    dotenv.complete(path, {})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
