"""Web on a port of its own, and both Python clients that ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.asking import Asking
from tests.serving import served

from drystone.client import AsyncClient, Client
from drystone.core.db import Sessions
from drystone.core.settings import Settings
from drystone.web import create_app


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with served(create_app(settings)) as address:
        yield address


@pytest.fixture
def key(settings: Settings) -> str:
    return settings.api.key.get_secret_value()


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def ask(request: pytest.FixtureRequest, url: str, key: str, sessions: Sessions) -> AsyncIterator[Asking]:
    """Asks by one client, then by the other, each on an empty database."""
    kind: Any = request.param
    asking = Asking(kind(url, key))
    yield asking
    await asking.close()
