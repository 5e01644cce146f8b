"""/draft: the draft of a link, for whoever holds it. No key is asked for, and none is of use here."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api import draft_routes
from drystone.api.dependencies import HolderOf, ResourcesOf
from drystone.api.draft_routes import Subject
from drystone.core.db import transaction

router = APIRouter(prefix="/draft", tags=["draft"])


async def get_session_of_holder(resources: ResourcesOf, holder: HolderOf) -> AsyncIterator[AsyncSession]:
    async with transaction(resources.sessions.within(holder.reach)) as session:
        yield session


async def get_subject(
    holder: HolderOf, session: Annotated[AsyncSession, Depends(get_session_of_holder, scope="function")]
) -> Subject:
    return Subject(session, holder, holder.draft_id)


draft_routes.add(router, get_subject)
