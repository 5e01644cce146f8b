"""/draft: the draft of a link, for whoever holds it. No key is asked for, and none is of use here."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api import draft_routes
from drystone.api.draft_routes import Subject
from drystone.catalogue import drafts
from drystone.core.db import transaction
from drystone.http.dependencies import HolderOf, ResourcesOf

router = APIRouter(prefix="/draft", tags=["draft"])


async def get_session_of_holder(resources: ResourcesOf, holder: HolderOf) -> AsyncIterator[AsyncSession]:
    async with (
        resources.drafts.turn(holder.draft_id),
        transaction(resources.sessions.within(holder.reach)) as session,
    ):
        yield session


async def get_subject(
    resources: ResourcesOf,
    holder: HolderOf,
    session: Annotated[AsyncSession, Depends(get_session_of_holder, scope="function")],
) -> Subject:
    if await drafts.count(session, holder.draft_id) > drafts.LARGE:
        await resources.gate.keep_slow_pace(holder)
    return Subject(session, holder, holder.draft_id)


draft_routes.add(router, get_subject)
