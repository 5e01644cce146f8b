"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from drystone.client import asking, batches, catalogue, collections, documents, jobs, observing, passages, watching
from drystone.client.operations import Blocking
from drystone.client.retrying import Retries
from drystone.client.room import Told
from drystone.client.steps import Emit, Flow, Many, Open, Pause, Read, Send, Walk
from drystone.client.whereabouts import Whereabouts
from drystone.client.wire import build, headers, options

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class Driver:
    """Does the steps of flows over one httpx.Client, which threads may share."""

    def __init__(self, http: httpx.Client, told: Told) -> None:
        self.http = http
        self.told = told

    def run(self, flow: Flow[T]) -> T:
        with closing(Walk(flow)) as walk, closing(_Line(self.http)) as line:
            while (step := walk.next()) is not None:
                line.do(step, walk)
            return walk.result

    def iterate(self, flow: Many[T]) -> Generator[T]:
        with closing(Walk(flow)) as walk, closing(_Line(self.http)) as line:
            while (step := walk.next()) is not None:
                if isinstance(step, Emit):
                    yield step.value
                else:
                    line.do(step, walk)


class _Line:
    """What one flow has open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

    def do(self, step: Any, walk: Walk[Any]) -> None:
        import httpx

        try:
            walk.came(self._act(step))
        except httpx.RequestError as exc:
            walk.failed(exc)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _act(self, step: Any) -> Any:
        match step:
            case Send(request):
                with build(self._http, request) as built:
                    return self._http.send(built)
            case Open(request):
                self.close()
                with build(self._http, request) as built:
                    return self._open(self._http.send(built, stream=True))
            case Read():
                return next(self._parts, b"")
            case Pause(seconds):
                return time.sleep(seconds)
        raise TypeError(f"This is no step: {step!r}.")

    def _open(self, response: httpx.Response) -> httpx.Response:
        self._stream = response
        if response.is_success:
            self._parts = response.iter_bytes()
        else:
            response.read()
        return response


class Collections(Blocking, collections.Collections):
    __doc__ = collections.Collections.__doc__


class Documents(Blocking, documents.Documents):
    __doc__ = documents.Documents.__doc__


class Jobs(Blocking, jobs.Jobs):
    __doc__ = jobs.Jobs.__doc__


class Batches(Blocking, batches.Batches):
    __doc__ = batches.Batches.__doc__


class Events(Blocking, watching.Events):
    __doc__ = watching.Events.__doc__


class Catalogue(Blocking, catalogue.Catalogue):
    __doc__ = catalogue.Catalogue.__doc__


class Entities(Blocking, catalogue.Entities):
    __doc__ = catalogue.Entities.__doc__


class Observations(Blocking, observing.Observations):
    __doc__ = observing.Observations.__doc__


class Passages(Blocking, passages.Passages):
    __doc__ = passages.Passages.__doc__


class Client(Blocking, asking.Asking):
    """Calls Drystone's API and waits for the answers. Threads may share one.

    url, api_key: without them those of DRYSTONE_URL and DRYSTONE_API_KEY.
    timeout_s: how long the API may be silent. retries: how long, and how, a call is repeated that did not get one.
    http: options of httpx.Client, such as verify or proxy. Proxies of the environment are used, but for this machine itself.

        with Client() as client:
            client.documents.add("report.pdf", collection="papers", wait_s=60)
            for hit in client.search("why do thin shells buckle", collection="papers").hits:
                print(hit.document.title, hit.quote)
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
        made = httpx.Client(**{**options(where, timeout_s), **(http or {})})
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its connections."""
        self._http.close()
