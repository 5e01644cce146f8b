"""Adding observations in bulk: many rows, one transaction, and hours that stay equal to the raw rows.

The transaction holds its series, in the order of their ids, before it writes. So whoever writes to the same series comes
before or after it as a whole, and hours made anew of the raw rows are right whatever came late, was replaced or deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NoReturn
from uuid import UUID

import numpy as np
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid
from drystone.core.ids import new_id
from drystone.jobs import events
from drystone.observations import months, queries
from drystone.observations.rows import Extra, Fault, Problem, Rows

OnConflict = Literal["replace", "keep", "error"]
# Bulks that a process works on at once: each keeps a core of its own and one of PostgreSQL busy. Others wait for so long.
AT_ONCE, WAIT_S = 2, 10.0
# So many rows go into one statement: what is sent to PostgreSQL at once.
_ROWS_AT_ONCE = 20_000
_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What PostgreSQL says when a month was ended between its making and the row that is for it.
_NO_PARTITION = "23514"
_NO_EXTRA = Extra()


@dataclass
class Added:
    """What became of the rows of one bulk. kept: what was there with another content stayed. problems: by row."""

    id: UUID
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: int = 0
    series: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_change(self) -> bool:
        return self.inserted + self.replaced > 0


BeforeCommit = Callable[[AsyncSession, Added], Awaitable[None]]


async def add(
    sessions: Sessions,
    principal: Principal,
    rows: Rows,
    *,
    on_conflict: OnConflict = "replace",
    is_atomic: bool = False,
    checks_evidence: bool = True,
    sha256: bytes | None = None,
    before_commit: BeforeCommit | None = None,
) -> Added:
    """Add rows: good ones are kept and bad ones told or, if it is atomic, all or none.

    checks_evidence: versions that evidence names must be there; otherwise they may be gone, as later they may, too.
    sha256: of the body they came in, for the audit. before_commit: called in the transaction, with what is about to be.
    Raises Denied, and Invalid `observations.refused` for an atomic one with problems.
    """
    principal.require_whole("write")
    prepared = await _prepare(
        sessions, principal, rows, on_conflict, is_atomic=is_atomic, checks_evidence=checks_evidence
    )
    plan = _plan(rows, prepared, on_conflict)
    if is_atomic and plan.problems:
        async with transaction(sessions) as session:
            await _refuse_all(session, principal, plan, on_conflict)
    await months.ensure(sessions, _months(plan.times))
    try:
        return await _write(sessions, principal, plan, on_conflict, is_atomic, sha256, before_commit)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != _NO_PARTITION:
            raise
        raise Conflict(
            "observations.month_ended",
            "A month was ended by retention while rows for it were being added.",
            hint="send them again: rows that are too old are named then",
        ) from exc


@dataclass
class _Prepared:
    """series_of: the id for each of the rows' names; 0: there is none. bad_rows: by place, beside those of bad names."""

    series_of: list[int]
    problem_of: dict[int, Fault]
    bad_rows: dict[int, Fault]


async def _prepare(
    sessions: Sessions,
    principal: Principal,
    rows: Rows,
    on_conflict: OnConflict,
    *,
    is_atomic: bool,
    checks_evidence: bool,
) -> _Prepared:
    """Have a series for all rows that can be taken, in a transaction of its own; for a bulk that is refused none is made."""
    async with transaction(sessions) as session:
        bad_rows = await _unknown_versions(session, rows) if checks_evidence else {}
        entities = await queries.find_entities(session, principal.workspace_id, {name.entity for name in rows.names})
        problem_of = {
            code: _unknown_entity(name.entity) for code, name in enumerate(rows.names) if name.entity not in entities
        }
        series_of = await _series(session, principal, rows, entities, problem_of)
        prepared = _Prepared(series_of, problem_of, bad_rows)
        if is_atomic and (rows.problems or problem_of or bad_rows):
            await _refuse_all(session, principal, _plan(rows, prepared, on_conflict), on_conflict)
    return prepared


async def _refuse_all(session: AsyncSession, principal: Principal, plan: _Plan, on_conflict: OnConflict) -> NoReturn:
    """Raise all that stands against an atomic bulk, whichever check finds it."""
    if on_conflict == "error":
        for chosen, has_extras in _slices(plan):
            given = _parameters(principal, plan, chosen, has_extras) | _bounds(plan.times[chosen])
            others = await queries.different(session, given, has_extras=has_extras)
            plan.problems += _there_already(plan, chosen[others])
    _refuse(plan.rows, plan.problems)


