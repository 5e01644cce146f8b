"""Asks before something is deleted for ever; `documents delete` shows what would go, and deletes exactly that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from drystone.cli import terminal
from drystone.cli.answers import DeletedDocuments
from drystone.cli.client import Client
from drystone.core.errors import Invalid, NotFound


def remove(client: Client, selection: Mapping[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete the selection, once the person has said yes to what it holds; ids that were named are not asked about.

    Raises NotFound, with nothing deleted, when an id names no document, Conflict when the selection has changed meanwhile.
    """
    found = client.delete_documents(selection, dry_run=True)
    if found["missing"]:
        raise NotFound(
            "document.not_found", f"There is no document {', '.join(found['missing'])}.", hint="nothing was deleted"
        )
    if dry_run or not found["count"]:
        _tell(found, "would be deleted", as_json=as_json)
        return
    if not yes and "ids" not in selection:
        ask(_documents(found), lambda: _show_sample(found))
    _tell(client.delete_documents(selection, expect=found["count"]), "deleted", as_json=as_json)


def ask(what: str, show: Callable[[], None] = lambda: None) -> None:
    """Go on only if the person says yes to what is shown. Raises Invalid where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise Invalid(
            "cli.nobody_to_ask",
            f"This deletes {what} for ever, and there is nobody to ask.",
            hint="add --yes, or look first with --dry-run",
        )
    show()
    typer.confirm(f"Delete {what} for ever?", abort=True, err=True)


def _tell(found: DeletedDocuments, verb: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
        return
    _show_sample(found)
    terminal.say(f"{_documents(found)} {verb}")


def _show_sample(found: DeletedDocuments) -> None:
    for each in found["sample"]:
        terminal.print_row(each["id"], each["collection"], each["title"] or each["external_id"])
    if found["sample"] and found["count"] > len(found["sample"]):
        terminal.say(f"… and {found['count'] - len(found['sample'])} more")


def _documents(found: DeletedDocuments) -> str:
    return "1 document" if found["count"] == 1 else f"{found['count']} documents"
