"""What was changed, by whom and when: read, never altered. `service.record` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.models import AuditEntry
from drystone.access.service import ACTIONS, Principal, actor_of
from drystone.core.errors import Invalid, pointer_to


@dataclass(frozen=True)
class Choice:
    """Which rows; None: whatever it is. actor: as rows have it, or the bare prefix of a key. action: with a star at its end,
    all that begin so. before, after: of a row's time."""

    actor: str | None = None
    action: str | None = None
    subject_kind: str | None = None
    subject_id: UUID | None = None
    request_id: str | None = None
    before: datetime | None = None
    after: datetime | None = None


async def page(
    session: AsyncSession, principal: Principal, choice: Choice, *, cursor: int | None, oldest_first: bool, limit: int
) -> Sequence[AuditEntry]:
    """Rows of the workspace, newest or oldest first. cursor: the last id of the page before. Raises Denied."""
    principal.require_whole("admin")
    _check_action(choice.action)
    order = AuditEntry.id.asc() if oldest_first else AuditEntry.id.desc()
    query = select(AuditEntry).where(AuditEntry.workspace_id == principal.workspace_id, *_conditions(choice))
    if cursor is not None:
        query = query.where(AuditEntry.id > cursor if oldest_first else AuditEntry.id < cursor)
    return (await session.scalars(query.order_by(order).limit(limit))).all()


def _check_action(action: str | None) -> None:
    """Raise Invalid for an action that never happens: a misspelt one must not look as if nothing had been done."""
    beginning = (action or "").removesuffix("*")
    is_known = action in (None, beginning) and (action is None or action in ACTIONS)
    if is_known or (action != beginning and any(each.startswith(beginning) for each in ACTIONS)):
        return
    raise Invalid(
        "audit.unknown_action",
        f"There is no action {action!r}.",
        hint=f"there are {', '.join(ACTIONS)}; a star at the end stands for all that begin so",
        pointer=pointer_to("action"),
    )


def _conditions(choice: Choice) -> list[ColumnElement[bool]]:
    equal = {
        AuditEntry.subject_kind: choice.subject_kind,
        AuditEntry.subject_id: choice.subject_id,
        AuditEntry.request_id: choice.request_id,
    }
    found: list[ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if choice.actor is not None:
        found.append(AuditEntry.actor.in_(_actors(choice.actor)))
    if choice.action is not None:
        beginning = choice.action.removesuffix("*")
        is_whole = beginning == choice.action
        found.append(
            AuditEntry.action == beginning if is_whole else AuditEntry.action.startswith(beginning, autoescape=True)
        )
    if choice.before is not None:
        found.append(AuditEntry.at < choice.before)
    if choice.after is not None:
        found.append(AuditEntry.at >= choice.after)
    return found


def _actors(given: str) -> tuple[str, ...]:
    """A bare prefix is that of a key; parts of the system, such as `settings`, have no colon either."""
    return (given,) if ":" in given else (given, actor_of(given))
