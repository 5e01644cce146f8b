"""What `drystone sync` has to do so that a collection mirrors a folder. Decides and deletes; sending is `adding`'s.

A document belongs to the mirror when its external_id begins with the prefix; what follows is its path in the folder.
Its attribute `sync_folder` says which folder on which host it came from: two folders of one name keep apart.
"""

from __future__ import annotations

import hashlib
import json
import socket
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drystone.cli import files
from drystone.cli.adding import Item, Report
from drystone.cli.answers import Document
from drystone.cli.client import Client
from drystone.cli.files import Source
from drystone.core.errors import Conflict, NotFound

# More deletions than both of these are asked about first.
_MANY, _MANY_SHARE = 10, 0.1
_IDS_AT_ONCE = 500
# The attribute of a document that names its folder.
_FOLDER = "sync_folder"


@dataclass
class Plan:
    """What differs between folder and collection. deletions: documents whose file is gone; failed: unchanged files
    whose document had failed; foreign: what would be changed or deleted and came from another folder."""

    additions: list[Source] = field(default_factory=list)
    changes: list[Source] = field(default_factory=list)
    deletions: list[Document] = field(default_factory=list)
    unchanged: int = 0
    failed: list[Item] = field(default_factory=list)
    foreign: list[Document] = field(default_factory=list)
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
            "failed_before": len(self.failed),
        }

    def as_json(self) -> dict[str, Any]:
        paths = {"added": self.additions, "changed": self.changes}
        found: dict[str, Any] = {name: [source.label for source in sources] for name, sources in paths.items()}
        return found | {"deleted": [document["external_id"] for document in self.deletions]}


def origin(folder: Path) -> str:
    """The folder as its documents remember it: host and path."""
    return f"{socket.gethostname()}:{files.as_text(folder.resolve())}"


def find(folder: Path, prefix: str) -> tuple[list[Source], list[Item]]:
    """The folder's files, hidden ones left out, each with the external_id that it has in the mirror; and those refused.

    Raises NotFound for a folder that is not there, Invalid for one, or one below it, that cannot be read: half a
    folder must not look as if the other half had been deleted.
    """
    if not folder.is_dir():
        raise NotFound("sync.no_folder", f"There is no folder {folder}.", hint="check the path; nothing was changed")
    found, refused = list[Source](), list[Item]()
    for source in files.find([str(folder)]):
        path = source.path.relative_to(folder).as_posix()
        if _is_text(path):
            found.append(replace(source, fields={"external_id": prefix + path}))
        else:
            refused.append(_badly_named(source))
    return found, refused


def _is_text(path: str) -> bool:
    """Whether it has no control characters and no bytes that are no UTF-8. Narrow spaces and joiners are text."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in path)


def _badly_named(source: Source) -> Item:
    item = Item(source)
    item.end(
        "refused",
        code="sync.bad_name",
        message="The name of the file has control characters, or bytes that are no UTF-8.",
        hint="rename it: its path is the document's external_id",
    )
    return item


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


def plan(
    sources: Sequence[Source], there: Mapping[str, Document], here: str, *, delete: bool, allow_empty: bool
) -> Plan:
    """What has to be sent and deleted. here: the folder's `origin`.

    Raises Conflict when the folder is empty and the mirror is not.
    """
    if not sources and there and delete and not allow_empty:
        raise Conflict(
            "sync.empty_folder",
            f"The folder holds no files, and {len(there)} documents would be deleted.",
            hint="is it the right folder, and mounted? --allow-empty deletes them, --no-delete leaves them",
        )
    found = Plan(mirrored=len(there))
    for source in sources:
        _place(source, there.get(source.fields["external_id"]), found, here)
    kept = {source.fields["external_id"] for source in sources}
    # Behind a link that leads nowhere there may be a share that is not mounted.
    away = tuple(f"{source.fields['external_id']}/" for source in sources if _leads_nowhere(source.path))
    if delete:
        found.deletions = [
            document
            for external_id, document in there.items()
            if external_id not in kept and not external_id.startswith(away)
        ]
    knows_none = bool(sources) and kept.isdisjoint(there)
    found.foreign += [each for each in found.deletions if _is_foreign(each, here, without_origin=knows_none)]
    return found


def _leads_nowhere(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:
        return True


def check_origin(found: Plan, prefix: str) -> None:
    """Raise Conflict when documents of another folder would be changed or deleted."""
    if not found.foreign:
        return
    other = found.foreign[0]["attributes"].get(_FOLDER)
    whose = f"came from {other}" if other else "are none of this folder's files"
    raise Conflict(
        "sync.other_folder",
        f"{len(found.foreign)} documents under {prefix} that would be changed or deleted {whose}.",
        hint="give this folder a --prefix of its own; --take-over if it is the same folder, moved",
    )


def take_over(client: Client, there: Mapping[str, Document], here: str) -> None:
    """Let what stays in the mirror remember this folder."""
    for document in there.values():
        if document["attributes"].get(_FOLDER) != here:
            client.set_attribute(document["id"], _FOLDER, here)


def _place(source: Source, document: Document | None, found: Plan, here: str) -> None:
    if document is None:
        found.additions.append(_marked(source, {}, here))
    elif not _is_same(source, document):
        is_marked = document["attributes"].get(_FOLDER) == here
        found.changes.append(source if is_marked else _marked(source, document["attributes"], here))
        if _is_foreign(document, here):
            found.foreign.append(document)
    elif document["state"] == "failed":
        item = Item(source, document_id=document["id"])
        error = document["error"] or {"code": "document.failed", "message": "It failed without a reason.", "hint": None}
        item.end("failed", code=error["code"], message=error["message"], hint=error["hint"])
        found.failed.append(item)
    else:
        found.unchanged += 1


def _marked(source: Source, attributes: Mapping[str, Any], here: str) -> Source:
    return replace(source, fields={**source.fields, "attributes": json.dumps({**attributes, _FOLDER: here})})


def _is_foreign(document: Document, here: str, *, without_origin: bool = False) -> bool:
    origin = document["attributes"].get(_FOLDER)
    return without_origin if origin is None else origin != here


def delete(client: Client, documents: Sequence[Document]) -> int:
    """Delete these; how many. One that is gone already was deleted by another sync."""
    ids = [document["id"] for document in documents]
    parts = (ids[begin : begin + _IDS_AT_ONCE] for begin in range(0, len(ids), _IDS_AT_ONCE))
    return sum(client.delete_documents({"ids": part})["count"] for part in parts)


def outcome(found: Plan, sent: Report | None, refused: Sequence[Item]) -> Report:
    """What became of every file that is not simply there: those sent, those refused here, those that had failed."""
    items = [*(sent.items if sent else ()), *refused, *found.failed]
    return Report(items, sent.took_s if sent else 0.0, sent.fatal if sent else None)


def counts(found: Plan, report: Report, deleted: int) -> dict[str, int]:
    """What was done, of what was planned: a refused file is not added."""
    taken = {item.source.label for item in report.items if item.document_id is not None}
    done = {"added": found.additions, "changed": found.changes}
    sent = {name: sum(source.label in taken for source in sources) for name, sources in done.items()}
    return found.counts | sent | {"deleted": deleted}


def _is_same(source: Source, document: Document) -> bool:
    try:
        if source.path.stat().st_size != document["size_bytes"]:
            return False
        with source.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == document["sha256"]
    except OSError:
        return False  # it is told as unreadable when it is to be sent