async def _series(
    session: AsyncSession,
    principal: Principal,
    rows: Rows,
    entities: Mapping[str, UUID],
    problem_of: dict[int, Fault],
) -> list[int]:
    """The id of the series of each name; names that say another unit than their series get a problem."""
    wanted_by = {
        code: (entities[name.entity], name.metric, name.source)
        for code, name in enumerate(rows.names)
        if code not in problem_of
    }
    wanted: dict[tuple[UUID, str, str], str | None] = {}
    for code, key in wanted_by.items():
        wanted[key] = wanted.get(key) or rows.names[code].unit
    found = await queries.ensure_series(session, principal.workspace_id, wanted) if wanted else {}
    series_of = [0] * len(rows.names)
    for code, key in wanted_by.items():
        series_id, unit = found[key]
        said = rows.names[code].unit
        if said is None or said == unit:
            series_of[code] = series_id
        else:
            problem_of[code] = _other_unit(said, unit)
    return series_of


async def _unknown_versions(session: AsyncSession, rows: Rows) -> dict[int, Fault]:
    named = {extra.version_id for extra in rows.extras.values() if extra.version_id is not None}
    if not named:
        return {}
    there = await queries.versions_there(session, sorted(named))
    return {
        place: (
            "observation.unknown_version",
            f"There is no version {extra.version_id} of a document.",
            "GET /api/v1/documents/ID/versions lists those there are, or leave the evidence out",
            "/evidence/version_id",
        )
        for place, extra in rows.extras.items()
        if extra.version_id is not None and extra.version_id not in there
    }


def _unknown_entity(said: str) -> Fault:
    return (
        "observation.unknown_entity",
        f"There is no entity {said!r} in the catalogue.",
        "name one by its key or id; PUT /api/v1/entities/KEY makes one",
        "/entity",
    )


def _other_unit(said: str, unit: str | None) -> Fault:
    has = "no unit" if unit is None else f"the unit {unit!r}"
    return (
        "observation.other_unit",
        f"The series has {has}, and the row says {said!r}.",
        "convert the value, or give it another metric or source: one series has one unit",
        "/unit",
    )


def _problems(rows: Rows, problem_of: Mapping[int, Fault], bad_rows: Mapping[int, Fault]) -> Iterator[Problem]:
    for place, said in bad_rows.items():
        yield Problem(rows.numbers[place], *said)
    if not problem_of:
        return
    for place, code in enumerate(rows.codes):
        if code in problem_of and place not in bad_rows:
            yield Problem(rows.numbers[place], *problem_of[code])


def _months(times: np.ndarray) -> set[date]:
    found = np.unique(times.view("datetime64[us]").astype("datetime64[M]"))
    return {date.fromisoformat(f"{month}-01") for month in found.astype(str)}


def _refuse(rows: Rows, problems: Sequence[Problem]) -> NoReturn:
    first = min(problems, key=lambda problem: problem.row)
    count = "1 row" if len(problems) == 1 else f"{len(problems)} rows"
    raise Invalid(
        "observations.refused",
        f"{count} cannot be taken, the first is row {first.row}: {first.message}",
        hint=f"{first.fix}; nothing was added, since atomic was asked for",
        errors=[
            {"pointer": f"/{problem.row - rows.is_list}{problem.pointer}", "detail": f"{problem.message} {problem.fix}"}
            for problem in sorted(problems, key=lambda problem: problem.row)[:100]
        ],
    )


@dataclass
class _Plan:
    """Rows in the order of series and time, no two of the same key. places: where each stands among the rows as they came."""

    rows: Rows
    places: np.ndarray
    series_ids: np.ndarray
    times: np.ndarray
    values: np.ndarray
    problems: list[Problem]
    # Rows whose key came twice: those that said the same, and those of which another counts.
    same: int = 0
    replaced: int = 0
    kept: int = 0


def _plan(rows: Rows, prepared: _Prepared, on_conflict: OnConflict) -> _Plan:
    problems = [*rows.problems, *_problems(rows, prepared.problem_of, prepared.bad_rows)]
    codes = np.array(rows.codes, np.int64)
    series_ids = np.array(prepared.series_of or [0], np.int64)[codes]
    is_good = series_ids > 0
    is_good[list(prepared.bad_rows)] = False
    places = np.flatnonzero(is_good)
    times = np.array(rows.times, np.int64)
    order = np.lexsort((times[places], series_ids[places]))  # stable: of one key in the order they came
    places = places[order]
    values = np.array(rows.values, np.float64)
    plan = _Plan(rows, places, series_ids[places], times[places], values[places], problems)
    _leave_one_of_each(plan, on_conflict)
    return plan


