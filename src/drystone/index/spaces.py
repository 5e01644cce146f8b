"""Embedding spaces and their vector tables: one table of fixed dimension a space, made by the owner role, with a view for readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters import embedding
from drystone.core.errors import Conflict, Unavailable
from drystone.core.reach import protection
from drystone.core.settings import EmbeddingSettings, Settings
from drystone.index.models import EmbeddingSpace

# Build parameters of the graph: docs/adr/0027.
HNSW_M = 16
HNSW_EF_CONSTRUCTION = 200
_BUILD_S = 86_400
# The model of every space whose vectors callers bring. Nobody knows which model made them, so those of two collections are
# never compared, although those of one dimension lie in one table.
CALLERS = "drystone:caller"
# As many as pgvector's graph takes of halves. Each that is asked for has a table of its own, for good, up to so many.
MAX_DIMENSION, MOST_CALLERS = 4000, 32


@dataclass(frozen=True)
class Space:
    """A model and the length of its vectors: what may be compared with what."""

    model: str
    dimension: int

    @property
    def full_name(self) -> str:
        """Also tells apart one model's vectors of two lengths."""
        return f"{self.model}/{self.dimension}"

    @property
    def is_callers(self) -> bool:
        """Whether callers bring its vectors: then no model here makes any."""
        return self.model == CALLERS

    def is_called(self, name: str) -> bool:
        """Whether a user's name for a model means this one."""
        return name == self.full_name or self.model in embedding.model_ids(name)


def model_of(settings: EmbeddingSettings) -> str:
    """The id of the configured model, which names its space."""
    return embedding.model_id(settings)


def space_of(settings: EmbeddingSettings) -> Space:
    """The space of the configured model."""
    return Space(model_of(settings), settings.dimension)


def configured(settings: Settings) -> list[Space]:
    """The spaces of EMBEDDING_…, which new collections get, and of NEXT_EMBEDDING_…, each once."""
    given = [settings.embedding, *([settings.next_embedding] if settings.next_embedding.provider else [])]
    return list(dict.fromkeys(map(space_of, given)))


def vector_table(space_id: int) -> str:
    """The name of a space's vector table; an identifier that needs no quoting."""
    return f"vectors_{int(space_id)}"


def graph_statement(space_id: int) -> str:
    """SQL that builds the graph over a space's vectors where there is none."""
    table = vector_table(space_id)
    return (
        f"create index if not exists ix_{table}_embedding on {table} using hnsw (embedding halfvec_ip_ops)"
        f" with (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
    )


async def ensure(session: AsyncSession, model: str, dimension: int, *, graph: bool = True) -> int:
    """The id of the space of this model, made with its table where it does not exist. Needs the owner role.

    graph: whether its vectors should have a graph in PostgreSQL; one that is there stays in any case.
    """
    await session.execute(insert(EmbeddingSpace).values(model=model, dimension=dimension).on_conflict_do_nothing())
    space_id = await find(session, model, dimension)
    table = vector_table(space_id)
    await session.execute(
        text(f"""
        create table if not exists {table} (
            chunk_id bigint primary key references chunks (id) on delete cascade,
            collection_id uuid not null,
            document_id uuid not null,
            embedding halfvec({int(dimension)}) not null
        )""")
    )
    if graph:
        await build_graph(session, space_id)
    await session.execute(text(f"create index if not exists ix_{table}_collection_id on {table} (collection_id)"))
    await session.execute(text(f"create index if not exists ix_{table}_document_id on {table} (document_id)"))
    if not await session.scalar(_IS_PROTECTED, {"table": table}):
        for statement in protection(table, _RULE.format(table=table)):
            await session.execute(text(statement))
    await session.execute(_MAKE_VIEW, {"space_id": space_id})
    return space_id


async def build_graph(session: AsyncSession, space_id: int) -> None:
    """Have PostgreSQL keep a graph of a space's vectors, however long that takes. Needs the owner role."""
    driver = (await (await session.connection()).get_raw_connection()).driver_connection
    assert driver is not None
    # Past SQLAlchemy, for its time limit: 100 000 vectors take 20 s.
    await driver.execute(graph_statement(space_id), timeout=_BUILD_S)


async def has_graph(session: AsyncSession, space_id: int) -> bool:
    """Whether PostgreSQL has a graph of a space's vectors; a walk without one reads the vectors of all collections."""
    found = text("select to_regclass(:index) is not null")
    return bool(await session.scalar(found, {"index": f"ix_{vector_table(space_id)}_embedding"}))


async def drop_graph(session: AsyncSession, space_id: int) -> bool:
    """Drop a space's graph in PostgreSQL; whether there was one. Needs the owner role, and waits for searches that run."""
    was_there = await has_graph(session, space_id)
    await session.execute(text(f"drop index if exists ix_{vector_table(space_id)}_embedding"))
    return was_there


async def of_callers(session: AsyncSession, dimension: int, *, graph: bool) -> Space:
    """The space of vectors of this dimension that callers bring, made where there is none; needs no other role.

    To be had in a transaction of its own: making one keeps passages from being written for a moment.
    Raises Conflict where there are too many of other dimensions.
    """
    made = text("select make_callers_space(cast(:dimension as integer), cast(:graph as boolean))")
    if await session.scalar(made, {"dimension": dimension, "graph": graph}) is None:
        raise Conflict(
            "vectors.too_many_dimensions",
            f"Vectors of {MOST_CALLERS} dimensions were brought here already, and {dimension} is another one.",
            hint="pad them with zeros to a dimension that is in use: cosines stay the same",
            pointer="/vectors/dimension",
        )
    return Space(CALLERS, dimension)


async def all_of_callers(session: AsyncSession) -> list[Space]:
    """Those that were made for vectors which callers bring."""
    query = select(EmbeddingSpace.dimension).where(EmbeddingSpace.model == CALLERS).order_by(EmbeddingSpace.id)
    return [Space(CALLERS, dimension) for dimension in await session.scalars(query)]


async def get(session: AsyncSession, space_id: int) -> Space:
    """The space of this id."""
    row = await session.get_one(EmbeddingSpace, space_id)
    return Space(row.model, row.dimension)


async def not_among(session: AsyncSession, known: Sequence[Space]) -> list[tuple[Space, int, str]]:
    """Other spaces of models that searches of live collections ask: how many ask each, and the name of one of them."""
    rows = await session.execute(_ASKED)
    found = [(Space(row.model, row.dimension), row.collections, row.first) for row in rows]
    return [each for each in found if each[0] not in known and not each[0].is_callers]


async def find(session: AsyncSession, model: str, dimension: int) -> int:
    """The id of a model's space. Raises Unavailable where it has not been made."""
    found = await session.scalar(
        select(EmbeddingSpace.id).where(EmbeddingSpace.model == model, EmbeddingSpace.dimension == dimension)
    )
    if found is None:
        raise Unavailable(
            "index.space_missing",
            f"The database has no space for {model} with {dimension} dimensions.",
            hint='run "drystone db migrate"',
        )
    return found


# A vector is reached by whoever reaches its collection.
_RULE = "exists (select from collections as referred where referred.id = {table}.collection_id)"
# By the names of a migration: what readers see of the passages in a space (docs/adr/0047).
_MAKE_VIEW = text("select make_passages_view(:space_id)")
_IS_PROTECTED = text("select relforcerowsecurity from pg_class where oid = to_regclass(:table)")

_ASKED = text("""
select s.model, s.dimension, count(*) as collections, min(k.name) as first
from collections k join embedding_spaces s on s.id = k.space_id
where k.deleted_at is null group by s.id, s.model, s.dimension order by s.id
""")
