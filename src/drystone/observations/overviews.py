"""An entity at a moment: what the catalogue and a profile said of it, what was measured, and which passages speak of it.

The rooms that are asked are those below; here stands only what belongs together. Each part is as it was then, but for passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.catalogue import schemas, service
from drystone.catalogue.models import Kind
from drystone.catalogue.queries import View
from drystone.core.errors import NotFound
from drystone.documents import collections
from drystone.mentions import queries as mentions
from drystone.observations import reading
from drystone.observations.reading import AnyRow, AnySeries, Choice, Span
from drystone.observations.selects import Aggregate

_MOMENT, _END = timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)
_AGGREGATES: tuple[Aggregate, ...] = ("avg", "min", "max")


@dataclass(frozen=True)
class ProfileThen:
    """A profile as it was. definition: JSON Schema of the entity; None: it is in none of the profile's modules."""

    view: View
    definition: dict[str, Any] | None


@dataclass(frozen=True)
class Measured:
    """One series: its newest row by then, and the bucket that the moment is in. values: of each aggregate; none: nothing was observed."""

    series: AnySeries
    latest: AnyRow | None
    bucket_start: datetime | None
    count: int
    values: dict[Aggregate, float]


@dataclass(frozen=True)
class Overview:
    """entity: None: it was not in the catalogue then. passages: as `mentions` gives them, of the newest document first."""

    entity: View | None
    profile: ProfileThen | None
    measured: Sequence[Measured]
    passages: Sequence[Row[Any]]


async def of_entity(
    session: AsyncSession,
    principal: Principal,
    entity: str,
    then: datetime,
    *,
    profile: str | None = None,
    bucket: str = "P1D",
    zone: ZoneInfo,
    collection: str | None = None,
    passages: int = 10,
) -> Overview:
    """What there is to say of an entity, by key or id. collection: whose passages; None: of all that the caller may see.

    Raises NotFound for an entity, a profile or a collection that there is not.
    """
    found = await service.get(session, principal, "entity", entity)
    within = principal.collection_ids
    if collection is not None:
        within = frozenset({(await collections.get(session, principal, collection)).id})
    rows = await mentions.page_passages(session, found.id, collection_ids=within, after=None, limit=passages)
    return Overview(
        entity=await _then(session, principal, "entity", found.key, then),
        profile=None if profile is None else await _profile(session, principal, profile, found.key, then),
        measured=await _measured(session, principal, found.key, then, bucket=bucket, zone=zone),
        passages=rows,
    )


async def _then(session: AsyncSession, principal: Principal, kind: Kind, key: str, then: datetime) -> View | None:
    try:
        return await service.get(session, principal, kind, key, as_of=then)
    except NotFound:
        return None


async def _profile(
    session: AsyncSession, principal: Principal, profile: str, entity: str, then: datetime
) -> ProfileThen | None:
    await service.get_any(session, principal, "profile", profile)  # a name that nobody ever had is a mistake
    view = await _then(session, principal, "profile", profile, then)
    if view is None:
        return None
    said, entities = await service.entities_of(session, principal, view.key, as_of=then)
    definition = None
    if entity in entities:
        definition = schemas.json_schema(entities, [entity], title=said.label, description=said.description)
    return ProfileThen(view, definition)


async def _measured(
    session: AsyncSession, principal: Principal, key: str, then: datetime, *, bucket: str, zone: ZoneInfo
) -> list[Measured]:
    choice, span = Choice([key]), Span.of(then, then + min(_MOMENT, _END - then))
    found_then = await reading.latest(session, principal, choice, then)
    newest = {(series.metric, series.source): row for series, row in found_then}
    table = await reading.table(
        session, principal, choice, span, bucket=bucket, zone=zone, aggregates=_AGGREGATES, fill="null"
    )
    found = []
    for line in table.lines:
        count = int(line.counts.sum())
        values: dict[Aggregate, float] = {each: float(of[0]) for each, of in line.values.items()} if count else {}
        begins = table.moments[0] if count else None
        found.append(Measured(line.series, newest.get((line.series.metric, line.series.source)), begins, count, values))
    return found
