"""/keys: who may do what. Only for an admin's key that is confined to no collection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys
from drystone.access.keys import LONGEST_OVERLAP_S, Grant
from drystone.access.models import ApiKey
from drystone.access.service import Principal
from drystone.core.clock import utc_now
from drystone.core.numbers import MAX_INTEGER, MAX_JSON, WHOLE
from drystone.core.text import Text
from drystone.documents import collections
from drystone.http.dependencies import Caller, ResourcesOf, Session, default_limits
from drystone.http.idempotency import Once
from drystone.http.problems import responses

router = APIRouter(prefix="/keys", tags=["keys"])

ScopeName = Literal["read", "write", "admin"]


def _not_blank(name: str) -> str:
    if not name.strip():
        raise ValueError("Must not be blank.")
    return name


Name = Annotated[Text, Len(1, 200), AfterValidator(_not_blank), Field(json_schema_extra={"pattern": r"\S"})]
ScopeNames = Annotated[
    list[ScopeName],
    Len(1, 3),
    Field(
        description="`read`: search and look up; `write`: and upload, change, delete; `admin`: and keys, webhooks, audit; of a confined key: the webhooks and models of its collections only."
    ),
]
CollectionNames = Annotated[list[Annotated[Text, Len(1, 128)]], Len(1, 1000)]
Documents = Annotated[int, Ge(0), Le(MAX_INTEGER), WHOLE]
Bytes = Annotated[int, Ge(0), Le(MAX_JSON), WHOLE]


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies beyond the year 9999 in UTC") from None


End = Annotated[AwareDatetime, AfterValidator(_in_utc)]
_COLLECTIONS = "The only collections it may see, by name or id, which must be there; null: all of the workspace."


class KeyLimits(BaseModel):
    """What a key may upload between two midnights UTC. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    documents_per_day: Documents | None = Field(None, description="null: as the settings say.")
    bytes_per_day: Bytes | None = Field(None, description="null: as the settings say.")


class NewKey(KeyLimits):
    """A key to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "website", "scopes": ["read"], "collections": ["papers"]}]},
    )

    name: Name = Field(description="What it is for. A note: another key may have it, too; the prefix names the key.")
    scopes: ScopeNames
    collections: CollectionNames | None = Field(None, description=_COLLECTIONS)
    expires_at: End | None = Field(None, description="When it ends; null: never.")


class KeyChanges(KeyLimits):
    """What may be changed of a key; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"scopes": ["read", "write"]}]})

    name: Name | None = Field(None, description="null is as if left out.")
    scopes: ScopeNames | None = Field(None, description="null is as if left out.")
    collections: CollectionNames | None = Field(None, description=_COLLECTIONS)
    expires_at: End | None = Field(None, description="When it ends; null: never.")


