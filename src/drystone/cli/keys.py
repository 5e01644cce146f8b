"""`drystone keys`: who may do what with the API.

A client of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drystone.cli.client import Client

keys = typer.Typer(
    no_args_is_help=True,
    help="""API keys: who may do what.

    [bold]Examples[/bold]
    drystone keys create website --scope read -c papers --expires 90d
    drystone keys list
    drystone keys rotate dsk_h4m2kq7wyd
    drystone keys revoke dsk_h4m2kq7wyd""",
)

_EXPIRES = "--expires"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_OVERLAP_S = 30 * 86_400
_NEVER, _ALL, _DEFAULT = "never", "all", "default"


class Scope(StrEnum):
    """What a key may; typer takes no Literal in a list."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def _only_prefix(given: str) -> str:
    """A whole key where its prefix belongs goes no further: it would stand in logs."""
    return given.partition(".")[0]


Prefix = Annotated[
    str, typer.Argument(metavar="PREFIX", callback=_only_prefix, help="What stands before the dot of the key.")
]
Collections = Annotated[
    list[str] | None,
    typer.Option(
        "--collection", "-c", help="The only collections it may see; all where none is named, or the word all."
    ),
]
Documents = Annotated[str | None, typer.Option(metavar="N|default", help="Versions a day; default: as .env says.")]
Bytes = Annotated[str | None, typer.Option("--bytes", metavar="N|default", help="Bytes a day; the same.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")]


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        list[Scope],
        typer.Option(
            "--scope",
            "-s",
            help="read: search and look up; write: and upload, change, delete; admin: and keys, webhooks, audit.",
        ),
    ],
    collection: Collections = None,
    expires: Annotated[
        str | None, typer.Option(metavar="90d|12h|DATE|never", help="When it ends; never where left out.")
    ] = None,
    documents: Documents = None,
    size_bytes: Bytes = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only a hash of it is kept.

    What is printed on standard output is the key alone, so a script can take it.

    [bold]Examples[/bold]
    drystone keys create website --scope read --collection papers --expires 90d
    KEY=$(drystone keys create importer -s read -s write --documents 10000)
    """
    from drystone.cli.client import open_client

    body: dict[str, Any] = {"name": name, "scopes": scope, "collections": None if collection == [_ALL] else collection}
    body["expires_at"] = end_of(expires)
    body |= _limits(documents, size_bytes)
    with open_client() as client:
        made = client.create_key(body)
        _show_secret(made, as_json=as_json)
        _warn(client, made)


@keys.command("list")
def list_(
    ended: Annotated[bool, typer.Option("--ended", help="Those that were revoked or have expired, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys, oldest first: prefix, name, scopes, collections, last use, end."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = [key for page in client.key_pages(ended=ended) for key in page]
        names = _names(client)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_keys(found, names)


@keys.command("change")
def change(
    prefix: Prefix,
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option("--scope", "-s", help="All its scopes, anew.")] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="All its collections, anew; the word all: every one."),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="90d|12h|DATE|never", help="When it ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a key may; what is left out stays. Holds from its next request.

    [bold]Examples[/bold]
    drystone keys change dsk_h4m2kq7wyd --scope read --scope write
    drystone keys change dsk_h4m2kq7wyd --collection all --expires never
    """
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if scope:
        changes["scopes"] = scope
    if collection:
        changes["collections"] = None if collection == [_ALL] else collection
    if expires is not None:
        changes["expires_at"] = end_of(expires)
    if not changes:
        raise typer.BadParameter("nothing to change was named; --help tells what can be")
    with open_client() as client:
        changed, names = client.change_key(prefix, changes), _names(client)
    if as_json:
        terminal.print_json(changed)
    else:
        listing.show_keys([changed], names)


