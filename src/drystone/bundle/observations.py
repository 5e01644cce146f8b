"""Observations in a bundle: series, and their raw rows in the order of series and time. Hours are made anew where they go.

Rows are read and written as they come: memory holds the series, and some thousands of rows.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.bundle import queries as bundles
from drystone.bundle.container import Reading, Writing, bad_line, damaged, lines, write
from drystone.bundle.schema import OBSERVATIONS, ROW, RowLine, SeriesLine
from drystone.catalogue.bringing import Brought
from drystone.core.db import Sessions
from drystone.core.errors import Conflict, Invalid
from drystone.observations import adding, queries
from drystone.observations.rows import EARLIEST, FURTHEST, MENTIONS, Extra, Name, Rows, attributes_json, microseconds

SERIES, ROWS = OBSERVATIONS
# Rows of one transaction.
_ROWS = 50_000
_TOLD = 100


# --- out ---


async def export(session: AsyncSession, bundle: Writing, workspace_id: UUID) -> dict[str, int]:
    """Write the series of entities that are not deleted, and their rows; how many, by the manifest's names."""
    found = await bundles.series(session, workspace_id)
    with bundle.member(SERIES) as file:
        for row in found:
            names = SeriesLine.model_fields
            write(file, SeriesLine(**{name: getattr(row, name) for name in names}))
    with bundle.member(ROWS) as file:
        numbers = {row.id: number for number, row in enumerate(found, start=1)}
        async for page in bundles.observations(session, {row.id: row.observations for row in found}):
            file.write("".join(_text(numbers[row.series_id], row) for row in page).encode())
    return {"series": len(found), "observations": sum(row.observations for row in found)}


def _text(number: int, row: Row[Any]) -> str:
    """A line, put together by hand: a model would take ten times as long."""
    moment = row.observed_at.astimezone(UTC).isoformat()[:-6]
    said = f'{{"series":{number},"observed_at":"{moment}Z","value":{row.value!r}'
    if row.attributes is not None:
        said += f',"attributes":{row.attributes}'
    if row.evidence_version_id is not None:
        evidence = {
            "version_id": str(row.evidence_version_id),
            "start": row.evidence_start,
            "end": row.evidence_end,
            "quote_sha256": row.evidence_sha256.hex(),
        }
        said += f',"evidence":{json.dumps(evidence, separators=(",", ":"))}'
    return said + "}\n"


# --- what there is ---


def series(bundle: Reading) -> list[SeriesLine]:
    return list(lines(bundle, SERIES, SeriesLine)) if bundle.has_observations else []


def rows(bundle: Reading) -> Iterator[RowLine]:
    """Raises Invalid for lines that are none."""
    validate = ROW.validator.validate_json
    for number, raw in enumerate(bundle.lines(ROWS), start=1):
        try:
            yield validate(raw)
        except (ValidationError, ValueError, RecursionError) as exc:
            raise bad_line(ROWS, number, exc) from exc


def check(bundle: Reading, brought: Sequence[Brought]) -> None:
    """Raise Invalid with the first thing that is wrong. brought: the catalogue of the bundle, which may have none."""
    if not bundle.has_observations:
        if bundle.manifest.series or bundle.manifest.observations:
            raise damaged("its manifest tells of observations, and names none")
        return
    found = series(bundle)
    order = [(each.entity, each.metric, each.source) for each in found]
    if order != sorted(set(order)):
        raise damaged(f"{SERIES} is not in order")
    entities = {each.key: each.id for each in brought if each.kind == "entity" and each.deleted_at is None}
    for each in found:
        if each.metric == MENTIONS:
            raise damaged(f"there is a series of the metric {MENTIONS!r}, which nobody writes")
        if bundle.has_catalogue and entities.get(each.entity) != each.entity_id:
            raise damaged(f"there is a series of the entity {each.entity!r}, and no such entity")
    counts = [0] * (len(found) + 1)
    for row in _checked(bundle, len(found)):
        counts[row["series"]] += 1
    if counts[1:] != [each.observations for each in found]:
        raise damaged("a series has another number of rows than it says")
    if (len(found), sum(counts)) != (bundle.manifest.series, bundle.manifest.observations):
        raise damaged("it has other series or observations than its manifest says")


def _checked(bundle: Reading, count: int) -> Iterator[RowLine]:
    """The rows, each within its bounds and after the one before."""
    latest = datetime.now(UTC) + FURTHEST
    before = (0, EARLIEST)
    for number, row in enumerate(rows(bundle), start=1):
        at = (row["series"], row["observed_at"])
        if at[0] > count:
            raise damaged(f"line {number} of {ROWS}: there is no series {at[0]}")
        if at <= before:
            raise damaged(f"line {number} of {ROWS}: it is not after the line before")
        if not EARLIEST <= at[1] < latest:
            raise damaged(f"line {number} of {ROWS}: its time is not within {EARLIEST.year} and ten years from now")
        if len(row) > 3:
            _check_extras(number, row)
        before = at
        yield row


