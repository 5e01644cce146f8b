"""What `drystone sync` has to do so that a collection mirrors a folder. Decides and deletes; sending is `adding`'s.

A document belongs to the mirror when its external_id begins with the prefix; what follows is its path in the folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drystone.cli import files
from drystone.cli.adding import Report
from drystone.cli.answers import Document
from drystone.cli.client import Client
from drystone.cli.files import Source
from drystone.core.errors import Conflict, Invalid, NotFound

# More deletions than both of these are asked about first.
_MANY, _MANY_SHARE = 10, 0.1
_IDS_AT_ONCE = 500


@dataclass
class Plan:
    """What differs between folder and collection. deletions: documents whose file is gone; failed: unchanged files
    whose document had failed."""

    additions: list[Source] = field(default_factory=list)
    changes: list[Source] = field(default_factory=list)
    deletions: list[Document] = field(default_factory=list)
    unchanged: int = 0
    failed: int = 0
    mirrored: int = 0

    @property
    def deletes_many(self) -> bool:
        """Whether so much would vanish that somebody should look at it first."""
        return len(self.deletions) > max(_MANY, self.mirrored * _MANY_SHARE)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "added": len(self.additions),
            "changed": len(self.changes),
            "deleted": len(self.deletions),
            "unchanged": self.unchanged,
            "failed_before": self.failed,
        }

    def as_json(self) -> dict[str, Any]:
        paths = {"added": self.additions, "changed": self.changes}
        found: dict[str, Any] = {name: [source.label for source in sources] for name, sources in paths.items()}
        return found | {"deleted": [document["external_id"] for document in self.deletions]}


def find(folder: Path, prefix: str) -> list[Source]:
    """The folder's files, hidden ones left out, each with the external_id that it has in the mirror.

    Raises NotFound for a folder that is not there, Invalid for one, or one below it, that cannot be read: half a
    folder must not look as if the other half had been deleted.
    """
    if not folder.is_dir():
        raise NotFound("sync.no_folder", f"There is no folder {folder}.", hint="check the path; nothing was changed")
    found = []
    for source in files.find([str(folder)]):
        path = os.fsencode(source.path.relative_to(folder).as_posix()).decode(errors="surrogateescape")
        if not path.isprintable():
            raise Invalid(
                "sync.bad_name",
                f"The name of {source.path} is no printable text.",
                hint="rename it: its path is the document's external_id",
            )
        found.append(replace(source, fields={"external_id": prefix + path}))
    return found


def mirrored(client: Client, collection: str, prefix: str) -> dict[str, Document]:
    """The documents of the mirror, by external_id; none where there is no such collection yet."""
    try:
        return {
            external_id: document
            for page in client.document_pages(collection=collection)
            for document in page
            if (external_id := document["external_id"]) is not None and external_id.startswith(prefix)
        }
    except NotFound:
        return {}


def plan(sources: Sequence[Source], there: Mapping[str, Document], *, delete: bool, allow_empty: bool) -> Plan:
    """What has to be sent and deleted. Raises Conflict when the folder is empty and the mirror is not."""
    if not sources and there and delete and not allow_empty:
        raise Conflict(
            "sync.empty_folder",
            f"The folder holds no files, and {len(there)} documents would be deleted.",
            hint="is it the right folder, and mounted? --allow-empty deletes them, --no-delete leaves them",
        )
    found = Plan(mirrored=len(there))
    for source in sources:
        document = there.get(source.fields["external_id"])
        if document is None:
            found.additions.append(source)
        elif not _is_same(source, document):
            found.changes.append(source)
        elif document["state"] == "failed":
            found.failed += 1
        else:
            found.unchanged += 1
    kept = {source.fields["external_id"] for source in sources}
    if delete:
        found.deletions = [document for external_id, document in there.items() if external_id not in kept]
    return found


def delete(client: Client, documents: Sequence[Document]) -> int:
    """Delete these; how many. One that is gone already was deleted by another sync."""
    ids = [document["id"] for document in documents]
    parts = (ids[begin : begin + _IDS_AT_ONCE] for begin in range(0, len(ids), _IDS_AT_ONCE))
    return sum(client.delete_documents({"ids": part})["count"] for part in parts)


def result(found: Plan, sent: Report | None, deleted: int) -> dict[str, Any]:
    """The report for programs."""
    counts = found.counts | {"deleted": deleted}
    outcomes: dict[str, Any] = {} if sent is None else sent.as_json()
    return {**counts, "sent": outcomes}


def _is_same(source: Source, document: Document) -> bool:
    try:
        if source.path.stat().st_size != document["size_bytes"]:
            return False
        with source.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == document["sha256"]
    except OSError:
        return False  # it is told as unreadable when it is to be sent
