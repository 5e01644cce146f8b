"""`drystone ask`: a question answered in sentences, each with the number of what bears it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from drystone.cli.data import AsJson, json_object
from drystone.core.errors import DrystoneError


def ask(
    question: Annotated[list[str], typer.Argument(metavar="QUESTION…", help="No quotes are needed.")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="Where to look; several are searched as one.")
    ] = None,
    mode: Annotated[
        Literal["auto", "extractive", "generated"],
        typer.Option(
            help="generated: a model writes; extractive: sentences of the documents; auto: the first where it can be had."
        ),
    ] = "auto",
    passages: Annotated[
        int, typer.Option("--passages", "-n", min=1, max=20, help="How many passages it may rest on.")
    ] = 8,
    sentences: Annotated[int, typer.Option("--sentences", min=1, max=10, help="Of an extractive answer, at most.")] = 3,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="A filter over the documents' attributes and fields.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(
            "--entity", "-e", metavar="KEY", help="Only documents that mention this entity; several: all of them."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question in sentences, and say what bears each of them.

    Without a model (ANSWER_URL) these are sentences of the documents. What a model writes is held against them:
    a sentence that no passage bears is marked with ✗ and why.

    [bold]Examples[/bold]
    drystone ask when was the bridge opened
    drystone ask "why do thin shells buckle" -c papers --mode extractive
    drystone ask "limits in cities" --entity no2 --json | jq '.sentences[] | select(.is_supported).text'
    """
    from drystone.cli import places, terminal
    from drystone.cli import sentences as shown
    from drystone.cli.client import open_client

    body: dict[str, Any] = {"question": " ".join(question), "mode": mode}
    body |= {"passages": passages, "sentences": sentences}
    filters = [{"type": "eq", "key": "$entity", "value": key} for key in entity or []]
    if filter_ is not None:
        filters.append(json_object(filter_))
    if filters:
        body["filter"] = filters[0] if len(filters) == 1 else {"type": "and", "filters": filters}
    with open_client() as client, places.looking(client, collection) as collections:
        body["collections"] = collections
        if as_json:
            terminal.print_json(client.ask(body))
            return
        screen = shown.Screen()
        try:
            for kind, data in client.asked(body):
                screen.take(kind, data)
        except DrystoneError:
            screen.sources()
            raise
        nothing = ""
        if screen.is_without_passages:
            nothing = places.nothing("answer", collections, client.collections(), named=bool(collection))
    screen.end(collections, nothing)
