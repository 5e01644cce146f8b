"""/observations: what was observed of entities, in bulk, and asked for by series and time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Len
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api import observing
from drystone.api.observing import ChoiceOf, SpanOf, ZonedSpanOf
from drystone.core.errors import Invalid
from drystone.core.numbers import MAX_BIGINT
from drystone.core.text import Text
from drystone.http import idempotency
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Key, Once
from drystone.http.problems import responses
from drystone.http.times import moment
from drystone.observations import adding, reading
from drystone.observations.adding import Added, OnConflict
from drystone.observations.buckets import Fill
from drystone.observations.reading import AnyRow, AnySeries, Choice, Line, Per, Rate, Span, Table
from drystone.observations.rows import MENTIONS, microseconds
from drystone.observations.selects import Aggregate

router = APIRouter(prefix="/observations", tags=["observations"])

OrderOf = Literal["newest", "oldest"]
# So many problems are told one by one; the others are counted.
MOST_TOLD = 1000


class RowError(BaseModel):
    """Why a row was not taken."""

    row: int = Field(description="Of NDJSON and CSV the line, of JSON the place; from 1.")
    code: str = Field(examples=["observation.unknown_entity"])
    message: str
    fix: str = Field(description="What to do.")


class AddedObservations(BaseModel):
    """What became of each row: the counts add up to the rows that were sent."""

    id: UUID = Field(description="Of this bulk, in the audit and in events.")
    inserted: int
    replaced: int = Field(description="Were there with another content, which is gone.")
    unchanged: int = Field(description="Were there already, and the same.")
    kept: int = Field(description="Were there with another content, which stayed: `on_conflict=keep`.")
    refused: int
    errors: list[RowError] = Field(description=f"Why rows were refused, {MOST_TOLD} at most.")

    @classmethod
    def of(cls, added: Added) -> AddedObservations:
        told = added.problems[:MOST_TOLD]
        return cls(
            id=added.id,
            inserted=added.inserted,
            replaced=added.replaced,
            unchanged=added.unchanged,
            kept=added.kept,
            refused=len(added.problems),
            errors=[RowError(row=each.row, code=each.code, message=each.message, fix=each.fix) for each in told],
        )


@router.post(
    "",
    summary="Add observations",
    openapi_extra=observing.described(),
    responses=responses(400, 408, 409, 413, 415),
)
async def add(
    request: Request,
    response: Response,
    caller: Caller,
    resources: ResourcesOf,
    on_conflict: Annotated[
        OnConflict, Query(description="Where a series has another value at that time: replace it, keep it, or say so.")
    ] = "replace",
    atomic: Annotated[bool, Query(description="All rows or none: refuse the bulk where one row is wrong.")] = False,
    key: Key = None,
) -> AddedObservations:
    """Add rows as JSON, NDJSON or CSV. Rows that are wrong are told, each with what to do; the others are kept.

    Sending the same rows again changes nothing. One transaction, with the hours that buckets are made of.
    """
    caller.require_whole("write")  # before a byte is taken
    async with (
        observing.receive(request, resources) as bulk,
        idempotency.begin(request, resources, caller, key, bulk.spool.sha256) as once,
        resources.bulks.turn(),
    ):

        async def remember(session: AsyncSession, added: Added) -> None:
            await once.remember(session, response, AddedObservations.of(added))

        added = await adding.add(
            resources.sessions.within(caller.reach),
            caller,
            await bulk.read(resources),
            on_conflict=on_conflict,
            is_atomic=atomic,
            sha256=bulk.spool.sha256,
            before_commit=remember,
        )
    return AddedObservations.of(added)


class SeriesOf(BaseModel):
    """Which series: one source's word on one metric of one entity."""

    series_id: int | None = Field(description=f"null: it is `{MENTIONS}`, which nobody keeps but counts.")
    entity: str
    metric: str
    source: str
    unit: str | None

    @classmethod
    def fields(cls, row: AnySeries) -> dict[str, Any]:
        return {"series_id": row.id, **{name: getattr(row, name) for name in ("entity", "metric", "source", "unit")}}


class Evidence(BaseModel):
    """Where a value was read: `text[start:end]` of the version, and the SHA-256 of what stood there."""

    version_id: UUID
    start: int
    end: int
    quote_sha256: str


class Observation(SeriesOf):
    """A value at a moment."""

    observed_at: datetime
    value: float
    attributes: dict[str, Any] | None
    evidence: Evidence | None = Field(description="null, too, where the key may not see the document.")


