"""Golden queries: questions made of the data itself, asked through the real search when a backup is made and when it is proven.

Graphs of vectors are left aside, which are built anew by a restore and find almost the same: every vector is compared.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.backup import queries
from drystone.backup.manifest import Golden, Hit
from drystone.core.db import make_engine, make_sessions
from drystone.core.errors import DrystoneError
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.index.embedders import Embedders
from drystone.index.lexical import Lexicon
from drystone.index.vectors import PgGraph
from drystone.search import service
from drystone.search.context import Searcher
from drystone.search.schemas import Question

SAMPLES = 12
_WORDS = 12
_HITS = 10
_MODES = ("lexical", "hybrid")
# Sorting all in place of a walk: exact, and slower than anybody would search.
_EXACT = {"enable_indexscan": "off"}

log = get_logger("backup.golden")


@asynccontextmanager
async def searcher(settings: Settings, embedders: Embedders, *, snapshot: str | None = None) -> AsyncIterator[Searcher]:
    """What searches are made with, by the owner's role. snapshot: the one that all of them look at."""
    engine = make_engine(
        settings.database.migration_url.get_secret_value(),
        pool_size=1,
        application_name="drystone-backup",
        parameters=_EXACT,
        command_timeout_s=600,
    )

    def look(connection: Any) -> None:
        connection.exec_driver_sql(f"set transaction snapshot '{snapshot}'")

    if snapshot is not None:
        event.listen(engine.sync_engine, "begin", look)
    try:
        readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
        yield Searcher(readers, embedders, Lexicon(cache_bytes=settings.search.cache_mb << 20), PgGraph())
    finally:
        await engine.dispose()


async def make(session: AsyncSession, searcher: Searcher, *, samples: int = SAMPLES) -> list[Golden]:
    """Questions of the beginnings of some passages, with what is found. One that cannot be asked is left out."""
    made = []
    for row in await queries.passages(session, limit=samples):
        words = re.findall(r"\w+", row.text)[:_WORDS]
        for mode in _MODES if words else ():
            question = Golden(
                workspace_id=str(row.workspace_id),
                collection=row.collection,
                mode=mode,
                query=" ".join(words)[:400],
                hits=[],
            )
            try:
                hits = await ask(searcher, question)
            except DrystoneError as exc:  # a collection of another model, say
                log.warning("backup.question_left_out", code=exc.code, mode=mode)
                continue
            made.append(question.model_copy(update={"hits": hits}))
    return made


async def ask(searcher: Searcher, golden: Golden) -> list[Hit]:
    """What a search finds for it now. Raises as `search` does."""
    principal = Principal(golden.workspace, "backup", frozenset({"read"}))
    mode = cast(Literal["hybrid", "lexical"], golden.mode)
    answer = await service.search(
        searcher, principal, Question([golden.query], [golden.collection], mode=mode, limit=_HITS, rerank=False)
    )
    return [
        Hit(document_id=str(hit.document.id), version_id=str(hit.version_id), ordinal=hit.ordinal)
        for hit in answer.hits
    ]


async def differing(searcher: Searcher, golden: Sequence[Golden]) -> list[str]:
    """A line for each question that finds something else than it did."""
    told = []
    for one in golden:
        try:
            now = await ask(searcher, one)
        except DrystoneError as exc:
            told.append(f"{one.mode} search in {one.collection}: {exc.message}")
            continue
        if now != one.hits:
            same = len({hit.model_dump_json() for hit in now} & {hit.model_dump_json() for hit in one.hits})
            told.append(f"{one.mode} search in {one.collection}: {same} of {len(one.hits)} hits are the same")
    return told