def _check_extras(number: int, row: RowLine) -> None:
    evidence = row.get("evidence")
    if evidence is not None and evidence["end"] < evidence["start"]:
        raise damaged(f"line {number} of {ROWS}: the evidence ends before it starts")
    try:
        attributes_json(row.get("attributes", {}))
    except Invalid as exc:
        raise damaged(f"line {number} of {ROWS}: {exc.message.rstrip('.')}") from exc


# --- in ---


@dataclass
class Taken:
    """What was done with the rows. already: of a time that a series here has, whatever its value. too_old: what is not kept here."""

    added: int = 0
    already: int = 0
    too_old: int = 0


async def homes(
    session: AsyncSession, principal: Principal, found: Sequence[SeriesLine], ids: Mapping[UUID, UUID] | None
) -> list[Name]:
    """Have a series here for each; their names. ids: their entities -> ours; None: those that have the same key here.

    Raises Conflict for what has no entity here, and for series that have another unit here.
    """
    if ids is None:
        keys = {each.entity for each in found}
        here = await queries.find_entities(session, principal.workspace_id, keys)
        if lacking := sorted(keys - here.keys()):
            raise _no_entity(lacking)
        places = [here[each.entity] for each in found]
    else:
        places = [ids[each.entity_id] for each in found]
    wanted = {(place, each.metric, each.source): each.unit for place, each in zip(places, found, strict=True)}
    made = await queries.ensure_series(session, principal.workspace_id, wanted) if wanted else {}
    if others := [key for key, unit in wanted.items() if made[key][1] != unit]:
        raise _other_unit(others, wanted, made)
    return [Name(str(place), each.metric, each.source, each.unit) for place, each in zip(places, found, strict=True)]


def _no_entity(keys: Sequence[str]) -> Conflict:
    more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
    return Conflict(
        "bundle.no_entity",
        f"There are observations of what the catalogue here does not have: {', '.join(keys[:_TOLD])}{more}.",
        hint="put these into it, or leave the observations out: --observations skip; nothing was imported",
    )


def _other_unit(
    others: Sequence[tuple[UUID, str, str]], theirs: Mapping[Any, Any], ours: Mapping[Any, Any]
) -> Conflict:
    key = others[0]
    return Conflict(
        "bundle.other_unit",
        f"{len(others)} series have another unit here, one of {key[1]!r} from {key[2]!r}: {ours[key][1]}, not {theirs[key]}.",
        hint="leave the observations out: --observations skip; nothing was imported",
    )


async def import_(
    sessions: Sessions,
    principal: Principal,
    bundle: Reading,
    names: Sequence[Name],
    versions: Mapping[UUID, UUID],
    oldest: datetime,
    *,
    say: Callable[[str], None],
) -> Taken:
    """Add the rows that are not here yet. versions: of documents, theirs -> ours, where these differ. say: how far it is.

    Raises Conflict where somebody deleted an entity or changed a unit meanwhile; what was added stays, and is there again.
    """
    done = Taken()
    coming = rows(bundle)
    while (bulk := await asyncio.to_thread(_bulk, coming, names, versions, oldest, done)) is not None:
        if not len(bulk):
            continue
        try:
            added = await adding.add(
                sessions, principal, bulk, on_conflict="keep", is_atomic=True, checks_evidence=False
            )
        except Invalid as exc:
            raise Conflict(
                "bundle.catalogue_changed",
                f"The catalogue was changed during the import: {exc.message}",
                hint="what was imported before stays; import again",
            ) from exc
        done.added += added.inserted
        done.already += added.unchanged + added.kept
        say(f"{done.added + done.already} of {bundle.manifest.observations} observations")
    return done


def _bulk(
    coming: Iterator[RowLine], names: Sequence[Name], versions: Mapping[UUID, UUID], oldest: datetime, done: Taken
) -> Rows | None:
    """The next rows; None: there are no more."""
    bulk, codes, is_end = Rows(), dict[int, int](), True
    for row in itertools.islice(coming, _ROWS):
        is_end = False
        if row["observed_at"] < oldest:
            done.too_old += 1
            continue
        if len(row) > 3:
            bulk.extras[len(bulk)] = _extra(row, versions)
        code = codes.setdefault(row["series"], len(codes))
        if code == len(bulk.names):
            bulk.names.append(names[row["series"] - 1])
        bulk.numbers.append(len(bulk) + 1)
        bulk.codes.append(code)
        bulk.times.append(microseconds(row["observed_at"]))
        bulk.values.append(row["value"])
    return None if is_end else bulk


def _extra(row: RowLine, versions: Mapping[UUID, UUID]) -> Extra:
    attributes, evidence = row.get("attributes"), row.get("evidence")
    said = None if attributes is None else attributes_json(attributes)
    if evidence is None:
        return Extra(said)
    version_id = versions.get(evidence["version_id"], evidence["version_id"])
    quote = bytes.fromhex(evidence["quote_sha256"])
    return Extra(said, version_id, evidence["start"], evidence["end"], quote)
