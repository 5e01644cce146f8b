"""`drystone drafts`: proposed changes of the catalogue, from a folder to a merge.

A client of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drystone.cli import catalogue, keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drystone.cli.client import Client
    from drystone.cli.yaml_files import Manuscript

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the draft, as `drafts list` shows it.")]
Expires = Annotated[str | None, typer.Option(metavar="14d|12h|DATE", help="When draft and link end.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="As `catalogue export` writes it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, for its authors and the audit.")]

drafts = typer.Typer(
    no_args_is_help=True,
    help="""Changes of the catalogue that somebody proposes, edited by whoever has the link.

    [bold]Examples[/bold]
    drystone drafts create air/ --title 'ozone, too'
    drystone drafts diff ID
    drystone drafts drop ID entity o3
    drystone drafts validate ID
    drystone drafts submit ID
    drystone drafts approve ID
    drystone drafts merge ID""",
)


@drafts.command("list")
def list_(
    status: Annotated[
        str | None,
        typer.Option("--status", "-s", help="open, validated, submitted, approved, rejected, merged or expired."),
    ] = None,
    limit: catalogue.Limit = 50,
    as_json: catalogue.AsJson = False,
) -> None:
    """List drafts, newest first."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        rows = chain.from_iterable(client.catalogue_pages("drafts", {"status": status}))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_drafts(found)


@drafts.command("show")
def show(draft_id: Id, as_json: catalogue.AsJson = False) -> None:
    """Show how far a draft has come, and what it changes."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.draft(draft_id)
    if as_json:
        terminal.print_json(found)
        return
    told = {name: value for name, value in found.items() if name != "changes" and value is not False}
    listing.show_one(told)
    if found["changes"]:
        if terminal.is_terminal():
            terminal.out().print()
        listing.show_proposals(found["changes"])


@drafts.command("create")
def create(
    folder: Folder,
    title: Annotated[str | None, typer.Option("--title", "-t", help="Default: the folder's name.")] = None,
    message: catalogue.Message = "",
    expires: Expires = None,
    bump: catalogue.Bump = False,
    prune: Annotated[bool, typer.Option("--prune", help="Propose to delete what has no file in the folder.")] = False,
    as_json: catalogue.AsJson = False,
) -> None:
    """Propose what a folder says otherwise than the catalogue, and print its link, which is shown this once.

    Whoever has the link may edit the draft and submit it, in a browser or by its token (after the #), without a key.
    Standard output is the link alone.
    """
    from drystone.cli.client import open_client

    with open_client() as client:
        changes = _differences(client, folder, prune=prune)
        body = {"title": title or folder.resolve().name, "message": message, "bump_modules": bump, "changes": changes}
        if expires is not None:
            body["expires_at"] = _end(expires)
        _show_link(client, client.create_draft(body), as_json=as_json)


@drafts.command("export")
def export(
    draft_id: Id,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.")],
    replace: Annotated[bool, typer.Option("--replace", help="Write over files that are there.")] = False,
) -> None:
    """Write what a draft puts as YAML files, to be edited: entities/KEY.yaml, modules/KEY.yaml, profiles/KEY.yaml."""
    from drystone.cli import folders, terminal, yaml_files
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.draft(draft_id)
    many = {kind: name for name, kind in catalogue.KINDS.items()}
    puts = [each for each in found["changes"] if each["action"] == "put"]
    texts = {f"{many[each['kind']]}/{each['key']}.yaml": yaml_files.written(_fields(each)) for each in puts}
    folders.write(folder, list(catalogue.KINDS), texts, replace=replace)
    terminal.say(f"{folder} holds {len(texts)} files")


@drafts.command("put")
def put(draft_id: Id, folder: Folder) -> None:
    """Have a draft put what the files of a folder say; what else it changes stays. What is the same already is left as it is."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    read = _read(folder)
    with open_client() as client:
        there = {(each["kind"], each["key"]): each for each in client.draft(draft_id)["changes"]}
        sent = 0
        for (kind, key), each in read.items():
            content = there.get((kind, key), {}).get("content")
            if not catalogue.says_the_same(kind, each.said, content):
                change = {"kind": kind, "key": key, "action": "put", "content": each.said}
                client.put_into_draft(draft_id, change)
                sent += 1
    terminal.say(f"{sent} of {len(read)} put into the draft")


@drafts.command("drop")
def drop(
    draft_id: Id,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="entity, module or profile.")],
    keys_: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys, as `drafts show` lists them.")],
) -> None:
    """Take changes out of a draft: it says nothing of these any more."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    if kind not in catalogue.FIELDS:
        raise typer.BadParameter(f"{kind} is none of {', '.join(catalogue.FIELDS)}", param_hint="KIND")
    with open_client() as client:
        for key in keys_:
            client.drop_from_draft(draft_id, kind, key)
    terminal.say(f"{len(keys_)} taken out of the draft")


@drafts.command("diff")
def diff(draft_id: Id, as_json: catalogue.AsJson = False) -> None:
    """Compare a draft with the catalogue, place by place: who changed what, and where both did."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.draft(draft_id, "/diff")
    if as_json:
        terminal.print_json(found)
        return
    _show_diff(draft_id, found)
    terminal.say(f"the draft is at revision {found['revision']}, which is what to approve")


