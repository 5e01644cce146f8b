"""`drystone embedding`: which models a collection has, and its change from one to another.

A client of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drystone.cli.answers import Mode

if TYPE_CHECKING:
    from drystone.cli.client import Client
    from drystone.evaluation.agreement import Agreement, Summary

_RETRY_S = 60.0
_POLL_S = 1.0
# Queries of one request; the API takes up to 100.
_AT_ONCE = 25
# Queries that would be answered most differently.
_SHOWN = 5

embedding = typer.Typer(
    no_args_is_help=True,
    help="""Which model a collection has, and its change to another without a pause.

    [bold]Examples[/bold]
    drystone embedding start papers --wait
    drystone embedding compare papers --queries queries.tsv
    drystone embedding switch papers
    drystone embedding rollback papers
    drystone embedding finish papers""",
)

Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name or id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until no passage lacks a vector, telling how far it is.")
]


@embedding.command("status")
def status(collection: Collection, wait: Wait = False, as_json: AsJson = False) -> None:
    """Show the models of a collection, and how far a change is."""
    from drystone.cli.client import open_client

    with open_client(retry_s=_RETRY_S) as client:
        _show_filled(client, collection, as_json) if wait else _show(client.embedding(collection), as_json=as_json)


@embedding.command("start")
def start(
    collection: Collection,
    model: Annotated[str | None, typer.Option(help="To which; else the configured one that it does not have.")] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Embed a collection by another model, in the background. Searches ask the present one until they are switched."""
    from drystone.cli.client import open_client

    with open_client(retry_s=_RETRY_S) as client:
        found = client.change_embedding(collection, "start", {"model": model})
        _show_filled(client, collection, as_json) if wait else _show(found, as_json=as_json)


@embedding.command("switch")
def switch(collection: Collection, as_json: AsJson = False) -> None:
    """Have searches ask the next model, at once. Refused while a passage lacks its vector."""
    _step(collection, "switch", as_json=as_json)


@embedding.command("rollback")
def rollback(collection: Collection, as_json: AsJson = False) -> None:
    """Have searches ask the model of before the switch again; nothing that was uploaded since is lost."""
    _step(collection, "rollback", as_json=as_json)


@embedding.command("finish")
def finish(collection: Collection, as_json: AsJson = False) -> None:
    """Give up the model of before the switch, and remove its vectors. There is no way back but another change."""
    _step(collection, "finish", as_json=as_json)


@embedding.command("cancel")
def cancel(collection: Collection, as_json: AsJson = False) -> None:
    """Give up the next model before it was switched to, and remove its vectors."""
    _step(collection, "cancel", as_json=as_json)


@embedding.command("compare")
def compare(
    collection: Collection,
    queries: Annotated[
        Path, typer.Option(metavar="FILE", help='JSONL of {"_id", "text"} as BEIR has it, or lines of id<TAB>text.')
    ],
    qrels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is relevant to each: then as `drystone eval` tells it.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="hybrid: what a search gives; dense: what the models alone do.")
    ] = "hybrid",
    as_json: AsJson = False,
) -> None:
    """Ask both models of a collection the same queries: how much would answers change, and where most?

    With judgements it is told which one is better: nDCG@10, Recall@100 and MRR@10 with the paired difference.
    """
    from drystone.cli.client import open_client
    from drystone.evaluation.judgements import read_queries

    asked = list(read_queries(queries).items())
    with open_client(retry_s=_RETRY_S) as client:
        if qrels is not None:
            models = client.embedding(collection)
        else:
            parts = [
                client.change_embedding(collection, "compare", {"queries": [text for _, text in part], "mode": mode})
                for part in _parts(asked)
            ]
    if qrels is not None:
        _judge(collection, models, queries, qrels, mode, as_json=as_json)
    else:
        _show_comparison(parts, as_json=as_json)