class Rotation(BaseModel):
    """How a key gets its new secret."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[int, Ge(0), Le(LONGEST_OVERLAP_S), WHOLE] = Field(
        86_400, description="Seconds for which the secret before is accepted, too; 0: it ends at once."
    )


class Key(BaseModel):
    """A key without its secret, which nobody can ask for again."""

    id: UUID = Field(description="As the audit has it.")
    prefix: str = Field(description="What stands before the dot; it names the key.")
    name: str
    scopes: list[ScopeName]
    collection_ids: list[UUID] | None = Field(description="The only collections it may see; null: all.")
    documents_per_day: int | None = Field(description="Its own limit; null: as the settings say.")
    bytes_per_day: int | None = Field(description="Its own limit; null: as the settings say.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    previous_until: datetime | None = Field(description="Until when the secret before its rotation is accepted, too.")
    is_from_settings: bool = Field(description="Whether it is DRYSTONE_API_KEY of .env.")

    @classmethod
    def of(cls, row: ApiKey) -> Key:
        return cls(**_fields(row))


class KeyWithSecret(Key):
    """A key with its secret: keep it, it is not shown again."""

    key: str | None = Field(
        description="What is sent as the bearer token. null where the request was repeated under its Idempotency-Key.",
        examples=["dsk_h4m2kq7wyd.Jw3mQm3l0Hh0p1d1vV7mN6yQn0m6m3cWqk0Gx0M2b5E"],
    )

    @classmethod
    def of(cls, row: ApiKey, key: str | None = None) -> KeyWithSecret:
        return cls(**_fields(row), key=key)


class Keys(BaseModel):
    """One page of keys, oldest first."""

    items: list[Key]
    next_cursor: str | None


class LimitsInForce(BaseModel):
    """What holds for a key now: its own limits, else those of the settings; null: none."""

    documents_per_day: int | None
    bytes_per_day: int | None


@router.post("", status_code=201, summary="Create a key", responses=responses(404, 409))
async def create(body: NewKey, caller: Caller, once: Once, session: Session, response: Response) -> KeyWithSecret:
    """Make a key. The answer holds it this once: only a hash of it is kept."""
    collection_ids = await _ids(session, caller, body.collections)
    grant = Grant(body.scopes, collection_ids, body.expires_at, body.documents_per_day, body.bytes_per_day)
    made, token = await keys.create(session, caller, body.name, grant)
    response.headers["Location"] = f"/api/v1/keys/{made.prefix}"
    return await _tell_once(session, response, once, made, token)


@router.get("", summary="List keys", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    ended: Annotated[bool, Query(description="Those that were revoked or have expired, too.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Keys:
    """All keys of the workspace, without their secrets, oldest first."""
    found = await keys.page(session, caller, ended=ended, after=cursor, limit=limit + 1)
    more = len(found) > limit
    return Keys(items=[Key.of(row) for row in found[:limit]], next_cursor=str(found[limit - 1].id) if more else None)


@router.get("/{prefix}", summary="Get a key", responses=responses(404))
async def get(prefix: Text, caller: Caller, session: Session) -> Key:
    """One key, without its secret: what it may, and when it was last used."""
    return Key.of(await keys.get(session, caller, prefix))


@router.patch("/{prefix}", summary="Change a key", responses=responses(404, 409))
async def change(prefix: Text, body: KeyChanges, caller: Caller, session: Session) -> Key:
    """Change what is given. Holds from the key's next request."""
    given: dict[str, Any] = body.model_dump(exclude_unset=True)
    changes = {name: value for name, value in given.items() if value is not None or name not in ("name", "scopes")}
    if "collections" in changes:
        changes["collection_ids"] = await _ids(session, caller, changes.pop("collections"))
    return Key.of(await keys.change(session, caller, prefix, changes))


@router.put("/{prefix}/limits", summary="Limit a key", responses=responses(404, 409))
async def limit(
    prefix: Text, body: KeyLimits, caller: Caller, resources: ResourcesOf, session: Session
) -> LimitsInForce:
    """Set what a key may upload in a day; what is left out stays. Answers what holds for it then."""
    own = await keys.change(session, caller, prefix, body.model_dump(exclude_unset=True))
    default = default_limits(resources.settings.receiving)
    return LimitsInForce(
        documents_per_day=own.documents_per_day if own.documents_per_day is not None else default.documents_per_day,
        bytes_per_day=own.bytes_per_day if own.bytes_per_day is not None else default.bytes_per_day,
    )


@router.post("/{prefix}/rotate", summary="Give a key a new secret", responses=responses(404, 409))
async def rotate(
    prefix: Text, caller: Caller, once: Once, session: Session, response: Response, body: Rotation | None = None
) -> KeyWithSecret:
    """A new secret under the same prefix. The one before goes on for a day, or for as long as is asked."""
    made, token = await keys.rotate(session, caller, prefix, overlap_s=(body or Rotation()).overlap_s)
    return await _tell_once(session, response, once, made, token)


@router.delete("/{prefix}", status_code=204, summary="Revoke a key", responses=responses(404, 409))
async def revoke(prefix: Text, caller: Caller, session: Session) -> None:
    """End a key at once, with open streams of events within seconds. It stays in the list of ended ones."""
    await keys.revoke(session, caller, prefix)


async def _tell_once(session: AsyncSession, response: Response, once: Once, made: ApiKey, token: str) -> KeyWithSecret:
    """An answer that is kept for a repetition must not keep the secret."""
    await once.remember(session, response, KeyWithSecret.of(made))
    response.headers["Cache-Control"] = "no-store"
    return KeyWithSecret.of(made, token)


async def _ids(session: AsyncSession, caller: Principal, names: Sequence[str] | None) -> list[UUID] | None:
    if names is None:
        return None
    return [(await collections.get(session, caller, name)).id for name in dict.fromkeys(names)]


def _fields(row: ApiKey) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in Key.model_fields}
    if row.previous_until is not None and row.previous_until <= utc_now():
        fields["previous_until"] = None
    return fields