class Observations(BaseModel):
    """One page of observations."""

    items: list[Observation]
    next_cursor: str | None


class LatestObservations(BaseModel):
    """The newest observation of each series, by series."""

    items: list[Observation]


class RateOf(SeriesOf):
    """How fast a value changed since the observation before."""

    observed_at: datetime
    value: float
    rate: float | None = Field(description="null at the first observation of a series.")


class Rates(BaseModel):
    """One page of rates."""

    per: Per
    items: list[RateOf]
    next_cursor: str | None


class LineOf(SeriesOf):
    """One series in buckets. values: one for each of `times`; counts: how much was observed in each."""

    values: list[float | None]
    counts: list[int]

    @classmethod
    def of(cls, line: Line) -> LineOf:
        (of_aggregate,) = line.values.values()
        values = [None if value != value else value for value in of_aggregate.tolist()]
        return cls.model_construct(
            **SeriesOf.fields(line.series), values=values, counts=line.counts.astype(int).tolist()
        )


class Buckets(BaseModel):
    """Series side by side, in the same buckets."""

    times: list[datetime] = Field(description="When each bucket begins, with the offset of the zone at that time.")
    series: list[LineOf]
    made_of: str = Field(
        description="`hours`, or `raw` where buckets are not of whole hours (UTC); `mentions` where nothing else was asked for."
    )

    @classmethod
    def of(cls, table: Table) -> Buckets:
        lines = [LineOf.of(line) for line in table.lines]
        return cls.model_construct(times=list(table.moments), series=lines, made_of=table.made_of)


Limit = Annotated[int, Query(ge=1, le=1000)]
BucketLength = Annotated[
    Text, Query(description="As in PT15M, PT6H; of the calendar P1D, P1W, P1M, P3M, P1Y.", examples=["P1D"])
]


def get_cursor(
    cursor: Annotated[
        str | None, Query(pattern=r"^-?\d{1,18}\.\d{1,18}$", description="next_cursor of the page before.")
    ] = None,
) -> tuple[datetime, int] | None:
    """The last row of the page before: its time and series."""
    if cursor is None:
        return None
    at, _, series_id = cursor.partition(".")
    return adding.moment_of(max(min(int(at), 10**16), -(10**16))), min(int(series_id), MAX_BIGINT)


CursorOf = Annotated[tuple[datetime, int] | None, Depends(get_cursor)]


def _next(found: list[Any], limit: int) -> str | None:
    """The cursor behind the last row that is shown, where there is another one."""
    if len(found) <= limit:
        return None
    row = found[limit - 1]
    return f"{microseconds(row.observed_at)}.{row.series_id}"


async def told(session: AsyncSession, caller: Caller, found: list[tuple[AnySeries, AnyRow]]) -> list[Observation]:
    """Series with a row of each, as they are shown to this caller."""
    return [
        Observation(
            **SeriesOf.fields(series),
            observed_at=row.observed_at,
            value=row.value,
            attributes=row.attributes,
            evidence=evidence and _evidence(evidence),
        )
        for series, row, evidence in await reading.with_evidence(session, caller, found)
    ]


def _evidence(row: Row[Any]) -> Evidence:
    return Evidence(
        version_id=row.evidence_version_id,
        start=row.evidence_start,
        end=row.evidence_end,
        quote_sha256=row.evidence_sha256.hex(),
    )


@router.get("", summary="List observations", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    span: SpanOf,
    cursor: CursorOf,
    order: Annotated[OrderOf, Query(description="Which come first.")] = "oldest",
    limit: Limit = 100,
) -> Observations:
    """Raw observations by time, of all series that are chosen."""
    found = await reading.page_raw(
        session, caller, choice, span, after=cursor, newest_first=order == "newest", limit=limit + 1
    )
    items = await told(session, caller, found[:limit])
    return Observations(items=items, next_cursor=_next([row for _, row in found], limit))


@router.get("/latest", summary="Get the latest observations", responses=responses(404))
async def latest(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    as_of: Annotated[
        Text | None,
        Query(
            description="As it was at this time; without it: the newest there is.", examples=["2026-06-30T22:00:00Z"]
        ),
    ] = None,
) -> LatestObservations:
    """The newest observation of each series that is chosen, side by side, or what was the newest at a time."""
    found = await reading.latest(session, caller, choice, moment("as_of", as_of))
    return LatestObservations(items=await told(session, caller, found))


