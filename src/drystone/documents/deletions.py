"""The deletion log: what was deleted, in a file that no snapshot holds, so that nothing deleted comes back with one.

A line of JSON for each deletion, appended and synced. It is replayed before web and worker serve: by the id of the
document, so what was sent anew later, under an id of its own, stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.documents import collections, kept_files, queries
from drystone.jobs.broker import Nudger

ACTOR = "deletion-log"
_BATCH = 1000

log = get_logger("documents.deletions")

# One row of `deletions` as a line of the log.
_LINE = """
json_build_object('id', id, 'workspace_id', workspace_id, 'kind', subject_kind, 'subject_id', subject_id,
                  'external_id', external_id, 'sha256', encode(sha256, 'hex'), 'actor', actor, 'at', at)
""".replace("\n", " ")

# What the log lacks of a database that is down: hexadecimal, since its server then prints values without escaping them;
# and through JSON, since one of an older schema has no such column, and exported nothing.
UNEXPORTED = (
    f"SELECT encode(convert_to(({_LINE})::text, 'UTF8'), 'hex') AS line FROM deletions"
    " WHERE to_jsonb(deletions) ->> 'exported_at' IS NULL ORDER BY id"
)


def path_of(settings: Settings) -> Path:
    """Where the log is: beside the servers' folders, not in them."""
    return settings.general.data_dir / "deletions.jsonl"


async def export(sessions: Sessions, path: Path) -> int:
    """Append what the log lacks; how many lines. A crash in between may write a line twice, which does no harm.

    Raises Unavailable when the log cannot be written; then nothing is marked as if it had been.
    """
    total = 0
    while True:
        async with transaction(sessions) as session:
            rows = (await session.execute(_TAKE, {"limit": _BATCH})).all()
            if not rows:
                return total
            # Within the transaction, on purpose: marked as exported is only what is on disk.
            await asyncio.to_thread(append, path, [row.line for row in rows])
            await session.execute(_MARK, {"ids": [row.id for row in rows]})
        total += len(rows)


async def every(sessions: Sessions) -> AsyncIterator[str]:
    """All deletions that the database knows, as lines of the log."""
    after = 0
    while True:
        async with transaction(sessions) as session:
            rows = (await session.execute(_PAGE, {"after": after, "limit": _BATCH})).all()
        for row in rows:
            yield row.line
        if not rows:
            return
        after = rows[-1].id


def append(path: Path, lines: Iterable[str]) -> None:
    """Add lines and wait until the disk has them. A line that a crash left half written is ended first.

    Raises Unavailable when the file cannot be written.
    """
    with _writing(path):
        _append(path, lines)


def write(path: Path, lines: Iterable[str]) -> None:
    """Make the file anew. Raises Unavailable when it cannot be written."""
    with _writing(path):
        path.unlink(missing_ok=True)
        _append(path, lines)


def undo(path: Path, *, since: str) -> None:
    """Take back, for every replay to come, the deletions noted until now that were made since then (ISO 8601).

    The log stays append-only: what is taken back can still be read in it.
    """
    append(path, [json.dumps({"undone_since": since, "at": datetime.now(UTC).isoformat()})])


async def merged(log_path: Path, others: Callable[[], AsyncIterator[str]]) -> AsyncIterator[str]:
    """The lines of the log, with those of `others` that it lacks in places where they mean what they meant.

    What the log took back stays taken back: a deletion from before that stands before it. `others` is read twice.
    """
    known, undone = _known(log_path)

    async def lacking(*, after: bool) -> AsyncIterator[str]:
        async for line in others():
            told = _parse(line)
            if told is None or "undone_since" in told or _mark(told) in known:
                continue
            if (undone is None or _time(told["at"]) > undone) == after:
                yield line

    async for line in lacking(after=False):
        yield line
    for line in _raw(log_path):
        yield line
    async for line in lacking(after=True):
        yield line