def _leave_one_of_each(plan: _Plan, on_conflict: OnConflict) -> None:
    """Where a bulk says a key twice, the last counts, or the first where what is there is kept."""
    is_again = np.zeros(len(plan.places), bool)
    is_again[1:] = (plan.series_ids[1:] == plan.series_ids[:-1]) & (plan.times[1:] == plan.times[:-1])
    if not is_again.any():
        return
    is_left = np.ones(len(plan.places), bool)
    counts = 0  # the row that counts of the key at hand
    for n in range(len(plan.places)):
        if not is_again[n]:
            counts = n
            continue
        if _content(plan, n) == _content(plan, counts):
            plan.same += 1
            is_left[n] = False
        elif on_conflict == "replace":
            plan.replaced += 1
            is_left[counts] = False
            counts = n
        else:
            is_left[n] = False
            plan.kept += on_conflict == "keep"
            if on_conflict == "error":
                plan.problems.append(_differs(plan.rows.numbers[int(plan.places[n])], "is in this request before"))
    for name in ("places", "series_ids", "times", "values"):
        setattr(plan, name, getattr(plan, name)[is_left])


def _content(plan: _Plan, n: int) -> tuple[float, Extra]:
    return float(plan.values[n]), plan.rows.extras.get(int(plan.places[n]), _NO_EXTRA)


def _differs(row: int, where: str) -> Problem:
    return Problem(
        row,
        "observation.differs",
        f"Another value of the same series and time {where}.",
        "correct one of them, or send on_conflict=replace or keep",
        "/value",
    )


def _there_already(plan: _Plan, differing: np.ndarray) -> list[Problem]:
    return [_differs(plan.rows.numbers[int(place)], "is there already") for place in plan.places[differing]]


async def _write(
    sessions: Sessions,
    principal: Principal,
    plan: _Plan,
    on_conflict: OnConflict,
    is_atomic: bool,
    sha256: bytes | None,
    before_commit: BeforeCommit | None,
) -> Added:
    added = Added(new_id(), replaced=plan.replaced, unchanged=plan.same, kept=plan.kept, problems=plan.problems)
    held = np.unique(plan.series_ids)
    added.series = len(held)
    slices = list(_slices(plan))
    async with transaction(sessions) as session:
        await keys.recheck(session, principal)
        if len(held):
            await queries.hold_series(session, held.tolist())
        touched = [await _write_slice(session, principal, plan, each, on_conflict, added) for each in slices]
        if is_atomic and added.problems:
            _refuse(plan.rows, added.problems)
        await _make_hours(session, principal, plan, np.concatenate(touched) if touched else np.zeros(0, np.int64))
        if added.is_change:
            await _tell(session, principal, plan, added, sha256)
        added.problems.sort(key=lambda problem: problem.row)
        if before_commit is not None:
            await before_commit(session, added)
    return added


def _slices(plan: _Plan) -> Iterator[tuple[np.ndarray, bool]]:
    """Places in the plan that go into one statement, and whether their rows have more than a value."""
    has_extras = np.isin(plan.places, np.fromiter(plan.rows.extras, np.int64, len(plan.rows.extras)))
    for kind in (False, True):
        chosen = np.flatnonzero(has_extras == kind)
        for start in range(0, len(chosen), _ROWS_AT_ONCE):
            yield chosen[start : start + _ROWS_AT_ONCE], kind


async def _write_slice(
    session: AsyncSession,
    principal: Principal,
    plan: _Plan,
    of: tuple[np.ndarray, bool],
    on_conflict: OnConflict,
    added: Added,
) -> np.ndarray:
    """Write some rows, and count. Which of the plan were written, or may have been."""
    chosen, has_extras = of
    given = _parameters(principal, plan, chosen, has_extras)
    inserted = await queries.add(session, given, has_extras=has_extras)
    added.inserted += inserted
    if inserted == len(chosen):
        return chosen
    bounds = _bounds(plan.times[chosen])
    others = await queries.different(session, given | bounds, has_extras=has_extras)
    added.unchanged += len(chosen) - inserted - len(others)
    differing = chosen[others]
    if on_conflict == "replace" and others:
        replacing = _parameters(principal, plan, differing, has_extras)
        added.replaced += await queries.add(session, replacing, has_extras=has_extras, replaces=True)
    elif on_conflict == "keep":
        added.kept += len(others)
    else:
        added.problems += _there_already(plan, differing)
    if inserted:
        return chosen
    return differing if on_conflict == "replace" else chosen[:0]


