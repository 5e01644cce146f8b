"""What a backup says about itself: a small JSON file, written last, that makes what lies beside it a backup.

What may be large (the dump, the catalogue of objects, the deletion log) lies in pieces under their SHA-256, and is named here.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drystone.core.errors import Conflict, Invalid

FORMAT = 1
# A manifest names a piece for each 64 MB of the dump: this is one of tens of terabytes.
MAX_BYTES = 64 * 1024 * 1024

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Ge(0)]
BackupId = Annotated[str, Field(pattern=r"^\d{8}T\d{6}Z-[0-9a-f]{6}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Piece(_Part):
    """A part of something long, under its hash."""

    sha256: Sha256
    size_bytes: Size


class Objects(_Part):
    """The blobs that the dump refers to. new, new_bytes: of those, what the target did not hold before.

    gone: were purged between the dump and the copy; the deletion log of this backup knows why. missing, wrong: the database
    wants them, and the store did not have them, or had other bytes.
    """

    count: Size
    size_bytes: Size
    new: Size
    new_bytes: Size
    gone: list[Sha256]
    missing: list[Sha256]
    wrong: list[Sha256]


class Hit(_Part):
    """A passage that a search gave. What a snapshot keeps of it: its version and its place there."""

    document_id: str
    version_id: str
    ordinal: int


class Golden(_Part):
    """A question with what was found when the backup was made."""

    workspace_id: str
    collection: str
    mode: str
    query: str
    hits: list[Hit]

    @property
    def workspace(self) -> UUID:
        return UUID(self.workspace_id)


class Manifest(_Part):
    """One backup. created_at: the moment that it shows, by the clock of the database. names: of roles and database.

    counts: rows of each table. golden: none, where the schema was not that of the code.
    """

    id: BackupId
    created_at: str
    finished_at: str
    software: str
    schema_revision: str
    postgres: str
    names: dict[str, str]
    dump: list[Piece]
    catalogue: list[Piece]
    deletions: list[Piece]
    objects: Objects
    counts: dict[str, Size]
    golden: list[Golden]

    @property
    def is_whole(self) -> bool:
        """Whether all that the database wanted is in it."""
        return not (self.objects.missing or self.objects.wrong)

    @property
    def pieces(self) -> list[Piece]:
        return [*self.dump, *self.catalogue, *self.deletions]

    @property
    def dump_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self.dump)

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.created_at)

    def as_bytes(self) -> bytes:
        """As it is kept, with a checksum over all of it."""
        body = {"format": FORMAT, **self.model_dump()}
        return json.dumps({**body, "sha256": _checksum(body)}, indent=1).encode()

    @classmethod
    def parse(cls, name: str, raw: bytes) -> Manifest:
        """Raises Invalid for one that was changed or cut short, Conflict for one of another format."""
        try:
            body: dict[str, Any] = json.loads(raw)
            told = body.pop("sha256")
            if told != _checksum(body):
                raise damaged(name, "its manifest has been changed")
            if (found := body.pop("format")) != FORMAT:
                raise Conflict(
                    "backup.format",
                    f"Backup {name} has format {found}; this version of drystone reads format {FORMAT}.",
                    hint="use the version of drystone that made it, or a newer one",
                )
            made = cls.model_validate(body)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ValidationError) as exc:
            raise damaged(name, "its manifest cannot be read") from exc
        if made.id != name:
            raise damaged(name, f"its manifest is that of {made.id}")
        return made


def damaged(name: str, what: str) -> Invalid:
    return Invalid(
        "backup.damaged",
        f"Backup {name} is damaged: {what}.",
        hint="drystone backup list TARGET shows others; drystone backup verify tells all that is wrong with one",
    )


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