@drafts.command("validate")
def validate(draft_id: Id, as_json: catalogue.AsJson = False) -> None:
    """Ask the rules of the catalogue what they say of a draft. Exit code 2: there are problems."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.do_to_draft(draft_id, "validate")
    if as_json:
        terminal.print_json(found)
    for each in [] if as_json else found["problems"]:
        terminal.say(f"{each['detail']}\n    {each['hint']}")
    if found["problems"]:
        raise typer.Exit(2)
    if not as_json:
        listing.show_done([each for each in found["changes"] if each["what"] != "unchanged"])
        terminal.say(f"no problem: the draft is {found['status']}")


@drafts.command("rebase")
def rebase(
    draft_id: Id,
    take: Annotated[
        str | None, typer.Option(help="ours (the draft) or theirs (the catalogue) wins where both say something else.")
    ] = None,
    as_json: catalogue.AsJson = False,
) -> None:
    """Bring together what a draft changes and what was changed meanwhile. Exit code 5: conflicts are left."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.do_to_draft(draft_id, "rebase", {"take": take})
    if as_json:
        terminal.print_json(found)
    else:
        for each in found["dropped"]:
            terminal.say(f"{each}: the catalogue says it already")
        listing.show_differences(
            [{**each, **one} for each in found["conflicts"] for one in each["differences"] if one["side"] == "conflict"]
        )
        left, draft = len(found["conflicts"]), found["draft"]
        conflicts = f"{'1 conflict' if left == 1 else f'{left} conflicts'} left; " if left else ""
        rest = draft["change_count"] - left
        terminal.say(
            f"{conflicts}{'1 change rests' if rest == 1 else f'{rest} changes rest'} on revision {draft['base_revision']};"
            f" the draft is {draft['status']}"
        )
    if found["conflicts"]:
        terminal.say("choose with --take, or edit the draft and then --take ours")
        raise typer.Exit(5)


@drafts.command("submit")
def submit(draft_id: Id) -> None:
    """Hand in what was validated; it is not edited from then on."""
    _do(draft_id, "submit")


@drafts.command("withdraw")
def withdraw(draft_id: Id) -> None:
    """Open a submitted, approved or rejected draft again."""
    _do(draft_id, "withdraw")


@drafts.command("approve")
def approve(
    draft_id: Id,
    reason: Reason = "",
    revision: Annotated[
        int | None, typer.Option(help="Of the draft that was looked at, as `drafts show` and `drafts diff` tell it.")
    ] = None,
) -> None:
    """Say that a submitted draft may be merged, as it was looked at: without --revision it is shown, and asked about.

    Whoever holds its link may edit it and submit it again meanwhile. Then nothing is approved. Exit code 5.
    """
    import sys

    from drystone.cli import terminal
    from drystone.cli.client import open_client
    from drystone.core.errors import Invalid

    with open_client() as client:
        if revision is None:
            if not sys.stdin.isatty():
                raise Invalid(
                    "draft.no_revision",
                    "Nobody can be asked here whether this is what is to be approved.",
                    hint=f'"drystone drafts diff {draft_id}" shows it with its revision; say --revision N',
                )
            found = client.draft(draft_id, "/diff")
            _show_diff(draft_id, found)
            count = len(found["changes"])
            typer.confirm(f"Approve {'this change' if count == 1 else f'these {count} changes'}?", abort=True, err=True)
            revision = int(found["revision"])
        client.do_to_draft(draft_id, "approve", {"reason": reason}, revision=revision)
    terminal.say("the draft is approved")


