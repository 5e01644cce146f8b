"""The client whose answers are awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar, cast

from drystone.client import asking, batches, catalogue, collections, documents, jobs, observing, passages, watching
from drystone.client.operations import Awaiting
from drystone.client.retrying import Retries
from drystone.client.room import Told
from drystone.client.steps import Emit, Flow, Many, Open, Pause, Read, Send, Walk
from drystone.client.whereabouts import Whereabouts
from drystone.client.wire import build, headers, options

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class Driver:
    """Does the steps of flows over one httpx.AsyncClient."""

    def __init__(self, http: httpx.AsyncClient, told: Told) -> None:
        self.http = http
        self.told = told

    async def run(self, flow: Flow[T]) -> T:
        with closing(Walk(flow)) as walk:
            async with aclosing(_Line(self.http)) as line:
                while (step := walk.next()) is not None:
                    await line.do(step, walk)
                return walk.result

    async def iterate(self, flow: Many[T]) -> AsyncGenerator[T]:
        with closing(Walk(flow)) as walk:
            async with aclosing(_Line(self.http)) as line:
                while (step := walk.next()) is not None:
                    if isinstance(step, Emit):
                        yield step.value
                    else:
                        await line.do(step, walk)


class _Line:
    """What one flow has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._parts: AsyncIterator[bytes]

    async def do(self, step: Any, walk: Walk[Any]) -> None:
        import httpx

        try:
            walk.came(await self._act(step))
        except httpx.RequestError as exc:
            walk.failed(exc)

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    async def _act(self, step: Any) -> Any:
        match step:
            case Send(request):
                with build(self._http, request) as built:
                    return await self._http.send(_unblocked(built) if request.file else built)
            case Open(request):
                await self.aclose()
                with build(self._http, request) as built:
                    return await self._open(await self._http.send(built, stream=True))
            case Read():
                return await anext(self._parts, b"")
            case Pause(seconds):
                import asyncio

                return await asyncio.sleep(seconds)
        raise TypeError(f"This is no step: {step!r}.")

    async def _open(self, response: httpx.Response) -> httpx.Response:
        self._stream = response
        if response.is_success:
            self._parts = response.aiter_bytes()
        else:
            await response.aread()
        return response


def _unblocked(request: httpx.Request) -> httpx.Request:
    """The same, its file read in threads: a slow disk must not hold up the loop."""
    import asyncio

    import httpx

    parts = cast(httpx.SyncByteStream, request.stream)

    class Threaded(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            of_file = iter(parts)
            while (part := await asyncio.to_thread(next, of_file, None)) is not None:
                yield part

    request.stream = Threaded()
    return request


class Collections(Awaiting, collections.Collections):
    __doc__ = collections.Collections.__doc__


class Documents(Awaiting, documents.Documents):
    __doc__ = documents.Documents.__doc__


class Jobs(Awaiting, jobs.Jobs):
    __doc__ = jobs.Jobs.__doc__


class Batches(Awaiting, batches.Batches):
    __doc__ = batches.Batches.__doc__


class Events(Awaiting, watching.Events):
    __doc__ = watching.Events.__doc__


class Catalogue(Awaiting, catalogue.Catalogue):
    __doc__ = catalogue.Catalogue.__doc__


class Entities(Awaiting, catalogue.Entities):
    __doc__ = catalogue.Entities.__doc__


class Observations(Awaiting, observing.Observations):
    __doc__ = observing.Observations.__doc__


class Passages(Awaiting, passages.Passages):
    __doc__ = passages.Passages.__doc__


class AsyncClient(Awaiting, asking.Asking):
    """Calls Drystone's API; its methods are those of Client, awaited.

    url, api_key: without them those of DRYSTONE_URL and DRYSTONE_API_KEY.
    timeout_s: how long the API may be silent. retries: how long, and how, a call is repeated that did not get one.
    http: options of httpx.AsyncClient, such as verify or proxy. Proxies of the environment are used, but for this machine itself.

        async with AsyncClient() as client:
            await client.documents.add("report.pdf", collection="papers", wait_s=60)
            answer = await client.search("why do thin shells buckle", collection="papers")
            async for document in client.documents.list(collection="papers"):
                print(document.title)
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        http: Mapping[str, Any] | None = None,
    ) -> None:
        import httpx

        where = Whereabouts.of(url, api_key)
        self.url = where.url
        made = httpx.AsyncClient(**{**options(where, timeout_s), **(http or {})})
        made.headers.update(headers(where))
        driver = Driver(made, Told(where.url, retries or Retries()))
        super().__init__(driver)
        self._http = made
        self.collections = Collections(driver)
        self.documents = Documents(driver)
        self.jobs = Jobs(driver)
        self.batches = Batches(driver)
        self.events = Events(driver)
        self.catalogue = Catalogue(driver)
        self.entities = Entities(driver)
        self.observations = Observations(driver)
        self.passages = Passages(driver)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End its connections."""
        await self._http.aclose()
