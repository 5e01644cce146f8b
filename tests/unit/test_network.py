"""What all clients of the network agree on: what errors may tell of what was sent."""

from __future__ import annotations

import base64
from urllib.parse import quote

import httpx
import pytest

from drystone.adapters.network import Secrets, without_secrets

USER, PASSWORD, KEY = "me@home", "pass/word:1234+é", "sk-1234/+=="
URL = f"https://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@host:8000/v1?key=query-1234&v=1"


def _sent(request: httpx.Request) -> httpx.Response:
    """A server that repeats what it was sent."""
    told = f"{request.headers['authorization']} at {request.url} of {request.headers}"
    return httpx.Response(400, text=told)


def test_nothing_that_is_sent_of_user_and_query_is_told_when_the_server_repeats_it() -> None:
    with httpx.Client(transport=httpx.MockTransport(_sent)) as client:
        said = client.get(URL).text

    told = Secrets(URL, "").shortened(said)

    sent = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert sent in said
    assert "query-1234" in said
    assert told.startswith("Basic *** at https://")
    for secret in (sent.rstrip("="), "1234"):
        assert secret not in told


@pytest.mark.parametrize(
    "form",
    [KEY, quote(KEY, safe=""), PASSWORD, quote(PASSWORD, safe=""), USER, "query-1234", f"{USER}:{PASSWORD}"],
)
def test_each_form_of_a_secret_is_masked_also_where_the_text_is_cut(form: str) -> None:
    told = Secrets(URL, KEY).shortened(f"it has 1 value.\n {'x' * 170} {form} and {form}")

    assert told == f"it has 1 value. {'x' * 170} *** and ***"


@pytest.mark.parametrize("user", ["token-1234", ":token-1234", "token-1234:"])
def test_a_user_or_a_password_alone_is_masked(user: str) -> None:
    secrets = Secrets(f"http://{user}@host/v1", "")

    assert "1234" not in secrets.shortened(f"no {user}, no token-1234")


def test_without_secrets_nothing_is_masked() -> None:
    assert Secrets("http://host/v1?v=1", "").shortened("v=2 is 1 too many.") == "v=2 is 1 too many"


def test_a_url_is_told_without_user_and_query() -> None:
    assert without_secrets(URL) == "https://host:8000/v1"
