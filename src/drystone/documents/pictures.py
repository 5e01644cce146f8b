"""Pages of a PDF as pictures: found as its document is, drawn in the parsers' cage, and kept for a while.

What was drawn is kept by what it shows, not by who asked: who may see it is asked of the database each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import Parser, ParserDied
from drystone.core.errors import DrystoneError, Invalid, NotFound
from drystone.core.settings import ParsingSettings
from drystone.core.spool import Spool
from drystone.core.turnstile import Turnstile, Turnstiles
from drystone.documents import service
from drystone.documents.models import Chunk, File, Version
from drystone.documents.service import DocumentView

# One at a time in a process: somebody waits for each, and it takes a core.
AT_ONCE, WAIT_S = 1, 10.0
# Of one key; whoever comes then is refused at once.
MOST_WAITING = 10
# A page takes a tenth of a second or two; one that takes this much of the processor is not worth it.
CPU_S = 4
# So much longer that a page which is too much meets the processor's limit first, also on a busy machine: that is remembered.
WALL_S = 10
_WIDTH = 1200
_KEPT_BYTES = 32 << 20
# Part of each tag: raise it when a page would be drawn otherwise.
_MANNER = 1
_PDF = "application/pdf"
_WHAT = "pages to be drawn"


@dataclass(frozen=True)
class Pages:
    """The pages of a PDF that search sees: where each begins in its text."""

    file: File
    version_id: UUID
    starts: list[int]

    def span(self, page: int) -> tuple[int, int | None]:
        """Where a page, from 1, begins in the text, and where the next one does; None after the last. Raises NotFound."""
        if not 1 <= page <= len(self.starts):
            raise NotFound(
                "document.no_such_page",
                f"There is no page {page}.",
                hint=f"it has pages 1 to {len(self.starts)}" if self.starts else "its pages are not known yet",
            )
        return self.starts[page - 1], self.starts[page] if page < len(self.starts) else None

    def at(self, start: int) -> int:
        """The page, from 1, that a code point of the text stands on."""
        return max(1, sum(1 for each in self.starts if each <= start))


@dataclass(frozen=True)
class Sheet:
    """A page, from 1, to be drawn. passage: what of it is to be marked."""

    file: File
    page: int
    passage: str

    @property
    def etag(self) -> str:
        said = f"{_MANNER} {self.file.sha256.hex()} {self.page} {_WIDTH} {self.passage}"
        return f'"{hashlib.sha256(said.encode()).hexdigest()[:32]}"'


async def pages_of(session: AsyncSession, view: DocumentView) -> Pages | None:
    """The pages of a document; None where it is no PDF, or is not searchable yet."""
    query = select(Version, File).join(File, File.id == Version.file_id)
    row = (await session.execute(query.where(Version.id == view.document.current_version_id))).one_or_none()
    if row is None or row.File.media_type != _PDF or not row.Version.page_starts:
        return None
    return Pages(row.File, row.Version.id, row.Version.page_starts)


async def starts_of(session: AsyncSession, version_ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    """Where the pages of versions begin in their texts; left out are those that have none."""
    query = select(Version.id, Version.page_starts).where(Version.id.in_(version_ids))
    return {row.id: row.page_starts for row in await session.execute(query) if row.page_starts}


async def find(
    session: AsyncSession, principal: Principal, document_id: UUID, page: int, *, at: int | None = None
) -> Sheet:
    """A page of a document. at: a code point of the passage that is marked. Raises NotFound."""
    view = await service.get_document(session, principal, document_id)
    pages = await pages_of(session, view)
    if pages is None:
        raise NotFound("document.no_pages", "This document has no pages that could be drawn.", hint="read its text")
    begin, end = pages.span(page)
    passage = "" if at is None else await _passage(session, pages.version_id, at, begin, end)
    return Sheet(pages.file, page, passage)


async def _passage(session: AsyncSession, version_id: UUID, at: int, begin: int, end: int | None) -> str:
    """What stands on a page of the passage with this code point."""
    query = select(Chunk.text, Chunk.start).where(Chunk.version_id == version_id, Chunk.start <= at, Chunk.end > at)
    row = (await session.execute(query.order_by(Chunk.ordinal.desc()).limit(1))).one_or_none()
    if row is None:
        return ""
    return str(row.text[max(0, begin - row.start) : None if end is None else max(0, end - row.start)])


class Pictures:
    """Draws pages, each in a child process of its own with little time. What was drawn, and what could not be, is kept."""

    def __init__(self, limits: ParsingSettings, objects: Objects, spool_folder: Path) -> None:
        short = {"wall_s": min(WALL_S, limits.wall_s), "cpu_s": min(CPU_S, limits.cpu_s)}
        self._parser = Parser(limits.model_copy(update=short))
        self._objects = objects
        self._spool_folder = spool_folder
        # One request of each key is in line for the turn: a key's many slow pages keep another's waiting for one of them.
        self._lines = Turnstiles(1, wait_s=WAIT_S, most_waiting=MOST_WAITING, what=_WHAT)
        self._turns = Turnstile(AT_ONCE, wait_s=WAIT_S, what=_WHAT)
        self._kept: LRUCache[str, bytes | Invalid] = LRUCache(_KEPT_BYTES, getsizeof=_size)

    async def get(self, sheet: Sheet, *, of: Hashable) -> bytes:
        """The page as PNG; of: whose request it is. What is kept waits for nobody.

        Raises Invalid where it cannot be drawn, Unavailable where too many are asked for.
        """
        drawn = self._kept.get(sheet.etag)
        if drawn is None:
            async with self._lines.turn(of), self._turns.turn():
                drawn = await self._draw_once(sheet)
        if isinstance(drawn, Invalid):
            raise Invalid(drawn.code, drawn.message, hint=drawn.hint)
        return drawn

    async def aclose(self) -> None:
        """End the processes that draw."""
        await self._parser.aclose()

    async def _draw_once(self, sheet: Sheet) -> bytes | Invalid:
        """Unless somebody before in line had the same drawn."""
        drawn = self._kept.get(sheet.etag)
        if drawn is None:
            drawn = await self._draw(sheet)
            if not _is_passing(drawn):
                self._kept[sheet.etag] = drawn
        return drawn

    async def _draw(self, sheet: Sheet) -> bytes | Invalid:
        try:
            async with self._opened(sheet.file) as body:
                picture = await self._parser.draw(body, sheet.page - 1, width=_WIDTH, passage=sheet.passage)
        except Invalid as exc:
            return exc
        except ParserDied:
            return Invalid("document.corrupt", "Drawing the page broke the program that draws it.")
        return await asyncio.to_thread(picture.png)

    @contextlib.asynccontextmanager
    async def _opened(self, file: File) -> AsyncIterator[BinaryIO | bytes]:
        spool = Spool(self._spool_folder)
        try:
            async for part in await service.open_content(self._objects, file):
                await spool.write(part)
            await spool.finish()
            yield spool.body.read() if isinstance(spool.body, io.BytesIO) else spool.body
        finally:
            spool.close()


def _is_passing(drawn: bytes | Invalid) -> bool:
    """Whether another try may end otherwise: on a busy machine the time was over before the processor's was."""
    return isinstance(drawn, Invalid) and drawn.code == "parse.timeout"


def _size(drawn: bytes | DrystoneError) -> int:
    return len(drawn) if isinstance(drawn, bytes) else 1000
