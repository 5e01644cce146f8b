"""Methods that are written once, as flows, and are plain methods of a Client and coroutines of an AsyncClient.

`@call` gives one value, `@many` an iterator. Types follow: of a blocking room they are the values, of an awaiting one
awaitables and async iterators.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import cache, update_wrapper
from inspect import Signature, signature
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from drystone.client.steps import Flow, Many

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Whose methods give what they say."""

    _driver: BlockingDriver

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver


class Awaiting:
    """Whose methods are awaited."""

    _driver: AwaitingDriver

    def __init__(self, driver: AwaitingDriver) -> None:
        self._driver = driver


class BlockingDriver(Protocol):
    """Does the steps of a flow one after the other."""

    def run(self, flow: Flow[T]) -> T: ...
    def iterate(self, flow: Many[T]) -> Generator[T]: ...


class AwaitingDriver(Protocol):
    """The same, awaiting each."""

    def run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]: ...
    def iterate(self, flow: Many[T]) -> AsyncGenerator[T]: ...


class call(Generic[P, T]):  # noqa: N801  a decorator
    """A method that gives one value."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self._flow = flow

    @overload
    def __get__(self, room: None, kind: type) -> Callable[Concatenate[Any, P], Flow[T]]: ...
    @overload
    def __get__(self, room: Blocking, kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, room: Awaiting, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, room: Any, kind: type) -> Any:
        flow = self._flow
        return (
            flow
            if room is None
            else _bound(lambda *args, **kwargs: room._driver.run(flow(room, *args, **kwargs)), flow)
        )


class many(Generic[P, T]):  # noqa: N801  a decorator
    """A method that gives an iterator."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Many[T]]) -> None:
        self._flow = flow

    @overload
    def __get__(self, room: None, kind: type) -> Callable[Concatenate[Any, P], Many[T]]: ...
    @overload
    def __get__(self, room: Blocking, kind: type) -> Callable[P, Generator[T]]: ...
    @overload
    def __get__(self, room: Awaiting, kind: type) -> Callable[P, AsyncGenerator[T]]: ...
    def __get__(self, room: Any, kind: type) -> Any:
        flow = self._flow
        return (
            flow
            if room is None
            else _bound(lambda *args, **kwargs: room._driver.iterate(flow(room, *args, **kwargs)), flow)
        )


def _bound(method: Any, flow: Callable[..., Any]) -> Any:
    """The method of a room, with the name, the words and the parameters of its flow."""
    update_wrapper(method, flow, updated=())
    method.__signature__ = _signature(flow)
    return method


@cache
def _signature(flow: Callable[..., Any]) -> Signature:
    """Without `self`, and with what comes of it: Flow[T] is T, Many[T] an iterator."""
    whole = signature(flow)
    gives = str(whole.return_annotation).replace("Many[", "Iterator[", 1)
    if gives.startswith("Flow["):
        gives = gives.removeprefix("Flow[").removesuffix("]")
    return whole.replace(parameters=list(whole.parameters.values())[1:], return_annotation=gives)