def _parts(asked: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    left = iter(asked)
    while part := list(islice(left, _AT_ONCE)):
        yield part


def _judge(
    collection: str, models: Mapping[str, Any], queries: Path, qrels: Path, mode: Mode, *, as_json: bool
) -> None:
    from drystone.cli import evaluating
    from drystone.core.errors import Conflict

    other = models["next"] or models["previous"]
    if other is None:
        raise Conflict(
            "embedding.single",
            f"The collection {collection!r} has one model: {models['active']['model']}.",
            hint='run "drystone embedding start" first',
        )
    alone = ",rerank=false" if mode == "dense" else ""
    evaluating.evaluate(
        collection,
        queries,
        qrels,
        mode=mode,
        set_=f"model={other['model']}{alone}",
        against=[f"model={models['active']['model']}{alone}"],
        as_json=as_json,
    )


def _step(collection: str, step: str, *, as_json: bool) -> None:
    from drystone.cli.client import open_client

    with open_client() as client:
        _show(client.change_embedding(collection, step), as_json=as_json)


def _show_filled(client: Client, collection: str, as_json: bool) -> None:
    """Ends with 1 where a passage still lacks its vector."""
    found = _filled(client, collection)
    _show(found, as_json=as_json)
    if found["fill"] is not None and not found["fill"]["is_complete"]:
        raise typer.Exit(1)


def _filled(client: Client, collection: str) -> Any:
    """The models once no passage lacks a vector, or the job that fills has failed."""
    from drystone.cli import terminal

    said = ""
    while True:
        found = client.embedding(collection)
        fill = found["fill"]
        if fill is None or fill["is_complete"] or (fill["job"] or {}).get("state") in ("failed", "cancelled"):
            return found
        if (now := _how_far(fill)) != said:
            terminal.say(now)
            said = now
        time.sleep(_POLL_S)


def _how_far(fill: Mapping[str, Any]) -> str:
    left = "" if fill["left_s"] is None else f", about {_duration(fill['left_s'])} left"
    why = f"; {error['message']}" if fill["job"] and (error := fill["job"]["error"]) else ""
    return f"{fill['done']} of {fill['total']} passages{left}{why}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    from drystone.cli import terminal

    if as_json:
        terminal.print_json(found)
        return
    terminal.print_row("collection", found["collection"])
    terminal.print_row("state", found["state"])
    for role in ("active", "next", "previous"):
        if (model := found[role]) is not None:
            known = "" if model["is_configured"] else "not configured"
            terminal.print_row(role, model["model"], model["dimension"], known)
    if (fill := found["fill"]) is not None:
        terminal.print_row("filled", _how_far(fill))
        terminal.print_row("embedded", fill["embedded"])
        terminal.print_row("reused", fill["reused"])
        if fill["job"] is not None:
            terminal.print_row("job", fill["job"]["id"], fill["job"]["state"])


def _show_comparison(parts: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    from drystone.cli import terminal
    from drystone.evaluation import agreement
    from drystone.evaluation.agreement import Agreement

    found = [
        Agreement(each["query"], each["active"], each["other"], (each["active_ms"], each["other_ms"]))
        for part in parts
        for each in part["queries"]
    ]
    summary = agreement.summary(found)
    models = parts[0]["active"], parts[0]["other"]
    if as_json:
        terminal.print_json(_as_json(models, parts[-1]["lacking"], summary, found))
        return
    terminal.print_row("active", models[0], f"{summary.p50_ms[0]:.1f} ms")
    terminal.print_row("other", models[1], f"{summary.p50_ms[1]:.1f} ms")
    terminal.print_row("lacking", parts[-1]["lacking"])
    terminal.print_row("queries", summary.questions)
    terminal.print_row(f"overlap@{agreement.DEPTH}", f"{summary.overlap:.3f}")
    terminal.print_row("rbo", f"{summary.rbo:.3f}")
    terminal.print_row("same_first", f"{summary.same_first:.3f}")
    for each in sorted(found, key=lambda one: one.rbo)[:_SHOWN]:
        terminal.print_row("changed", f"{each.rbo:.3f}", each.question)


def _as_json(models: tuple[str, str], lacking: int, summary: Summary, found: Sequence[Agreement]) -> dict[str, Any]:
    return {
        "active": models[0],
        "other": models[1],
        "lacking": lacking,
        "overlap": summary.overlap,
        "rbo": summary.rbo,
        "same_first": summary.same_first,
        "active_p50_ms": summary.p50_ms[0],
        "other_p50_ms": summary.p50_ms[1],
        "queries": [
            {
                "query": each.question,
                "overlap": each.overlap,
                "rbo": each.rbo,
                "active": each.ours,
                "other": each.theirs,
                "active_ms": each.took_ms[0],
                "other_ms": each.took_ms[1],
            }
            for each in found
        ],
    }
