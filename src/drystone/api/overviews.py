"""/entities/{entity}/overview: what was said of an entity at a moment, what was measured of it, and where documents speak of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.catalogue_pages import KeyOrId
from drystone.api.catalogue_schemas import Entity
from drystone.api.mention_schemas import MentioningPassage
from drystone.api.observations import BucketLength, Observation, told
from drystone.api.observing import Tz
from drystone.core.clock import utc_now
from drystone.core.text import Text
from drystone.http.dependencies import Caller, Session
from drystone.http.problems import responses
from drystone.http.times import moment
from drystone.observations import overviews
from drystone.observations.buckets import zone_of
from drystone.observations.reading import AnyRow, AnySeries

router = APIRouter(prefix="/entities", tags=["entities"])


class ProfileThen(BaseModel):
    """What a profile said of the entity."""

    key: str
    label: str
    number: int = Field(description="Of the version of the profile.")
    published_at: datetime
    definition: dict[str, Any] | None = Field(
        description="JSON Schema 2020-12 of the entity, with what its parents say; null: it is in none of the profile's modules."
    )

    @classmethod
    def of(cls, then: overviews.ProfileThen) -> ProfileThen:
        view = then.view
        return cls(
            key=view.key,
            label=view.content.said()["label"],
            number=view.number,
            published_at=view.published_at,
            definition=then.definition,
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
    found = await overviews.of_entity(
        session,
        caller,
        entity,
        then,
        profile=profile,
        bucket=bucket,
        zone=zone,
        collection=collection,
        passages=passages,
    )
    return EntityOverview(
        at=then.astimezone(UTC),
        entity=None if found.entity is None else Entity.of(found.entity),
        profile=None if found.profile is None else ProfileThen.of(found.profile),
        measured=await _measured(session, caller, found.measured),
        passages=[MentioningPassage.of(row) for row in found.passages],
    )


async def _measured(session: AsyncSession, caller: Principal, found: Sequence[overviews.Measured]) -> list[Measured]:
    newest: list[tuple[AnySeries, AnyRow]] = [(each.series, each.latest) for each in found if each.latest is not None]
    latest = {(each.metric, each.source): each for each in await told(session, caller, newest)}
    return [
        Measured(
            metric=each.series.metric,
            source=each.series.source,
            unit=each.series.unit,
            latest=latest.get((each.series.metric, each.series.source)),
            bucket_start=each.bucket_start,
            count=each.count,
            avg=each.values.get("avg"),
            min=each.values.get("min"),
            max=each.values.get("max"),
        )
        for each in found
    ]
