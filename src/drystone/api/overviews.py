"""/entities/{entity}/overview: what was said of an entity at a moment, what was measured of it, and where documents speak of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.catalogue_pages import KeyOrId
from drystone.api.catalogue_schemas import Entity
from drystone.api.dependencies import Caller, Session
from drystone.api.mention_schemas import MentioningPassage
from drystone.api.observations import BucketLength, Observation, told
from drystone.api.observing import Tz
from drystone.api.problems import responses
from drystone.api.times import moment
from drystone.catalogue import schemas, service
from drystone.core.clock import utc_now
from drystone.core.errors import NotFound
from drystone.core.text import Text
from drystone.documents import collections
from drystone.mentions import queries as mentions
from drystone.observations import reading
from drystone.observations.buckets import zone_of
from drystone.observations.reading import Choice, Span
from drystone.observations.selects import Aggregate

router = APIRouter(prefix="/entities", tags=["entities"])
_MOMENT = timedelta(microseconds=1)
_AGGREGATES: tuple[Aggregate, ...] = ("avg", "min", "max")


class ProfileThen(BaseModel):
    """What a profile said of the entity."""

    key: str
    label: str
    number: int = Field(description="Of the version of the profile.")
    published_at: datetime
    definition: dict[str, Any] | None = Field(
        description="JSON Schema 2020-12 of the entity, with what its parents say; null: it is in none of the profile's modules."
    )


class Measured(BaseModel):
    """One series: its newest observation by then, and the bucket that the moment is in."""

    metric: str
    source: str
    unit: str | None
    latest: Observation | None
    bucket_start: datetime | None = Field(description="null: nothing was observed in the bucket.")
    count: int
    avg: float | None
    min: float | None
    max: float | None


class EntityOverview(BaseModel):
    """An entity at a moment. Each part is as it was then, but for passages: these are those of now."""

    at: datetime
    entity: Entity | None = Field(description="null: it was not in the catalogue then.")
    profile: ProfileThen | None = Field(description="null: none was asked for, or it was not there then.")
    measured: list[Measured]
    passages: list[MentioningPassage] = Field(description="Where its names stand, of the newest document first.")


@router.get("/{entity}/overview", summary="Get an overview of an entity", responses=responses(404))
async def overview(
    entity: KeyOrId,
    caller: Caller,
    session: Session,
    at: Annotated[Text | None, Query(description="A time, or an age such as 7d; without it: now.")] = None,
    profile: Annotated[Text | None, Query(description="What this one said of it then; by key or id.")] = None,
    bucket: BucketLength = "P1D",
    tz: Tz = "UTC",
    collection: Annotated[Text | None, Query(description="Passages of this one only, by name or id.")] = None,
    passages: Annotated[int, Query(ge=0, le=100, description="How many at most.")] = 10,
) -> EntityOverview:
    """What was said of it on that date, what was measured, and which passages are the evidence."""
    zone = zone_of(tz)
    then = moment("at", at, zone) or utc_now()
    found = await service.get(session, caller, "entity", entity)
    within = caller.collection_ids
    if collection is not None:
        within = frozenset({(await collections.get(session, caller, collection)).id})
    rows = await mentions.page_passages(session, found.id, collection_ids=within, after=None, limit=passages)
    return EntityOverview(
        at=then.astimezone(UTC),
        entity=await _entity(session, caller, found.key, then),
        profile=None if profile is None else await _profile(session, caller, profile, found.key, then),
        measured=await _measured(session, caller, found.key, then, bucket=bucket, zone=zone),
        passages=[MentioningPassage.of(row) for row in rows],
    )


async def _entity(session: AsyncSession, caller: Principal, key: str, then: datetime) -> Entity | None:
    try:
        return Entity.of(await service.get(session, caller, "entity", key, as_of=then))
    except NotFound:
        return None


async def _profile(
    session: AsyncSession, caller: Principal, profile: str, entity: str, then: datetime
) -> ProfileThen | None:
    await service.get_any(session, caller, "profile", profile)  # a name that nobody ever had is a mistake
    try:
        view = await service.get(session, caller, "profile", profile, as_of=then)
    except NotFound:
        return None
    said, entities = await service.entities_of(session, caller, view.key, as_of=then)
    definition = None
    if entity in entities:
        definition = schemas.json_schema(entities, [entity], title=said.label, description=said.description)
    return ProfileThen(
        key=view.key, label=said.label, number=view.number, published_at=view.published_at, definition=definition
    )


async def _measured(
    session: AsyncSession, caller: Principal, key: str, then: datetime, *, bucket: str, zone: ZoneInfo
) -> list[Measured]:
    choice, span = Choice([key]), Span.of(then, then + _MOMENT)
    latest = await told(session, caller, await reading.latest(session, caller, choice, then))
    newest = {(each.metric, each.source): each for each in latest}
    tables = {
        each: await reading.table(session, caller, choice, span, bucket=bucket, zone=zone, aggregate=each, fill="null")
        for each in _AGGREGATES
    }
    found = []
    for place, line in enumerate(tables["avg"].lines):
        count = int(line.counts.sum())
        values = {each: float(table.lines[place].values[0]) for each, table in tables.items()} if count else {}
        found.append(
            Measured(
                metric=line.series.metric,
                source=line.series.source,
                unit=line.series.unit,
                latest=newest.get((line.series.metric, line.series.source)),
                bucket_start=tables["avg"].moments[0] if count else None,
                count=count,
                avg=values.get("avg"),
                min=values.get("min"),
                max=values.get("max"),
            )
        )
    return found