def _parameters(principal: Principal, plan: _Plan, chosen: np.ndarray, has_extras: bool) -> dict[str, Any]:
    given: dict[str, Any] = {
        "workspace_id": principal.workspace_id,
        "series_ids": plan.series_ids[chosen].tolist(),
        "times": plan.times[chosen].tolist(),
        "values": plan.values[chosen].tolist(),
    }
    if has_extras:
        extras = [plan.rows.extras[place] for place in plan.places[chosen].tolist()]
        given["attributes"] = [extra.attributes for extra in extras]
        given["version_ids"] = [extra.version_id for extra in extras]
        given["starts"] = [extra.start for extra in extras]
        given["ends"] = [extra.end for extra in extras]
        given["quotes"] = [extra.quote_sha256 for extra in extras]
    return given


def _bounds(times: np.ndarray) -> dict[str, datetime]:
    """Whole hours around these times: PostgreSQL opens no other months."""
    low, high = int(times.min()) // _HOUR_US, int(times.max()) // _HOUR_US + 1
    return {"low": _EPOCH + timedelta(hours=low), "high": _EPOCH + timedelta(hours=high)}


async def _make_hours(session: AsyncSession, principal: Principal, plan: _Plan, touched: np.ndarray) -> None:
    """Make the hours of these rows: of a bulk's own rows where there is no such hour yet, and so no other row in it;
    else anew of all raw rows."""
    if not len(touched):
        return
    hours = plan.times // _HOUR_US * _HOUR_US
    begins = np.ones(len(hours), bool)
    begins[1:] = (plan.series_ids[1:] != plan.series_ids[:-1]) | (hours[1:] != hours[:-1])
    group_of = np.cumsum(begins) - 1
    chosen = np.flatnonzero(np.isin(group_of, np.unique(group_of[touched])))
    starts = np.flatnonzero(begins[chosen])
    for first, end in _whole_groups(starts, len(chosen)):
        of_rows, of_hours = chosen[first:end], chosen[starts[(starts >= first) & (starts < end)]]
        given = _parameters(principal, plan, of_rows, has_extras=False)
        there = await queries.add_hours(session, given)
        if len(there) == len(of_hours):
            continue
        told = zip(plan.series_ids[of_hours].tolist(), hours[of_hours].tolist(), strict=True)
        others = [n for n, (series_id, hour) in enumerate(told) if (series_id, moment_of(hour)) not in there]
        left = of_hours[others]
        given = {"workspace_id": principal.workspace_id, "series_ids": plan.series_ids[left].tolist()}
        await queries.make_hours(session, given | {"times": hours[left].tolist(), **_bounds(hours[left])})


def _whole_groups(starts: np.ndarray, count: int) -> Iterator[tuple[int, int]]:
    """Parts of so many rows in a statement, or of one group where that is larger: from, up to."""
    first = 0
    while first < count:
        later = starts[starts >= first + _ROWS_AT_ONCE]
        end = int(later[0]) if len(later) else count
        yield first, end
        first = end


def moment_of(time: int) -> datetime:
    """The moment so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=time)


async def _tell(session: AsyncSession, principal: Principal, plan: _Plan, added: Added, sha256: bytes | None) -> None:
    """One row of the audit and one event for all of it."""
    counts = {"inserted": added.inserted, "replaced": added.replaced, "series": added.series}
    first, last = map(moment_of, (int(plan.times.min()), int(plan.times.max())))
    about: dict[str, Any] = counts | {"first": first.isoformat(), "last": last.isoformat()}
    await access.record(session, principal, "observations.add", "bulk", added.id, after_sha256=sha256, **about)
    await events.emit(session, principal.workspace_id, "observations.added", "bulk", added.id, **about)


async def delete(
    session: AsyncSession,
    principal: Principal,
    series_ids: Sequence[int],
    start: datetime,
    end: datetime,
    *,
    is_dry: bool = False,
) -> int:
    """Delete what was observed from `start` up to `end`; how much. is_dry: nothing is deleted."""
    principal.require_whole("write")
    if is_dry:
        return await queries.count(session, series_ids, start, end)
    await queries.hold_series(session, series_ids)
    gone = await queries.delete(session, series_ids, start, end)
    if gone:
        bulk_id = new_id()
        about: dict[str, Any] = {
            "deleted": gone,
            "series": len(series_ids),
            "first": start.isoformat(),
            "end": end.isoformat(),
        }
        await access.record(session, principal, "observations.delete", "bulk", bulk_id, **about)
        await events.emit(session, principal.workspace_id, "observations.deleted", "bulk", bulk_id, **about)
    return gone
