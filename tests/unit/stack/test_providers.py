from __future__ import annotations

from pathlib import Path

import pytest

from drystone.core.errors import Unavailable
from drystone.stack import providers


def program(path: Path, says: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(mode)
    return path


def postgres_folder(root: Path, version: str = "18.1", extensions: tuple[str, ...] = providers.EXTENSIONS) -> Path:
    program(root / "bin" / "postgres", f"postgres (PostgreSQL) {version}")
    program(root / "bin" / "initdb", "initdb")
    (root / "share" / "extension").mkdir(parents=True)
    for name in extensions:
        (root / "share" / "extension" / f"{name}.control").touch()
    return root / "bin"


def test_the_wheels_are_found_and_able() -> None:
    assert str(providers.postgres("")).startswith("wheel 18.")
    assert providers.redis("").source == "wheel"
    assert providers.objects("").source == "wheel"


def test_a_named_program_is_taken_instead_of_the_wheel(tmp_path: Path) -> None:
    found = providers.postgres(str(postgres_folder(tmp_path)))

    assert (found.path, found.source, found.version) == (tmp_path / "bin" / "postgres", "POSTGRES_BIN", "18.1")


@pytest.mark.parametrize(
    ("version", "extensions", "lacks"),
    [
        ("15.18", providers.EXTENSIONS, "version 15.18, 17 is needed"),
        ("18.1", ("unaccent", "pg_trgm"), "extension vector missing"),
        ("15.18", ("unaccent", "pg_trgm"), "version 15.18, 17 is needed, extension vector missing"),
    ],
)
def test_a_named_program_that_lacks_something_is_refused_with_what_it_lacks(
    tmp_path: Path, version: str, extensions: tuple[str, ...], lacks: str
) -> None:
    folder = postgres_folder(tmp_path, version, extensions)

    with pytest.raises(Unavailable) as refused:
        providers.postgres(str(folder))

    assert refused.value.code == "stack.no_provider"
    assert refused.value.values["tried"] == [f"POSTGRES_BIN: {folder / 'postgres'}: {lacks}"]
    assert "POSTGRES_BIN" in (refused.value.hint or "")


def test_without_wheel_path_is_asked_and_every_candidate_told(tmp_path: Path) -> None:
    old = program(tmp_path / "redis-server", "Redis server v=6.0.16 sha=0")

    with pytest.raises(Unavailable) as refused:
        providers._choose("redis", "REDIS_BIN", None, None, [str(old), "no-such-redis"], providers._judge_redis)

    assert refused.value.values["tried"] == ["wheel: not installed", f"path: {old}: version 6.0.16, 7 is needed"]


def test_a_wheel_without_execute_bits_is_repaired(tmp_path: Path) -> None:
    wheel = program(tmp_path / "valkey-server", "Valkey server v=9.1.2", mode=0o644)

    found = providers._choose("redis", "REDIS_BIN", None, wheel, [], providers._judge_redis)

    assert (found.source, found.version) == ("wheel", "9.1.2")


def test_a_program_that_does_not_run_is_told_in_its_words(tmp_path: Path) -> None:
    broken = program(tmp_path / "redis-server", "cannot open shared object file")

    with pytest.raises(Unavailable, match="does not run: cannot open shared object file"):
        providers.redis(str(broken))
