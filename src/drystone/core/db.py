"""Engine, transactions, and what runs after a commit.

One transaction per request or job step, committed before the reply. Domain code never commits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import asyncpg
from pgvector.asyncpg import register_vector
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

from drystone.core import measures
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.reach import DECLARE, EVERYTHING, NOTHING, OF_CONNECTION, Reach
from drystone.core.turnstile import busy

log = get_logger("core.db")

AfterCommit = Callable[[], Awaitable[None]]

# The execution option of an engine that tells what its connections reach.
_REACHED = "drystone_reach"

# A connection idle for longer is asked something before it is used: a firewall may have dropped it without a word.
_ASK_AFTER_S = 30.0

_CONNECTION_LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection whose server died in the midst of a conversation, before the socket tells.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# A process that is halted, or on a machine that is gone, lets go of what its transaction holds after so long. None of ours
# waits for anything else while one is open, but for the store's answer to the removal of a blob.
IDLE_IN_TRANSACTION_S = 15
# For a connection of this process, whose number is limited.
POOL_WAIT_S = 5
# For one statement, of whoever says nothing else.
STATEMENT_S = 60
# Whoever waits for longer for a lock gives up and comes again; none of ours is held for so long but by a process that hangs.
LOCK_WAIT_S = 10


def driver_url(url: str) -> str:
    """A plain `postgresql://` URL as SQLAlchemy's asyncpg dialect wants it."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def make_engine(
    url: str,
    *,
    pool_size: int,
    echo: bool = False,
    application_name: str = "drystone",
    parameters: Mapping[str, str] | None = None,
    command_timeout_s: float = STATEMENT_S,
    is_confined: bool = False,
) -> AsyncEngine:
    """An engine whose connections time out after 5 s of connecting, command_timeout_s of a statement, 10 s of waiting for a
    lock, 15 s of an idle transaction.

    parameters: further settings of PostgreSQL for each connection. is_confined: its connections reach no row until a
    transaction declares which; otherwise every row.

    A connection that died with the server is found out before it is used: the socket tells. SQLAlchemy's own pre-ping
    would cost three round trips a transaction, a tenth of what receiving a small document takes.
    """
    engine = create_async_engine(
        driver_url(url),
        poolclass=_MeasuredPool,
        pool_logging_name=application_name,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        echo=echo,
        connect_args={
            "timeout": 5,
            "command_timeout": command_timeout_s + 5,  # when the server, whose limit it is, says nothing any more
            "server_settings": {
                "application_name": application_name,
                "jit": "off",
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
                "lock_timeout": f"{LOCK_WAIT_S}s",
                "statement_timeout": f"{command_timeout_s:.0f}s",
                **({} if is_confined else OF_CONNECTION),
                **(parameters or {}),
            },
        },
    )
    measures.of(measures.DATABASE_CONNECTIONS, application_name, "limit").set(pool_size)
    event.listen(engine.sync_engine, "connect", _register_vector_types)
    event.listen(engine.sync_engine, "handle_error", _distrust)
    event.listen(engine.sync_engine, "checkin", _note_return)
    event.listen(engine.sync_engine, "checkin", _note_use_later(engine))
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine.execution_options(**{_REACHED: NOTHING if is_confined else EVERYTHING})


class _MeasuredPool(AsyncAdaptedQueuePool):
    """A pool that tells who waits for a connection, for how long, and how many are in use."""

    @property
    def _label(self) -> str:
        return self.logging_name or measures.OTHER

    def connect(self) -> PoolProxiedConnection:
        waiting = measures.of(measures.DATABASE_CONNECTIONS, self._label, "waiting")
        began = time.perf_counter()
        waiting.inc()
        try:
            return super().connect()
        finally:
            waiting.dec()
            measures.of(measures.DATABASE_WAIT, self._label).observe(time.perf_counter() - began)
            self.note_use()

    def note_use(self, returned: int = 0) -> None:
        """Tell how many connections are in use, without those that are just being returned."""
        in_use = measures.of(measures.DATABASE_CONNECTIONS, self._label, "in_use")
        in_use.set(max(0, self.checkedout() - returned))


def _register_vector_types(connection: Any, _record: Any) -> None:
    connection.run_async(register_vector)


def _distrust(context: ExceptionContext) -> None:
    """A connection that has lost the thread is never used again; SQLAlchemy would put it back into the pool."""
    if any(isinstance(cause, asyncpg.InternalClientError) for cause in _causes(context.original_exception)):
        context.is_disconnect = True


def _note_use_later(engine: AsyncEngine) -> Callable[..., None]:
    def note(_connection: Any, _record: Any) -> None:
        cast(_MeasuredPool, engine.sync_engine.pool).note_use(returned=1)

    return note


def _note_return(_connection: Any, record: Any) -> None:
    record.info["returned_at"] = time.monotonic()


