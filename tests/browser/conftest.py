"""The console in a real Chromium, over a real web process's application; what pages complain of in the browser's console fails a test."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from drystone.core.db import Sessions
from drystone.core.settings import Settings
from drystone.web import create_app

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Answers that are no success are told in the browser's console; tests that ask for one take these.
_REFUSED = "Failed to load resource: the server responded with a status of "


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is. CHROMIUM names one that is not on PATH."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here: install it (Debian: apt-get install chromium), or set CHROMIUM")
    return found


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(
        timeout=20_000
    )  # milliseconds; its own 5 s are short on a machine where everything else is tested, too
    async with async_playwright() as playwright:
        # Its sandbox does not work for root, as CI may be.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        await started.close()


@pytest.fixture(scope="module")
async def served(settings: Settings) -> AsyncIterator[str]:
    """The address of the application, on a port of its own: that of the settings is for web processes of other tests."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="critical", ws="none"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        while not server.started:
            assert not serving.done(), "the server ended"
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        await serving


class Visits:
    """Opens windows and keeps what their pages complain of."""

    def __init__(self, browser: Browser, address: str, key: str) -> None:
        self._browser, self.address, self.key = browser, address, key
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    async def open(self, **options: Any) -> Page:
        """A window of its own, nobody signed in."""
        context = await self._browser.new_context(base_url=self.address, **options)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _note(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(f"{said.text} {said.location['url']}")

    async def sign_in(self, **options: Any) -> Page:
        """A window with the overview."""
        page = await self.open(**options)
        await page.goto("/sign-in")
        await page.get_by_label("API key").fill(self.key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{self.address}/")
        return page

    @asynccontextmanager
    async def refused(self, status: int) -> AsyncIterator[None]:
        """What is done within is answered with this status, and the browser says so."""
        before = len(self.complaints)
        yield
        told = self.complaints[before:]
        del self.complaints[before:]
        assert told
        assert all(each.startswith(f"{_REFUSED}{status}") for each in told), told

    async def aclose(self) -> None:
        for context in self._contexts:
            await context.close()


@pytest.fixture
async def visits(browser: Browser, served: str, settings: Settings, sessions: Sessions) -> AsyncIterator[Visits]:
    made = Visits(browser, served, settings.api.key.get_secret_value())
    yield made
    await made.aclose()
    assert made.complaints == []


Work = Callable[[], Awaitable[None]]
