"""`Prefer: wait=N` (RFC 7240): an answer that waits for what comes of an upload. While it waits it holds no connection."""

from __future__ import annotations

import re
import time
from typing import Annotated

from fastapi import Header

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Denied, NotFound, Unavailable
from drystone.documents import service
from drystone.documents.models import PENDING
from drystone.documents.service import DocumentView
from drystone.http import overload
from drystone.jobs.events import Scope
from drystone.jobs.feed import Cut, Feed, Listener

LONGEST_S = 60

Prefer = Annotated[
    list[str] | None,
    Header(
        alias="Prefer",
        description=f"`wait=N`: answer when the document is ready or has failed, after N (at most {LONGEST_S}) seconds at the latest.",
    ),
]

_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?", re.IGNORECASE)


def wanted_s(prefer: list[str] | None) -> int | None:
    """Seconds to wait, at most LONGEST_S; None when nobody asked for it in a way we understand."""
    for preference in ",".join(prefer or ()).split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[1]), LONGEST_S)
    return None


async def until_ended(
    feed: Feed, sessions: Sessions, caller: Principal, view: DocumentView, wait_s: int
) -> DocumentView:
    """The document once it is no longer pending, or as it is after wait_s. It is kept already: nothing here may fail."""
    until = time.monotonic() + wait_s
    try:
        if view.document.state != PENDING:
            return view
        async with feed.listen(caller.workspace_id, caller.actor, Scope("subject_id", view.document.id)) as listener:
            return await _watch(listener, sessions, caller, view, until)
    except (Unavailable, Denied, NotFound):
        return view


async def _watch(
    listener: Listener, sessions: Sessions, caller: Principal, view: DocumentView, until: float
) -> DocumentView:
    while True:
        async with transaction(sessions.within(caller.reach)) as session:
            view = await service.get_document(session, caller, view.document.id)
        left_s = until - time.monotonic()
        if view.document.state != PENDING or left_s <= 0:
            return view
        try:
            with overload.resting():
                await listener.next(left_s)
        except Cut:
            return view