def _refuse_dead(connection: Any, record: Any, _proxy: Any) -> None:
    """Have the pool connect anew in place of a connection that no longer leads anywhere."""
    driver: asyncpg.Connection = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError("the server closed this connection")
    if time.monotonic() - record.info.get("returned_at", time.monotonic()) > _ASK_AFTER_S:
        try:
            connection.run_async(lambda asked: asked.fetchval("select 1", timeout=5))
        except (*_CONNECTION_LOST, asyncpg.PostgresError) as exc:
            raise DisconnectionError("the server does not answer on this connection") from exc


@dataclass(frozen=True)
class Sessions:
    """Where transactions come from that reach the same rows.

    of_connections: what they reach that declare nothing. reach: what is declared; None: nobody has said yet, and no
    transaction can be had.
    """

    make: async_sessionmaker[AsyncSession]
    of_connections: Reach
    reach: Reach | None

    def within(self, reach: Reach) -> Sessions:
        """The same, reaching other rows."""
        return replace(self, reach=reach)


def make_sessions(engine: AsyncEngine) -> Sessions:
    """Sessions of this engine whose objects stay readable after the commit."""
    reached: Reach = engine.get_execution_options()[_REACHED]
    return Sessions(
        async_sessionmaker(engine, expire_on_commit=False, autoflush=False),
        of_connections=reached,
        reach=reached if reached.is_everything else None,
    )


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """One transaction: committed when the block ends, rolled back when it raises; then what `after_commit` was given.

    Raises Unavailable when PostgreSQL cannot be reached or went away, is full, took too long, or a lock was not to be had.
    """
    if sessions.reach is None:
        raise RuntimeError("nobody has said which rows this transaction may reach: use sessions.within(…)")
    async with sessions.make() as session:
        try:
            async with session.begin():
                if sessions.reach != sessions.of_connections:
                    await session.execute(DECLARE, sessions.reach.parameters())
                session.info[_REACHED] = sessions.reach
                yield session
        except (TimeoutError, DBAPIError, PoolTimeoutError, OSError) as exc:
            if is_full(exc):
                raise Unavailable(
                    "database.full",
                    "PostgreSQL's disk is full: nothing was written.",
                    hint="make room on the disk of PostgreSQL's data; everything goes on by itself then",
                    status=507,
                    retry_after_s=30,
                ) from exc
            if _sqlstate(exc) == "55P03":
                raise Unavailable(
                    "database.busy",
                    f"Somebody else has held what this needs for {LOCK_WAIT_S} s.",
                    hint="try again; nothing was changed",
                    retry_after_s=2,
                ) from exc
            if _sqlstate(exc) == "57014":
                raise Unavailable(
                    "database.slow",
                    "PostgreSQL took too long for one statement, and was told to stop.",
                    hint="ask for less at once, or try again when less is going on; nothing was changed",
                    retry_after_s=5,
                ) from exc
            if isinstance(exc, PoolTimeoutError):
                raise busy("connections", f"no connection to PostgreSQL was free for {POOL_WAIT_S} s") from exc
            if is_connection_loss(exc):
                raise Unavailable(
                    "database.unavailable",
                    "PostgreSQL cannot be reached.",
                    hint='it restarts by itself under "drystone up"; "drystone status" shows it',
                    retry_after_s=2,
                ) from exc
            raise
        for callback in session.info.pop("after_commit", []):
            await _run_quietly(callback)


@asynccontextmanager
async def widened(session: AsyncSession) -> AsyncIterator[None]:
    """Reach all collections of the workspace for the statements of this block.

    For what is decided by there being none any more: to whom some are hidden, there seem to be none. Nothing that is read here
    may be told.
    """
    reach: Reach = session.info[_REACHED]
    if reach.collection_ids is None:
        yield
        return
    await session.execute(DECLARE, replace(reach, collection_ids=None).parameters())
    yield
    await session.execute(DECLARE, reach.parameters())


def after_commit(session: AsyncSession, callback: AfterCommit) -> None:
    """Run `callback` once the session's transaction is committed; never if it is rolled back.

    What it raises is logged, not passed on: the commit has happened and is the truth.
    """
    session.info.setdefault("after_commit", []).append(callback)


def is_full(exc: BaseException) -> bool:
    """Whether PostgreSQL refused because there is no space left (SQLSTATE 53100)."""
    return _sqlstate(exc) == "53100"


def _sqlstate(exc: BaseException) -> str | None:
    return getattr(getattr(exc, "orig", None), "sqlstate", None)


def is_connection_loss(exc: BaseException) -> bool:
    """Whether PostgreSQL was away, as opposed to having refused a statement."""
    if isinstance(exc, PoolTimeoutError | OSError | asyncio.TimeoutError):
        return True
    if isinstance(exc, InterfaceError | OperationalError) and getattr(exc, "connection_invalidated", False):
        return True
    return any(isinstance(cause, _CONNECTION_LOST) for cause in _causes(getattr(exc, "orig", None)))


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what caused it, and what caused that."""
    while exc is not None:
        yield exc
        exc = exc.__cause__


async def _run_quietly(callback: AfterCommit) -> None:
    try:
        await callback()
    except Exception:
        log.warning("db.after_commit_failed", exc_info=True)
