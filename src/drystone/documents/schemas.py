"""Documents under a schema: a category or a profile of the catalogue that their attributes are to fit.

Named as `category:KEY` or `profile:KEY`, kept by id: a schema may change and be deleted without asking documents. What does not fit
when it comes is refused; what no longer fits stays as it is, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue import queries as catalogue
from drystone.catalogue import service
from drystone.catalogue.content import EntityContent
from drystone.catalogue.fitting import Datatype, Shape
from drystone.catalogue.models import Entity, Kind, Profile
from drystone.catalogue.queries import View
from drystone.core.errors import Invalid, pointer_to
from drystone.documents.models import SCHEMA_COLUMNS, Collection, Document, SchemaKind

# Attributes that Drystone itself gives to documents: no schema foresees them, and none is asked.
OURS = frozenset({"sync_folder"})
KINDS: tuple[SchemaKind, ...] = get_args(SchemaKind)
NONE: Mapping[str, Any] = dict.fromkeys(SCHEMA_COLUMNS)
_IN_CATALOGUE: Mapping[SchemaKind, Kind] = {"category": "entity", "profile": "profile"}
# Of one that is deleted: other than that of any that is not.
_DELETED = b""


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit. pointer: into the document."""

    code: str
    pointer: str
    detail: str
    hint: str

    def said(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class Schema:
    """A category or profile as it is now. shape: None: it is deleted."""

    kind: SchemaKind
    view: View
    shape: Shape | None

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.view.key}"

    @property
    def sha256(self) -> bytes:
        return _DELETED if self.shape is None else self.shape.sha256

    @property
    def datatypes(self) -> Mapping[str, Datatype]:
        return {} if self.shape is None else self.shape.datatypes

    @property
    def lack(self) -> Problem | None:
        """Why nothing can be compared with it; None: it can."""
        if self.shape is None:
            fix = f"restore the {self.kind}, or put the document under another schema"
            return Problem("schema.deleted", "/schema", f"The {self.kind} {self.view.key!r} was deleted.", fix)
        if (fault := self.shape.fault) is not None:
            return Problem("schema.unusable", "/schema", f"{self.name}: {fault.sentence}", fault.fix)
        return None

    def problems(self, attributes: Mapping[str, Any]) -> list[Problem]:
        """What does not fit, one problem for each attribute; none: they fit."""
        if (lack := self.lack) is not None:
            return [lack]
        assert self.shape is not None, "it would lack that"
        return [
            Problem("attribute.does_not_fit", pointer_to("attributes", *each.path), each.sentence, each.fix)
            for each in self.shape.faults(asked_of(attributes))
        ]

    def columns(self, problems: Sequence[Problem]) -> dict[str, Any]:
        """Of a document that was compared with it."""
        return {
            "schema_kind": self.kind,
            "schema_id": self.view.id,
            "schema_version_id": self.view.version_id,
            "schema_sha256": self.sha256,
            "schema_problem": problems[0].said() if problems else None,
        }

    def refuse(self, problems: Sequence[Problem], *, is_named: bool) -> None:
        """Raise Invalid with all of these problems, if there are any.

        is_named: by whoever asks. Of one that documents are under already, that it cannot be asked any more stops nobody.
        """
        lack = self.lack
        if not problems or (lack is not None and not is_named):
            return
        if lack is not None:
            raise Invalid(
                "document.unusable_schema",
                f"Nothing can be under this schema. {lack.detail}",
                hint=lack.hint,
                pointer="/schema",
            )
        first, more = problems[0], len(problems) - 1
        raise Invalid(
            "document.does_not_fit",
            f"The attributes do not fit {self.name}: {first.detail}"
            + (f" And {more} more: `errors` tells each." if more else ""),
            hint=first.hint,
            errors=[
                {"pointer": each.pointer, "detail": each.detail, "code": each.code, "hint": each.hint}
                for each in problems
            ],
        )


