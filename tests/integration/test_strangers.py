"""A bucket that can be read without a signature: refused in production, told everywhere else. On SeaweedFS and MinIO."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from tests.clients import put_policy

from drystone import resources
from drystone.adapters.objects import Objects
from drystone.core.errors import Conflict, Unavailable
from drystone.core.settings import S3Settings, Settings
from drystone.stack.diagnosis import replies
from drystone.stack.services import OBJECTS

EVERYBODY = {"Effect": "Allow", "Principal": {"AWS": ["*"]}}


@pytest.fixture(params=["s3:ListBucket", "s3:GetObject"])
def opened(request: pytest.FixtureRequest, s3: S3Settings) -> Iterator[S3Settings]:
    """The bucket while everybody may list it, or read what is in it."""
    end = "/*" if request.param == "s3:GetObject" else ""
    set_ = put_policy(s3, EVERYBODY | {"Action": [request.param], "Resource": [f"arn:aws:s3:::{s3.bucket}{end}"]})
    assert set_.is_success, set_.text
    yield s3
    assert put_policy(s3, None).is_success


def _with(settings: Settings, s3: S3Settings, environment: str) -> Settings:
    general = settings.general.model_copy(update={"environment": environment})
    return settings.model_copy(update={"s3": s3, "general": general})


async def test_a_bucket_of_keys_only_passes(s3: S3Settings, settings: Settings) -> None:
    await resources.refuse_open_bucket(_with(settings, s3, "production"), Objects.open_s3(s3))
    OBJECTS.check(_with(settings, s3, "production"))

    assert (await asyncio.to_thread(replies.ask, ["objects"], _with(settings, s3, "production")))[
        "objects"
    ].open_to == ""


async def test_an_open_bucket_is_refused_in_production(opened: S3Settings, settings: Settings) -> None:
    production = _with(settings, opened, "production")

    with pytest.raises(Conflict, match="without a key") as refused:
        await resources.refuse_open_bucket(production, Objects.open_s3(opened))
    with pytest.raises(Unavailable, match="without a key"):
        OBJECTS.check(production)

    assert (refused.value.code, "remove its policy" in (refused.value.hint or "")) == ("objects.open", True)


async def test_an_open_bucket_is_told_in_development(opened: S3Settings, settings: Settings) -> None:
    development = _with(settings, opened, "development")

    with capture_logs() as said:
        await resources.refuse_open_bucket(development, Objects.open_s3(opened))
    OBJECTS.check(development)

    assert [each["event"] for each in said] == ["objects.open"]
    assert (
        "its objects (HTTP 200)" in (await asyncio.to_thread(replies.ask, ["objects"], development))["objects"].open_to
    )


async def test_a_store_that_is_away_keeps_nobody_from_starting(
    settings: Settings,
) -> None:
    away = settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})

    with capture_logs() as said:
        await resources.refuse_open_bucket(_with(settings, away, "production"), Objects.open_s3(away))

    assert [each["event"] for each in said] == ["objects.strangers_not_asked"]
