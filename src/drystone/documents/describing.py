"""What people say of a document: title, attributes, external_id, schema. Changed without touching its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.errors import Conflict, Invalid
from drystone.core.text import is_storable
from drystone.documents import queries, schemas, service
from drystone.documents.models import SCHEMA_COLUMNS, Document
from drystone.documents.service import DocumentView
from drystone.jobs import events

MAX_ATTRIBUTES_BYTES = 64 * 1024
# Each is indexed.
MAX_ATTRIBUTES = 1000
MAX_DEPTH = 16


async def describe(
    session: AsyncSession,
    principal: Principal,
    document_id: UUID,
    changes: dict[str, Any],
    condition: Condition = NO_CONDITION,
    *,
    replaces: bool = False,
) -> DocumentView:
    """Apply a merge patch of title, external_id, attributes and schema.

    replaces: attributes that are given are all there will be, instead of a patch.
    Raises Conflict when the external_id is taken, Invalid where attributes do not fit their schema.
    """
    principal.require("write")
    if not {"attributes", "schema"}.isdisjoint(changes):
        await schemas.share(session, principal.workspace_id)
    document = await service.lock_for_change(session, principal, document_id, condition)
    wanted = {name: value for name, value in changes.items() if name != "schema"}
    if "attributes" in wanted:
        given = wanted["attributes"] or {}
        wanted["attributes"] = merge(document.attributes, given) if given and not replaces else given
        check_attributes(wanted["attributes"])
    wanted |= await _under_schema(session, principal, document, changes, wanted.get("attributes"))
    wanted = {name: value for name, value in wanted.items() if value != getattr(document, name)}
    if wanted:
        if not await queries.try_set_document(session, document_id, **wanted):
            raise _taken(wanted)
        fields = fields_of(wanted)
        await access.record(session, principal, "document.describe", "document", document_id, fields=fields)
        await events.emit(
            session,
            principal.workspace_id,
            "document.described",
            "document",
            document_id,
            collection_id=document.collection_id,
            fields=fields,
        )
    return await service.get_document(session, principal, document_id)


async def _under_schema(
    session: AsyncSession,
    principal: Principal,
    document: Document,
    changes: Mapping[str, Any],
    attributes: dict[str, Any] | None,
) -> Mapping[str, Any]:
    """Columns of the schema that the document is under from now on, as far as they change."""
    if "schema" in changes and changes["schema"] is None:
        return schemas.NONE
    name = changes.get("schema")
    given = None if name is None else await schemas.named(session, principal.workspace_id, name)
    if given is None and attributes is None:
        return {}
    return await schemas.settle(session, document, attributes=attributes, given=given)


def fields_of(changes: Mapping[str, Any]) -> list[str]:
    """What of a document these changes of its columns change, in the words of the API."""
    told = {name for name in changes if name not in SCHEMA_COLUMNS}
    shown = {"schema_id": "schema", "schema_problem": "schema_problem"}
    return sorted(told | {shown[name] for name in shown.keys() & changes.keys()})


def merge(target: Any, patch: Any) -> Any:
    """A JSON merge patch applied: null removes, objects are merged, all else replaces. Source: RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def check_attributes(attributes: dict[str, Any]) -> None:
    """Raise Invalid for attributes that could not be kept, or given back as they were."""
    if _depth(attributes) > MAX_DEPTH:
        raise Invalid(
            "document.attributes_too_deep",
            f"The attributes are nested more than {MAX_DEPTH} levels deep.",
            hint="only values at the top can be filtered by",
            pointer="/attributes",
        )
    if len(attributes) > MAX_ATTRIBUTES:
        raise Invalid(
            "document.too_many_attributes",
            f"A document has at most {MAX_ATTRIBUTES} attributes.",
            hint="put what is not filtered by into one of them, as an object",
            pointer="/attributes",
        )
    try:
        plain = json.dumps(attributes, ensure_ascii=False, allow_nan=False)
    except ValueError as exc:
        raise _not_json() from exc
    if not all(map(is_storable, _strings(attributes))):
        raise _not_json()
    if len(plain.encode()) > MAX_ATTRIBUTES_BYTES:
        raise Invalid("document.attributes_too_large", "Attributes may take up to 64 kB.", pointer="/attributes")


def _depth(value: Any) -> int:
    """Levels of objects and lists."""
    deepest, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        deepest += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _strings(value: Any) -> Iterator[str]:
    """Every string in it, names of attributes too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _not_json() -> Invalid:
    return Invalid(
        "document.attributes_not_json",
        "The attributes hold what JSON or PostgreSQL cannot: NaN, an infinite number, NUL or half a surrogate pair.",
        hint='for example {"year": 2024, "author": "Ada"}',
        pointer="/attributes",
    )


def _taken(wanted: dict[str, Any]) -> Conflict:
    if wanted.get("external_id") is not None:
        return Conflict(
            "document.external_id_taken",
            f"Another document of the collection has the external_id {wanted['external_id']!r}.",
            hint="choose another, or delete that document first",
            pointer="/external_id",
        )
    return Conflict(
        "document.same_bytes",
        "Without an external_id this would be a second document of the same bytes in its collection.",
        hint="keep the external_id, or delete one of the two",
        pointer="/external_id",
    )
