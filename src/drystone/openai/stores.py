"""What all routes below /vector_stores begin with: the collection that is meant, and files that are put into it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Invalid, NotFound
from drystone.documents import collections, kept_files
from drystone.documents.kept_files import no_file
from drystone.documents.models import Collection
from drystone.documents.receiving import Received
from drystone.jobs.broker import Nudger
from drystone.openai import ids
from drystone.openai.store_schemas import FileToAttach


async def find(session: AsyncSession, caller: Principal, store_id: str, *, share: bool = False) -> Collection:
    """The collection of this id. share: it cannot be deleted before the transaction ends. Raises NotFound."""
    name = str(ids.read(ids.STORE, store_id, no_store))
    try:
        return await collections.get(session, caller, name, share=share)
    except NotFound as exc:
        raise no_store(store_id) from exc


async def attach_all(
    session: AsyncSession,
    nudger: Nudger,
    caller: Principal,
    store: Collection,
    files: Sequence[FileToAttach],
    *,
    batch_id: UUID | None = None,
) -> list[Received]:
    """Put files into a store whose row the caller shares, all or none. Raises NotFound; Invalid for what cannot be read."""
    for file in files:
        if file.chunking_strategy is not None:
            file.chunking_strategy.check()
    if len({file.file_id for file in files}) < len(files):
        raise Invalid("file.twice", "A file is named twice.", hint="name each once", pointer="/file_ids")
    # In one order, so that two requests with the same files wait for each other instead of for ever.
    return [
        await kept_files.attach(
            session,
            nudger,
            caller,
            ids.read(ids.FILE, file.file_id, no_file),
            store,
            attributes=file.attributes,
            batch_id=batch_id,
        )
        for file in sorted(files, key=lambda file: file.file_id)
    ]


def no_store(store_id: str) -> NotFound:
    """The error for a vector store that does not exist, or not for this caller."""
    return NotFound(
        "vector_store.not_found",
        f"There is no vector store {store_id}.",
        hint="list those there are; one that expired is deleted",
        pointer="/vector_store_id",
    )