@keys.command("rotate")
def rotate(
    prefix: Prefix,
    overlap: Annotated[
        str,
        typer.Option(
            metavar="24h|0", help="For how long the secret before is accepted, too, 30d at most; 0: it ends at once."
        ),
    ] = "24h",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and print it. The prefix stays, and what the key may.

    [bold]Examples[/bold]
    drystone keys rotate dsk_h4m2kq7wyd
    drystone keys rotate dsk_h4m2kq7wyd --overlap 0
    """
    from drystone.cli.client import open_client

    overlap_s = int(_span(overlap, "--overlap").total_seconds())
    if overlap_s > _LONGEST_OVERLAP_S:
        raise typer.BadParameter(f"{overlap!r} is longer than 30d", param_hint="--overlap")
    with open_client() as client:
        _show_secret(client.rotate_key(prefix, overlap_s), as_json=as_json)


@keys.command("revoke")
def revoke(prefix: Prefix) -> None:
    """End a key at once. It cannot be undone: make another."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        client.revoke_key(prefix)
    terminal.say(f"{prefix} is revoked")


@keys.command("limit")
def limit(prefix: Prefix, documents: Documents = None, size_bytes: Bytes = None) -> None:
    """Limit what a key may upload between two midnights UTC, and print what holds then. What is left out stays as it is.

    [bold]Examples[/bold]
    drystone keys limit dsk_local --documents 1000 --bytes 10000000000
    drystone keys limit dsk_local --documents default
    drystone keys limit dsk_local
    """
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        limits = client.limit_key(prefix, _limits(documents, size_bytes))
    for name, value in limits.items():
        terminal.print_row(name, "no limit" if value is None else value)


def _limits(documents: str | None, size_bytes: str | None) -> dict[str, int | None]:
    given = {"documents_per_day": documents, "bytes_per_day": size_bytes}
    return {name: _limit(value) for name, value in given.items() if value is not None}


def _limit(value: str) -> int | None:
    if value == _DEFAULT:
        return None
    if not value.isascii() or not value.isdecimal():
        raise typer.BadParameter(f"{value!r} is neither a number nor the word default")
    return int(value)


def _span(value: str, option: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
    if not found or (not found[2] and found[1] != "0"):
        raise typer.BadParameter(f"{value!r} is no span of time like 30m, 24h or 90d", param_hint=option)
    return timedelta(seconds=int(found[1]) * _UNITS[found[2] or "s"])


def end_of(value: str | None) -> str | None:
    """When a key ends, as the API takes it. A date without a time is that day's beginning, in UTC."""
    if value is None or value == _NEVER:
        return None
    if re.fullmatch(r"[0-9]{1,9}[smhd]", value):
        try:
            return (datetime.now(UTC) + _span(value, _EXPIRES)).isoformat()
        except OverflowError:
            raise typer.BadParameter(f"{value!r} ends after the last year there is", param_hint=_EXPIRES) from None
    try:
        end = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(
            f"{value!r} is neither a span like 90d or 12h, nor a date like 2027-06-30 or 2027-06-30T12:00, nor the word never",
            param_hint=_EXPIRES,
        ) from None
    return (end if end.tzinfo else end.replace(tzinfo=UTC)).isoformat()


def _show_secret(made: Mapping[str, Any], *, as_json: bool) -> None:
    from drystone.cli import terminal

    if as_json:
        terminal.print_json(made)
        return
    terminal.say(f"this is the key {made['prefix']}, {made['name']!r}; it is not shown again")
    typer.echo(made["key"])
    if made["previous_until"]:
        terminal.say(f"the one before is accepted until {_time(made['previous_until'])}")


def _warn(client: Client, made: Mapping[str, Any]) -> None:
    """What is allowed and perhaps not meant: a name that another key has, rights that have nothing to hold for."""
    from drystone.cli import terminal

    others = [key["prefix"] for page in client.key_pages(ended=False) for key in page if key["name"] == made["name"]]
    if same := [prefix for prefix in others if prefix != made["prefix"]]:
        terminal.say(
            f"{', '.join(same)} has the name {made['name']!r} too; ./drystone keys change PREFIX --name tells them apart"
        )
    if made["collection_ids"] is not None and "admin" in made["scopes"]:
        terminal.say(
            "admin of a key that is confined to collections is for their webhooks and models only: keys, the audit and scrubs are of "
            "the whole workspace, and refused"
        )


def _names(client: Client) -> dict[str, str]:
    """The names of collections, by their ids."""
    return {each["id"]: each["name"] for each in client.collections()}


def _time(value: str) -> str:
    return f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
