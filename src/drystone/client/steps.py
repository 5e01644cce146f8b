"""What a call is made of, without input or output: a generator yields steps and is sent what came of them.

Both clients walk the same generators; only how a step is done differs (`blocking`, `aio`). What a step failed with is
thrown into the generator.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from drystone.client.errors import undecodable

if TYPE_CHECKING:
    import httpx

    from drystone.client.bodies import Source

T = TypeVar("T")
# What a success comes as; any: the caller looks by himself.
Kind: TypeAlias = Literal["json", "text", "file", "events", "nothing", "any"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is sent, perhaps more than once.

    path: below /api/v1. params: those that are None are left out. file: sent as a form, with `fields` beside it.
    is_repeatable: sending it twice does what sending it once does.
    timeout_s: how long the other side may be silent; None: as the client says.
    answer: what a success comes as; whoever answers with anything else is not Drystone.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    file: Source | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = False
    timeout_s: float | None = None
    answer: Kind = "json"


@dataclass(frozen=True, slots=True)
class Send:
    """Gives the httpx.Response, read to its end."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Gives the httpx.Response as soon as its head is there; an error's is read to its end. It is the stream that Read reads."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Gives the next bytes of the stream; b"" at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Gives nothing, after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hands a value to who iterates."""

    value: T


Step: TypeAlias = "Send | Open | Read | Pause"
# A call that gives one T.
Flow: TypeAlias = Generator[Any, Any, T]
# A call that gives many, one after the other: Emit[T] among the steps.
Many: TypeAlias = Generator["Step | Emit[T]", Any, None]


class Walk(Generic[T]):
    """A flow on its way: what the next step is, and what came of the last."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._came: Any = None
        self._failure: Exception | None = None
        self.result: T

    def next(self) -> Any:
        """The next step; None when the flow has ended, with its result in `result`."""
        came, failure, self._came, self._failure = self._came, self._failure, None, None
        try:
            return self._flow.send(came) if failure is None else self._flow.throw(failure)
        except StopIteration as stop:
            self.result = stop.value
            return None

    def came(self, answer: Any) -> None:
        """What came of the step."""
        self._came = answer

    def failed(self, exc: httpx.RequestError) -> None:
        """What the step failed with: the flow sees a TransportError as it is, and an answer that cannot be decoded as Broken."""
        import httpx

        self._failure = exc if isinstance(exc, httpx.TransportError) else undecodable(exc)

    def close(self) -> None:
        self._flow.close()