@drafts.command("reject")
def reject(
    draft_id: Id, reason: Annotated[str, typer.Option("--reason", "-r", help="Why, for its authors and the audit.")]
) -> None:
    """Say that a draft is not merged, and why."""
    _do(draft_id, "reject", {"reason": reason})


@drafts.command("merge")
def merge(draft_id: Id) -> None:
    """Have the catalogue be as an approved draft says: all of it, or nothing."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.do_to_draft(draft_id, "merge")
    terminal.say(f"merged: the catalogue is at revision {found['merged_revision']}")


@drafts.command("link")
def link(draft_id: Id, expires: Expires = None, as_json: catalogue.AsJson = False) -> None:
    """Make another link and print it; the one before ends."""
    from drystone.cli.client import open_client

    body = {} if expires is None else {"expires_at": _end(expires)}
    with open_client() as client:
        _show_link(client, client.do_to_draft(draft_id, "link", body), as_json=as_json)


@drafts.command("revoke")
def revoke(draft_id: Id) -> None:
    """End the link of a draft at once; the draft stays."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        client.do_to_draft(draft_id, "revoke")
    terminal.say("its link leads nowhere any more")


@drafts.command("delete")
def delete(draft_id: Id) -> None:
    """Put a draft away, and end its link."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        client.delete_draft(draft_id)
    terminal.say(f'deleted; "drystone drafts restore {draft_id}" brings it back')


@drafts.command("restore")
def restore(draft_id: Id) -> None:
    """Bring a deleted draft back, without a link."""
    _do(draft_id, "restore")


def _show_diff(draft_id: str, found: Mapping[str, Any]) -> None:
    from drystone.cli import listing, terminal

    listing.show_differences([{**each, **one} for each in found["changes"] for one in each["differences"]])
    if found["is_stale"]:
        terminal.say(f'something it touches was changed since: "drystone drafts rebase {draft_id}"')


def _do(draft_id: str, verb: str, body: Mapping[str, Any] | None = None) -> None:
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.do_to_draft(draft_id, verb, body)
    terminal.say(f"the draft is {found['status']}")


def _end(expires: str) -> str:
    end = keys.end_of(expires)
    if end is None:
        raise typer.BadParameter("a draft ends, within a year", param_hint="--expires")
    return end


def _show_link(client: Client, made: Mapping[str, Any], *, as_json: bool) -> None:
    import sys

    from drystone.cli import terminal

    if as_json:
        terminal.print_json(made)
        return
    count, end = made["change_count"], made["expires_at"][:16].replace("T", " ")
    changes = "1 change" if count == 1 else f"{count} changes"
    terminal.say(f"draft {made['id']}, {changes}, until {end} UTC; whoever has this link may edit it:")
    sys.stdout.write(f"{client.url}/draft#{made['token']}\n")


def _read(folder: Path) -> dict[tuple[str, str], Manuscript]:
    from drystone.cli import folders

    many = catalogue.KINDS
    folders.check(folder, list(many))
    return {(many[name], key): each for name in many for key, each in folders.read(folder, name).items()}


def _differences(client: Client, folder: Path, *, prune: bool) -> list[dict[str, Any]]:
    """What a folder says otherwise than the catalogue."""
    read = _read(folder)
    there = {
        (kind, item["key"]): item
        for name, kind in catalogue.KINDS.items()
        for item in chain.from_iterable(client.catalogue_pages(name, {}))
    }
    changes: list[dict[str, Any]] = [
        {"kind": kind, "key": key, "action": "put", "content": each.said}
        for (kind, key), each in read.items()
        if not catalogue.says_the_same(kind, each.said, there.get((kind, key)))
    ]
    gone: Sequence[tuple[str, str]] = [at for at in there if at not in read] if prune else []
    return changes + [{"kind": kind, "key": key, "action": "delete"} for kind, key in gone]


def _fields(change: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a change as a file has it."""
    return {name: change["content"][name] for name in catalogue.FIELDS[change["kind"]]}
