"""`drystone vectors`: where the graphs of vectors are. docs/guides/qdrant.md"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drystone.index.feeding import Progress

vectors = typer.Typer(
    no_args_is_help=True,
    help="""Where the graphs of vectors are: in PostgreSQL, or in Qdrant as well.

    [bold]Examples[/bold]
    drystone vectors status
    drystone vectors drop-graph""",
)


@vectors.command("status")
def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """How many vectors each space has, and how many of them Qdrant does not know yet. PostgreSQL must be up."""
    import asyncio
    import dataclasses

    from drystone.cli import terminal

    found = asyncio.run(_progress())
    if as_json:
        terminal.print_json({"spaces": [dataclasses.asdict(each) for each in found]})
        return
    for each in found:
        typer.echo(f"{each.model}, {each.dimension} numbers: {each.vectors} vectors")
        typer.echo(f"  PostgreSQL: {'has' if each.has_graph else 'has no'} graph of them")
        if each.name is not None:
            asked = "asked by searches" if each.is_asked else "not asked yet"
            typer.echo(f"  Qdrant: {each.name}, {each.pending} wait, {asked}")


@vectors.command("drop-graph")
def drop_graph() -> None:
    """Drop PostgreSQL's own graph once searches ask Qdrant: it costs memory, and time at every upload.

    "drystone db migrate" builds it again when VECTOR_STORE is pgvector.
    """
    import asyncio

    from drystone.core.errors import Invalid
    from drystone.core.settings import load
    from drystone.stack import root

    if load(root.find()).vectors.store == "pgvector":
        raise Invalid(
            "vectors.only_graph", "With VECTOR_STORE=pgvector this is the only graph.", hint="docs/guides/qdrant.md"
        )
    typer.echo(f"graphs dropped: {asyncio.run(_drop_graphs())}", err=True)


async def _progress() -> list[Progress]:
    from drystone.core.db import make_engine, make_sessions, transaction
    from drystone.core.settings import load
    from drystone.index import feeding
    from drystone.stack import root

    url = load(root.find()).database.url.get_secret_value()
    engine = make_engine(url, pool_size=1, application_name="drystone-vectors")
    try:
        async with transaction(make_sessions(engine)) as session:
            return await feeding.progress(session)
    finally:
        await engine.dispose()


async def _drop_graphs() -> int:
    from drystone.core.db import make_engine, make_sessions, transaction
    from drystone.core.settings import load
    from drystone.index import feeding
    from drystone.stack import root

    url = load(root.find()).database.migration_url.get_secret_value()
    engine = make_engine(url, pool_size=1, application_name="drystone-vectors")
    try:
        async with transaction(make_sessions(engine)) as session:
            return await feeding.drop_graphs(session)
    finally:
        await engine.dispose()
