"""A web process that listens as the Procfile's does, for clients that are other people's."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from openai import OpenAI

from drystone.core.db import Sessions
from drystone.core.settings import Settings

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def base_url(environment: dict[str, str]) -> Iterator[str]:
    """Where OpenAI's clients are to ask."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port"]
    command += [environment["API_PORT"], "--no-access-log", "--log-level", "warning"]
    url = f"http://127.0.0.1:{environment['API_PORT']}"
    with psutil.Popen(
        [*command, "--http", "drystone.http.connections:Protocol"], cwd=ROOT, env={**os.environ, **environment}
    ) as process:
        while not _is_up(url):
            assert process.poll() is None, "web has ended"
            time.sleep(0.1)
        yield f"{url}/openai/v1"
        process.terminate()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def key(settings: Settings) -> str:
    return settings.api.key.get_secret_value()


@pytest.fixture
def asked(base_url: str, key: str, sessions: Sessions) -> Iterator[OpenAI]:
    """openai-python, which checks each answer against its own types; on an empty database."""
    with OpenAI(base_url=base_url, api_key=key, max_retries=0, _strict_response_validation=True) as made:
        yield made


@pytest.fixture
def lax(base_url: str, key: str, sessions: Sessions) -> Iterator[OpenAI]:
    """openai-python as it is used: only so it reads vectors in base64, which its own types do not allow."""
    with OpenAI(base_url=base_url, api_key=key, max_retries=0) as made:
        yield made