def asked_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a schema is asked about."""
    return {name: value for name, value in attributes.items() if name not in OURS}


async def share(session: AsyncSession, workspace_id: UUID) -> None:
    """What is read of schemas from here on is as new as what `recheck` goes by, until the transaction ends.

    To be had before the rows of documents.
    """
    await session.execute(_SHARE, {"id": workspace_id})


async def alone(session: AsyncSession, workspace_id: UUID) -> None:
    """Wait for all who hold `share`, and keep others out until the transaction ends."""
    await session.execute(_ALONE, {"id": workspace_id})


async def named(session: AsyncSession, workspace_id: UUID, name: str, *, pointer: str = "/schema") -> Schema:
    """The schema of this name, of those that are there now. Raises Invalid where there is none."""
    found = await find(session, workspace_id, name, pointer=pointer)
    if found.shape is None:
        raise _unknown(found.kind, found.view.key, pointer)
    return found


async def find(session: AsyncSession, workspace_id: UUID, name: str, *, pointer: str = "/schema") -> Schema:
    """The schema of this name, else the one that had it last. Raises Invalid where there never was one."""
    kind, separator, key = name.partition(":")
    if not separator or kind not in KINDS:
        raise Invalid(
            "document.bad_schema",
            f"{name[:100]!r} names no schema.",
            hint="category:KEY or profile:KEY, for example category:report",
            pointer=pointer,
        )
    view = await catalogue.find(session, workspace_id, _IN_CATALOGUE[kind], key)
    if view is None or not _is(kind, view):
        raise _unknown(kind, key, pointer)
    return await _schema(session, kind, view)


async def of(session: AsyncSession, row: Document | Collection) -> Schema | None:
    """The schema that a document is under, or that documents of a collection are put under; None: none."""
    if row.schema_kind is None or row.schema_id is None:
        return None
    return await of_id(session, row.workspace_id, cast(SchemaKind, row.schema_kind), row.schema_id)


async def of_id(session: AsyncSession, workspace_id: UUID, kind: SchemaKind, schema_id: UUID) -> Schema | None:
    """The schema of this id, deleted or not; None where there never was one."""
    view = await catalogue.find(session, workspace_id, _IN_CATALOGUE[kind], schema_id)
    return None if view is None else await _schema(session, kind, view)


async def settle(
    session: AsyncSession, document: Document, *, attributes: Mapping[str, Any] | None, given: Schema | None
) -> dict[str, Any]:
    """Columns of a document that gets attributes (None: keeps its own), or comes under another schema (None: stays under its own).

    Raises Invalid where they do not fit. Of a schema that cannot be asked any more only a problem is noted.
    """
    schema = given or await of(session, document)
    wanted = document.attributes if attributes is None else attributes
    is_same = schema is None or (given is None or given.view.id == document.schema_id)
    if schema is None or (is_same and asked_of(wanted) == asked_of(document.attributes)):
        return {}
    problems = schema.problems(wanted)
    schema.refuse(problems, is_named=given is not None)
    return schema.columns(problems)


def is_under(workspace_id: UUID, schema: Schema) -> ColumnElement[bool]:
    """Of documents: under the schema of this name, also one that had it before and is deleted."""
    table = Profile if schema.kind == "profile" else Entity
    of_name = select(table.id).where(table.workspace_id == workspace_id, table.key == schema.view.key)
    return (Document.schema_kind == schema.kind) & Document.schema_id.in_(of_name)


async def names(session: AsyncSession, rows: Sequence[Collection]) -> Mapping[UUID | None, str]:
    """By their ids, the names of the schemas that these put documents under."""
    found = await session.execute(_NAMES, {"ids": [row.schema_id for row in rows if row.schema_id is not None]})
    return {row.id: row.name for row in found}


async def _schema(session: AsyncSession, kind: SchemaKind, view: View) -> Schema:
    return Schema(kind, view, None if view.deleted_at is not None else await service.shape(session, view))


def _is(kind: SchemaKind, view: View) -> bool:
    return kind == "profile" or (isinstance(view.content, EntityContent) and view.content.type == "category")


def _unknown(kind: SchemaKind, key: str, pointer: str) -> Invalid:
    many = "profiles" if kind == "profile" else "entities?type=category"
    return Invalid(
        "document.no_such_schema",
        f"There is no {kind} {key[:100]!r}.",
        hint=f"GET /api/v1/{many} lists what there is",
        pointer=pointer,
    )


_SHARE = text("select pg_advisory_xact_lock_shared(7355005, hashtext(cast(cast(:id as uuid) as text)))")
_ALONE = text("select pg_advisory_xact_lock(7355005, hashtext(cast(cast(:id as uuid) as text)))")
_NAMES = text("""
select id, 'category:' || key as name from entities where id = any(cast(:ids as uuid[]))
union all
select id, 'profile:' || key from profiles where id = any(cast(:ids as uuid[]))
""")