@router.get("/buckets", summary="Get observations in buckets", responses=responses(404), response_model=Buckets)
async def buckets(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    zoned: ZonedSpanOf,
    bucket: BucketLength = "PT1H",
    aggregate: Aggregate = "avg",
    fill: Annotated[
        Fill,
        Query(
            description="Where nothing was observed: null, left out (`none`), the value before, on the line between, or 0."
        ),
    ] = "null",
) -> Response:
    """Series side by side in buckets of time. Buckets are whole: `from` and `until` are widened to their edges."""
    span = await zoned.observed(session, caller, choice)
    table = await reading.table(
        session, caller, choice, span, bucket=bucket, zone=zoned.zone, aggregates=[aggregate], fill=fill
    )
    return _as_json(Buckets.of(table))


@router.get("/moving_average", summary="Get a moving average", responses=responses(404), response_model=Buckets)
async def moving_average(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    zoned: ZonedSpanOf,
    bucket: BucketLength = "P1D",
    window: Annotated[int, Query(ge=1, le=reading.MAX_WINDOW, description="So many buckets, the present one too.")] = 7,
    fill: Annotated[
        Literal["null", "zero"],
        Query(description="A bucket in which nothing was observed counts for nothing, or for one 0."),
    ] = "null",
) -> Response:
    """For each bucket the mean of all that was observed in it and the `window` - 1 before it."""
    span = await zoned.observed(session, caller, choice)
    table = await reading.moving_average(
        session,
        caller,
        choice,
        span,
        bucket=bucket,
        zone=zoned.zone,
        window=window,
        empty_is_zero=fill == "zero",
    )
    return _as_json(Buckets.of(table))


@router.get("/rate", summary="Get rates of change", responses=responses(404))
async def rate(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    span: SpanOf,
    cursor: CursorOf,
    per: Annotated[Per, Query(description="Second, minute, hour or day.")] = "h",
    counter: Annotated[bool, Query(description="A value below the one before began anew from 0.")] = False,
    limit: Limit = 100,
) -> Rates:
    """How fast values changed from one observation to the next, by time."""
    found = await reading.page_rates(
        session, caller, choice, span, per=per, is_counter=counter, after=cursor, limit=limit + 1
    )
    return Rates(
        per=per, items=[_rate(each) for each in found[:limit]], next_cursor=_next([each.row for each in found], limit)
    )


def _rate(given: Rate) -> RateOf:
    row = given.row
    return RateOf(**SeriesOf.fields(given.series), observed_at=row.observed_at, value=row.value, rate=given.rate)


def _as_json(answer: BaseModel) -> Response:
    """As it would be answered anyway, but not looked at once more: it may have some hundred thousand numbers."""
    return Response(answer.model_dump_json(), media_type="application/json")


class ObservationsToDelete(BaseModel):
    """What is to be deleted: of these series, from a time up to another."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"entity": "pump-7", "from": "2026-05-01T00:00:00Z", "until": "2026-06-01T00:00:00Z"}]
        },
    )

    entity: Annotated[Text, Len(1, 200)]
    metric: Annotated[Text, Len(1, 200)] | None = None
    source: Annotated[Text, Len(1, 200)] | None = None
    from_: Annotated[Text, Len(1, 64)] = Field(alias="from")
    until: Annotated[Text, Len(1, 64)]
    dry_run: bool = Field(False, description="Say how many there are, and delete none.")


class DeletedObservations(BaseModel):
    """How many observations were deleted, or would be."""

    dry_run: bool
    deleted: int
    series: int


@router.post("/delete", summary="Delete observations", responses=responses(404, 409))
async def delete(
    body: ObservationsToDelete, caller: Caller, once: Once, session: Session, response: Response
) -> DeletedObservations:
    """Delete what was observed of an entity from a time up to another; the hours it was in are made anew."""
    caller.require_whole("write")
    if body.metric == MENTIONS:
        raise Invalid(
            "observation.reserved_metric",
            f"The metric {MENTIONS!r} is counted from documents, and nobody deletes it.",
            hint="delete the documents, or change their names for it",
            pointer="/metric",
        )
    span = Span.of(moment("from", body.from_), moment("until", body.until))
    choice = Choice([body.entity], [body.metric] if body.metric else [], [body.source] if body.source else [])
    series = (await reading.chosen(session, caller, choice)).kept
    deleted = await adding.delete(session, caller, list(series), span.start, span.end, is_dry=body.dry_run)
    told = DeletedObservations(dry_run=body.dry_run, deleted=deleted, series=len(series))
    return await once.remember(session, response, told)
