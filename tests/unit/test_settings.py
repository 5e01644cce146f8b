"""Settings: every wrong variable is named with what is wrong, and the shell beats the file."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from drystone import resources
from drystone.core import settings as core_settings
from drystone.core.errors import Unavailable
from drystone.core.settings import SettingsError, load, parse, read_environment, variables
from drystone.stack import dotenv

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def complete() -> dict[str, str]:
    """A complete environment with random secrets."""
    return dotenv.parse(dotenv.compose(core_settings.example(), port_of={}))


def test_a_complete_environment_is_accepted(complete: dict[str, str]) -> None:
    settings = parse(complete)

    assert settings.database.parts.port == 15432
    assert settings.database.parts.user == "drystone_app"
    assert settings.redis.parts.password == settings.redis.url.get_secret_value().split(":")[2].split("@")[0]
    assert settings.s3.parts.port == 18333
    assert settings.api.port == 8310


def test_the_example_file_is_what_the_settings_say() -> None:
    assert (ROOT / ".env.example").read_text() == core_settings.example()


def test_the_example_itself_is_refused_because_of_its_placeholders() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL: still holds the placeholder"):
        parse(dotenv.parse(core_settings.example()))


@pytest.mark.parametrize("name", sorted(core_settings.variables()))
def test_a_missing_variable_has_a_default_or_is_named(complete: dict[str, str], name: str) -> None:
    _, field = core_settings.variables()[name]
    del complete[name]

    if field.is_required() or name == "POSTGRES_SUPERUSER_PASSWORD":  # needed where the server is ours to start
        with pytest.raises(SettingsError, match=f"{name}: is missing"):
            parse(complete)
    else:
        parse(complete)


@pytest.mark.parametrize(
    "somewhere_else",
    [{"POSTGRES_PROVIDER": "external"}, {"DATABASE_URL": "postgresql://app:0123456789abcdef@db.example.org:5432/d"}],
)
def test_the_superuser_of_somebody_elses_server_need_not_be_known(
    complete: dict[str, str], somewhere_else: dict[str, str]
) -> None:
    del complete["POSTGRES_SUPERUSER_PASSWORD"]

    parse(complete | somewhere_else)


@pytest.mark.parametrize(
    ("changed", "other"), [("REDIS_URL", "CELERY_BROKER_URL"), ("DATABASE_URL", "MIGRATION_DATABASE_URL")]
)
def test_the_urls_of_one_server_of_ours_must_agree(complete: dict[str, str], changed: str, other: str) -> None:
    port = str(urlsplit(complete[changed]).port)
    complete[changed] = complete[changed].replace(f":{port}/", ":9999/")

    with pytest.raises(SettingsError, match=f"{other}: must "):
        parse(complete)
    parse(complete | {"POSTGRES_PROVIDER": "external", "REDIS_PROVIDER": "external"})


@pytest.mark.parametrize("provider", ["wheel", "nix", "path"])
def test_a_server_of_another_machine_cannot_be_started_here(complete: dict[str, str], provider: str) -> None:
    elsewhere = {"S3_ENDPOINT_URL": "https://s3.example.org:443", "S3_PROVIDER": provider}

    with pytest.raises(SettingsError, match=f"S3_PROVIDER: {provider} starts a server on this machine, but S3_ENDP"):
        parse(complete | elsewhere)


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("DATABASE_URL", "mysql://u:0123456789abcdef@h:1/d", "must start with postgresql://"),
        ("DATABASE_URL", "postgresql://u:0123456789abcdef@127.0.0.1/d", "names no port"),
        ("DATABASE_URL", "postgresql://u:0123456789abcdef@127.0.0.1:99999/d", "port from 1 to 65535"),
        ("DATABASE_URL", "postgresql://u@127.0.0.1:5432/d", "holds no password"),
        ("DATABASE_URL", "postgresql://u:short@127.0.0.1:5432/d", "too short"),
        ("MIGRATION_DATABASE_URL", "postgresql://drystone_app:0123456789abcdef@h:1/d", "must not be the one of"),
        ("REDIS_URL", "http://127.0.0.1:6379", "must start with redis:// or rediss://"),
        ("CELERY_BROKER_URL", "redis://127.0.0.1:6379/1", "holds no password"),
        ("S3_ENDPOINT_URL", "127.0.0.1:9000", "must be a URL"),
        ("S3_SECRET_ACCESS_KEY", "short", "at least 16 characters"),
        ("S3_BUCKET", "No_Capitals", "lower-case"),
        ("API_PORT", "0", "API_PORT"),
        ("API_PORT", "http", "API_PORT: input should be a valid integer"),
        ("ENVIRONMENT", "prod", "ENVIRONMENT"),
        ("DRYSTONE_API_KEY", "no-dot-in-this-key-at-all-0123456789", "prefix.secret"),
        ("JOB_HEARTBEAT_S", "20", "at most half of JOB_LEASE_S"),
        ("EMBEDDING_DIMENSION", "768", "384"),
        ("EMBEDDING_MODEL", "bge-m3", "bundled are all-MiniLM-L6-v2 and multilingual-e5-small"),
        ("NEXT_EMBEDDING_DIMENSION", "0", "greater than or equal to 1"),
        ("NEXT_EMBEDDING_PROVIDER", "openai", "NEXT_EMBEDDING_URL: is needed"),
        ("EMBEDDING_PROVIDER", "openai", "EMBEDDING_URL: is needed"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong(complete: dict[str, str], name: str, value: str, wrong: str) -> None:
    complete[name] = value

    with pytest.raises(SettingsError) as caught:
        parse(complete)

    assert wrong in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value), "a password must not be shown"


def test_a_second_model_has_every_variable_of_the_first(complete: dict[str, str]) -> None:
    names = [name for name in variables() if name.startswith("EMBEDDING_")]
    complete |= {"NEXT_EMBEDDING_PROVIDER": "openai", "NEXT_EMBEDDING_URL": "http://127.0.0.1:1/v1/"}
    complete |= {"NEXT_EMBEDDING_MODEL": "bge-m3", "NEXT_EMBEDDING_DIMENSION": "1024"}

    found = parse(complete)

    assert {f"NEXT_{name}" for name in names} <= set(variables())
    assert (found.next_embedding.model, found.next_embedding.dimension) == ("bge-m3", 1024)
    assert found.next_embedding.url == "http://127.0.0.1:1/v1"
    assert found.embedding.provider == "bundled"


def test_all_wrong_variables_are_told_at_once(complete: dict[str, str]) -> None:
    complete |= {"API_PORT": "-1", "REDIS_URL": "nonsense", "LOG_LEVEL": "LOUD"}

    with pytest.raises(SettingsError) as caught:
        parse(complete)

    assert all(name in str(caught.value) for name in ("API_PORT", "REDIS_URL", "LOG_LEVEL"))


def test_the_shell_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=9001\nS3_BUCKET=from-file\n")

    merged = read_environment(tmp_path / ".env", {"API_PORT": "9002", "S3_BUCKET": ""})

    assert merged["API_PORT"] == "9002"
    assert merged["S3_BUCKET"] == "from-file", "empty in the shell means not said"


def test_folders_are_relative_to_the_project(tmp_path: Path, complete: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value or repr('')}\n" for name, value in complete.items()))

    settings = load(tmp_path, shell={})

    assert settings.general.data_dir == tmp_path / ".drystone"


def test_secrets_do_not_show_when_printed(complete: dict[str, str]) -> None:
    shown = repr(parse(complete))

    for name in ("DATABASE_URL", "S3_SECRET_ACCESS_KEY", "DRYSTONE_API_KEY", "REDIS_URL"):
        assert complete[name] not in shown


@pytest.mark.parametrize(("name", "value"), [("DRYSTONE_CRASH_POINTS", "crash"), ("BLOB_GRACE_S", "59")])
def test_what_only_fault_tests_may_set_is_refused_elsewhere(complete: dict[str, str], name: str, value: str) -> None:
    parse(complete | {"ENVIRONMENT": "test", name: value})

    with pytest.raises(SettingsError, match=name):
        parse(complete | {"ENVIRONMENT": "production", name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_SECRET_ACCESS_KEY", "abcabcabcabcabcabcabc"),
        ("REDIS_URL", "redis://:111111111111111111111@127.0.0.1:16379/0"),
        ("DRYSTONE_API_KEY", "dsk_local.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"),
    ],
)
def test_a_secret_of_few_different_characters_is_refused_in_production(
    complete: dict[str, str], name: str, value: str
) -> None:
    values = complete | {name: value} | ({"CELERY_BROKER_URL": value} if name == "REDIS_URL" else {})
    parse(values)

    with pytest.raises(SettingsError, match=f"{name}: its secret is made of only") as refused:
        parse(values | {"ENVIRONMENT": "production"})

    assert value not in str(refused.value)


@pytest.mark.parametrize("name", ["EMBEDDING_API_KEY", "NEXT_EMBEDDING_API_KEY", "RERANK_API_KEY", "ANSWER_API_KEY"])
@pytest.mark.parametrize("key", ["rk-1234\nsecond-line", "rk-ünicode", "rk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_told(complete: dict[str, str], name: str, key: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: holds characters") as refused:
        parse(complete | {name: key})

    assert key not in str(refused.value)


@pytest.mark.parametrize("prefix", ["EMBEDDING_", "NEXT_EMBEDDING_", "RERANK_", "ANSWER_"])
@pytest.mark.parametrize("user", ["me:pass-word-1234", "pass-word-1234", ":pass-word-1234"])
def test_a_user_in_a_url_beside_a_key_is_refused_and_not_told(complete: dict[str, str], prefix: str, user: str) -> None:
    url = {f"{prefix}URL": f"http://{user}@127.0.0.1:9/v1", "ANSWER_MODEL": "m"}
    parse(complete | url)

    with pytest.raises(SettingsError, match=f"{prefix}URL: names a user, and {prefix}API_KEY is set") as refused:
        parse(complete | url | {f"{prefix}API_KEY": "sk-1234"})

    assert "pass-word-1234" not in str(refused.value)


def test_qdrant_needs_a_url(complete: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="QDRANT_URL: is needed"):
        parse(complete | {"VECTOR_STORE": "qdrant"})


def test_qdrant_without_its_client_is_told_how_to_install_it(
    complete: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = parse(complete | {"VECTOR_STORE": "qdrant", "QDRANT_URL": "http://127.0.0.1:6333"})
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    monkeypatch.delitem(sys.modules, "drystone.adapters.qdrant", raising=False)

    with pytest.raises(Unavailable, match="--group qdrant"):
        resources.open_store(settings.vectors)
