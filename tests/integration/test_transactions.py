"""Transactions: whoever stands still within one does not hold up the others."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.settings import Settings


async def test_who_is_halted_within_a_transaction_lets_go_of_its_locks(settings: Settings, sessions: Sessions) -> None:
    hasty = {"idle_in_transaction_session_timeout": "100ms"}
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, parameters=hasty)
    lock = text("select pg_advisory_xact_lock(42)")

    async def stand_still() -> None:
        async with transaction(make_sessions(engine)) as halted:
            await halted.execute(lock)
            async with transaction(sessions) as other:
                await other.execute(lock)  # has it only once PostgreSQL has ended the first
            await halted.execute(text("select 1"))

    with pytest.raises(Unavailable) as lost:
        await stand_still()
    await engine.dispose()

    assert lost.value.code == "database.unavailable"


async def test_a_lock_that_is_not_to_be_had_is_told_as_that(settings: Settings, sessions: Sessions) -> None:
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, parameters={"lock_timeout": "100ms"})
    lock = text("select pg_advisory_xact_lock(43)")

    async def want() -> None:
        async with transaction(make_sessions(engine)) as session:
            await session.execute(lock)

    async with transaction(sessions) as holder:
        await holder.execute(lock)
        with pytest.raises(Unavailable) as busy:
            await want()
    await want()
    await engine.dispose()

    assert (busy.value.code, busy.value.values["retry_after_s"]) == ("database.busy", 2)


async def test_every_connection_has_these_limits(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        assert await session.scalar(text("show idle_in_transaction_session_timeout")) == "15s"
        assert await session.scalar(text("show lock_timeout")) == "10s"
