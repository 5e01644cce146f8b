"""What tests of bundles do again and again: write one, change it, read it into another installation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from drystone import invariants
from drystone.bundle import container
from drystone.bundle.exporting import export
from drystone.bundle.importing import Imported, Place, import_
from drystone.bundle.schema import BundleManifest
from drystone.core.db import Sessions, transaction
from drystone.resources import Resources

Change = Callable[[dict[str, bytes]], None]


async def written(place: Place, path: Path, *names: str, **given: Any) -> BundleManifest:
    return await export(place.sessions, place.objects, path, names, **given)


async def read(place: Place, path: Path, **given: Any) -> Imported:
    with container.opened(path) as bundle:
        return await import_(place, bundle, **given)


async def begin_anew(place: Place) -> None:
    """Another installation, as far as the database goes."""
    async with transaction(place.sessions) as session:
        await session.execute(
            text("truncate collections, documents, versions, chunks, files, jobs, events, audit, deletions cascade")
        )
        await session.execute(
            text("truncate entities, modules, profiles, catalogues, catalogue_revisions, catalogue_edges cascade")
        )
        for table in ("observation_hours", "observations", "series"):
            await session.execute(text(f"delete from {table}"))
        await session.execute(
            text("truncate document_attributes, lexical_additions, lexical_segments, lexical_removals cascade")
        )


async def check_invariants(resources: Resources, sessions: Sessions) -> None:
    limits = invariants.Limits(lease_s=30, orphan_s=10**8, rehash=True)
    verdict = await invariants.check(sessions, resources.objects, limits, without=("I5",))
    assert verdict.holds, verdict.violations


async def rows(sessions: Sessions, statement: str) -> list[tuple[Any, ...]]:
    async with transaction(sessions) as session:
        return [tuple(row) for row in await session.execute(text(statement))]


def replaced(members: dict[str, bytes], name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    assert old in members[name]
    return {name: members[name].replace(old, new)}


def rewrite(folder: Path, change: Change, *, honest: bool = True) -> None:
    """Change members of a bundle in a folder. honest: its manifest says what is there now."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    members = {name: (folder / name).read_bytes() for name in names}
    change(members)
    if honest:
        manifest = json.loads(members["manifest.json"])
        for member in manifest["members"]:
            body = members[member["name"]]
            member |= {"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        members["manifest.json"] = json.dumps(manifest).encode()
    for name in names:
        if name not in members:
            (folder / name).unlink()
    for name, body in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)


def changed(name: str, old: bytes, new: bytes) -> Change:
    return lambda members: members.update(replaced(members, name, old, new))