async def replay(sessions: Sessions, nudger: Nudger, path: Path) -> int:
    """Delete again what the log says and the database still has; how many documents, collections and kept files.

    Harmless when done before. Each deletion has its audit row, by `deletion-log`.
    """
    total = 0
    lines = read(path)
    while batch := list(islice(lines, _BATCH)):
        total += await _delete(sessions, nudger, batch)
    if total:
        log.warning("deletions.replayed", count=total)
    return total


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The deletions that hold, in order; what was taken back is left out, and so is a line that cannot be read."""
    undone = [
        (number, _time(line["undone_since"])) for number, line in _parsed(path) if line and "undone_since" in line
    ]
    for number, line in _parsed(path):
        if line is None:
            log.warning("deletions.unreadable_line", path=str(path), line=number)
        elif "undone_since" not in line and not any(
            number < later and _time(line["at"]) >= since for later, since in undone
        ):
            yield line


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(
            "deletions.log_not_written",
            f"The deletion log {path} cannot be written: {exc.strerror}.",
            hint="make its folder, or make it writable, or make room on its disk",
        ) from exc


def _append(path: Path, lines: Iterable[str]) -> None:
    fresh = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(handle).st_size
        ends_well = size == 0 or os.pread(handle, 1, size - 1) == b"\n"
        body = ("" if ends_well else "\n") + "".join(f"{line}\n" for line in lines)
        _write_all(handle, body.encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    if fresh:
        _sync_folder(path.parent)


async def _delete(sessions: Sessions, nudger: Nudger, batch: list[dict[str, Any]]) -> int:
    documents = [UUID(line["subject_id"]) for line in batch if line["kind"] == "document"]
    files = [UUID(line["subject_id"]) for line in batch if line["kind"] == "file"]
    homes = [UUID(line["subject_id"]) for line in batch if line["kind"] == "collection"]
    async with transaction(sessions) as session:
        touched = await queries.tombstone(session, "id = any(:gone)", {"gone": documents}, actor=ACTOR, request_id=None)
        for collection_id, (workspace_id, _) in touched.items():
            await collections.purge_later(session, nudger, workspace_id, collection_id)
        found = await queries.lock_collections(session, homes)
        for collection in found:
            principal = Principal(collection.workspace_id, ACTOR, frozenset({"admin"}))
            await collections.remove(session, nudger, principal, collection)
        gone = await kept_files.remove(session, files, actor=ACTOR)
    return sum(count for _, count in touched.values()) + len(found) + gone


def _raw(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from (line.rstrip("\n") for line in file if line.strip())


def _known(path: Path) -> tuple[set[int], datetime | None]:
    """Marks of the deletions in a log, and when it last took any back."""
    marks, undone = set(), None
    for _, line in _parsed(path):
        if line and "undone_since" in line:
            undone = _time(line["at"])
        elif line:
            marks.add(_mark(line))
    return marks, undone


def _mark(line: dict[str, Any]) -> int:
    """A number that tells one deletion from another, small enough to keep for each of a million."""
    said = f"{line['kind']} {line['subject_id']} {_time(line['at']).timestamp()}"
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest())


def _parse(line: str) -> dict[str, Any] | None:
    # Whatever stands there, nothing of it may keep a stack from starting.
    try:
        return _checked(json.loads(line))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _parsed(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each line with its number; None for one that is neither a deletion nor a taking back. Empty lines are nothing."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            yield number, _parse(line)


def _checked(line: Any) -> dict[str, Any]:
    """The line, if it says what it must; otherwise it raises whatever comes of looking."""
    _time(line["at"])
    if "undone_since" in line:
        _time(line["undone_since"])
    else:
        UUID(line["subject_id"])
        ("document", "collection", "file").index(line["kind"])
    return dict(line)


def _time(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _write_all(handle: int, body: bytes) -> None:
    while body:
        body = body[os.write(handle, body) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# One exporter at a time has a row; another passes over it.
_TAKE = text(f"""
select id, cast({_LINE} as text) as line
from deletions
where exported_at is null
order by id limit :limit for update skip locked
""")

_MARK = text("update deletions set exported_at = clock_timestamp() where id = any(:ids)")

_PAGE = text(f"select id, cast({_LINE} as text) as line from deletions where id > :after order by id limit :limit")
