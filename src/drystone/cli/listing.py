"""Documents, jobs and the outcome of `add`, for people on a terminal and, as lines with tabs, for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drystone.cli import terminal
from drystone.cli.answers import (
    Catalogued,
    CatalogueDone,
    Change,
    Collection,
    Document,
    Job,
    Key,
    Past,
    Revision,
    Version,
)

if TYPE_CHECKING:
    from rich.text import Text

    from drystone.access.readers import Listed
    from drystone.backup.manifest import Manifest as Backup
    from drystone.cli.adding import Item, Report
    from drystone.stack.data.manifest import Manifest as Snapshot

_STYLES = {
    "ready": "green",
    "done": "green",
    "pending": "yellow",
    "queued": "yellow",
    "running": "yellow",
    "failed": "red",
    "refused": "red",
    "not_sent": "red",
}
_STATES = ("ready", "pending", "failed")
# A document's id is shown whole or not at all: below this width it gets a line of its own.
_TABLE_WIDTH = 76
# So much of a job's id, its millisecond and twelve random bits, is enough for `drystone jobs show`.
_PART_OF_ID = 18
# Each holds those before it.
_SCOPES = ("read", "write", "admin")
# By which of the details a person knows what was changed: that of which there is one first.
_NAMES_OF_SUBJECTS = {"key": ("prefix",), "document": ("title", "external_id")}
# Of a place in a draft: where only one side has changed it, the other is as the base.
_SIDES = ("base", "ours", "theirs")
_TOLD = {"ours": ("base", "ours"), "same": ("base", "ours"), "theirs": ("base", "theirs")}
_GAP = "  "
# Between two columns of a table: its padding, and the space where other tables have a line.
_BETWEEN = 2
# Characters that are shown on either side of a mention to programs; on a terminal as many as there is room for.
_AROUND = 40
# What a column that gives way keeps at least, and the title beside a mention at most.
_LEAST_CUT, _TITLE = 8, 24
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column. from_width: the narrowest terminal that shows it; plain: for programs, where that differs;
    is_cut: gives way where there is no room; is_for_programs: programs get it, too; label: a shorter name for people."""

    name: str
    cell: Callable[[Row], str]
    from_width: int = 0
    right: bool = False
    is_cut: bool = False
    is_for_programs: bool = True
    plain: Callable[[Row], object] | None = None
    label: str = ""


def _title(document: Document) -> str:
    return document["title"] or document["name"] or document["external_id"] or "(no name)"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _time(value: str) -> str:
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M")


def _took(job: Job) -> str:
    if job["started_at"] is None or job["finished_at"] is None:
        return ""
    took = datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
    return f"{took.total_seconds():.1f} s"


def _job_document(job: Job) -> str:
    document = job["document"]
    return "" if document is None else document["name"] or document["title"] or document["id"]


def _why(row: Job | Version) -> str:
    return "" if row["error"] is None else row["error"]["message"]


def _why_not(document: Document) -> str:
    return "" if document["schema_problem"] is None else document["schema_problem"]["detail"]


def _file(document: Document) -> str:
    """What tells documents of one title apart."""
    return document["external_id"] or document["name"] or ""


DOCUMENTS: Sequence[Column[Document]] = (
    Column("id", lambda d: d["id"]),
    Column("state", lambda d: d["state"]),
    Column("title", _title),
    Column("file", _file, 120),
    Column("collection", lambda d: d["collection"], 110, is_cut=True),
    Column("size", lambda d: terminal.size(d["size_bytes"]), 92, right=True, plain=lambda d: d["size_bytes"]),
    Column("passages", lambda d: _number(d["chunks"]), 100, right=True),
    Column("added", lambda d: _time(d["created_at"]), 130, plain=lambda d: d["created_at"]),
)
NOT_FITTING: Sequence[Column[Document]] = (
    Column("id", lambda d: d["id"]),
    Column("schema", lambda d: d["schema"] or ""),
    Column("title", _title, 92),
    Column("why", _why_not, is_cut=True),
)
JOBS: Sequence[Column[Job]] = (
    Column("document", _job_document, is_cut=True),
    Column("state", lambda j: j["state"]),
    Column("kind", lambda j: j["kind"].removeprefix("documents."), plain=lambda j: j["kind"]),
    Column("id", lambda j: j["id"][:_PART_OF_ID], plain=lambda j: j["id"]),
    Column("why", _why, is_cut=True, is_for_programs=False),
    Column("attempt", lambda j: str(j["attempt"]), 108, right=True),
    Column("queued", lambda j: _time(j["created_at"]), 126, plain=lambda j: j["created_at"]),
    Column("took", _took, 134, right=True),
)


VERSIONS: Sequence[Column[Version]] = (
    Column("number", lambda v: str(v["number"]), right=True),
    Column("state", lambda v: v["state"]),
    Column("serves", lambda v: "yes" if v["is_current"] else ""),
    Column("type", lambda v: v["media_type"], is_cut=True),
    Column("size", lambda v: terminal.size(v["size_bytes"]), right=True, plain=lambda v: v["size_bytes"]),
    Column("added", lambda v: _time(v["created_at"]), plain=lambda v: v["created_at"]),
    Column("why", _why, 110, is_cut=True, is_for_programs=False),
    Column("id", lambda v: v["id"], 120),
)


def _in_state(state: str) -> Column[Collection]:
    return Column(state, lambda c: str(c["documents"][state]), right=True)


COLLECTIONS: Sequence[Column[Collection]] = (
    Column("name", lambda c: c["name"], is_cut=True),
    *map(_in_state, _STATES),
    Column("passages", lambda c: str(c["chunks"]), right=True),
    Column("id", lambda c: c["id"], 100),
)


def show_backups(found: Sequence[Backup]) -> None:
    """Backups for people. objects: the size of all that a backup refers to; the target holds each once for all backups."""
    columns: Sequence[Column[Backup]] = (
        Column("id", lambda b: b.id),
        Column("made", lambda b: _time(b.created_at)),
        Column("database", lambda b: terminal.size(b.dump_bytes), right=True),
        Column("objects", lambda b: terminal.size(b.objects.size_bytes), right=True),
        Column("state", lambda b: "whole" if b.is_whole else "not whole"),
        Column("schema", lambda b: b.schema_revision, 110),
    )
    show_rows(found, columns)


def show_snapshots(found: Sequence[Snapshot]) -> None:
    """Snapshots for people."""
    columns: Sequence[Column[Snapshot]] = (
        Column("name", lambda s: s.name, is_cut=True),
        Column("made", lambda s: _time(s.created_at)),
        Column("size", lambda s: terminal.size(s.data_bytes), right=True),
        Column("schema", lambda s: s.schema or "", is_cut=True),
    )
    show_rows(found, columns)


def show_keys(found: Sequence[Key], names: Mapping[str, str]) -> None:
    """Keys in a table. names: of collections, by id; one that is gone is shown by its id."""

    def collections(key: Key) -> str:
        ids = key["collection_ids"]
        return "all" if ids is None else ", ".join(names.get(each, each) for each in ids)

    def name(key: Key) -> str:
        """One that stood in .env before the present one mostly has the same name."""
        return f"{key['name']} (former)" if key["revoked_at"] and key["is_from_settings"] else key["name"]

    columns: Sequence[Column[Key]] = (
        Column("prefix", lambda k: k["prefix"]),
        Column("name", name, is_cut=True, plain=lambda k: k["name"]),
        Column("scopes", lambda k: ", ".join(_held(k["scopes"]))),
        Column("collections", collections, is_cut=True, label="in"),
        Column("state", _key_state),
        Column("ends", _key_end, plain=lambda k: k["revoked_at"] or k["expires_at"]),
        Column("last used", lambda k: _when(k["last_used_at"]), 112, plain=lambda k: k["last_used_at"]),
        Column("a day", _key_limits, 96, is_cut=True),
    )
    show_rows(found, columns)


def show_readers(found: Sequence[Listed], names: Mapping[str, str]) -> None:
    """Readers in a table. names: of collections, by id; one that is gone is shown by its id."""

    def sees(each: Listed) -> str:
        ids = each.reader.collection_ids
        return "all" if ids is None else ", ".join(names.get(str(one), str(one)) for one in ids)

    def ends(each: Listed) -> str | None:
        return each.reader.expires_at.isoformat() if each.reader.expires_at else None

    columns: Sequence[Column[Listed]] = (
        Column("role", lambda r: r.reader.role),
        Column("name", lambda r: r.reader.name, is_cut=True),
        Column("workspace", lambda r: r.workspace, 96, is_cut=True),
        Column("collections", sees, is_cut=True, label="in"),
        Column("state", lambda r: r.state),
        Column("used", lambda r: "" if r.connections is None else f"{r.in_use} of {r.connections}", 84),
        Column("ends", lambda r: _when(ends(r)) if ends(r) else "", plain=ends),
    )
    show_rows(found, columns)


def _held(scopes: Sequence[str]) -> Sequence[str]:
    """What these scopes come to: each holds those before it."""
    known = [_SCOPES.index(scope) for scope in scopes if scope in _SCOPES]
    return _SCOPES[: max(known) + 1] if len(known) == len(scopes) > 0 else scopes


def _key_limits(key: Key) -> str:
    """What it may upload in a day, where that differs from the settings."""
    documents, size_bytes = key["documents_per_day"], key["bytes_per_day"]
    told = (
        "" if documents is None else f"{documents} documents",
        "" if size_bytes is None else terminal.size(size_bytes),
    )
    return ", ".join(filter(None, told))


def show_changes(found: Sequence[Change]) -> None:
    """Rows of the audit: a line each as far as it fits, the rest below it; nothing is cut."""
    if terminal.is_terminal():
        _print_changes(found)
        return
    columns: Sequence[Column[Change]] = (
        Column("at", lambda c: c["at"]),
        Column("who", lambda c: c["actor"]),
        Column("what", lambda c: c["action"]),
        Column("of", lambda c: c["subject_id"] or ""),
        Column("details", lambda c: json.dumps(_said(c), ensure_ascii=False) if _said(c) else ""),
        Column("request", lambda c: c["request_id"] or ""),
    )
    show_rows(found, columns)


def show_catalogued(found: Sequence[Catalogued], many: str) -> None:
    """Entities, modules or profiles in a table."""
    of_kind: dict[str, list[Column[Catalogued]]] = {
        "entities": [Column("type", lambda e: e["type"])],
        "modules": [
            Column("version", lambda m: m["version"]),
            Column("entities", lambda m: str(len(m["entities"])), right=True),
        ],
        "profiles": [Column("modules", lambda p: ", ".join(f"{k} {v}" for k, v in p["modules"].items()), is_cut=True)],
    }
    columns: list[Column[Catalogued]] = [
        Column("key", lambda e: e["key"]),
        *of_kind[many],
        Column("label", lambda e: e["label"], is_cut=True),
        Column("number", lambda e: str(e["number"]), 90, right=True),
        Column("published", lambda e: _time(e["published_at"]), 100, plain=lambda e: e["published_at"]),
        Column("id", lambda e: e["id"], 140),
    ]
    if any(each["deleted_at"] for each in found):
        deleted: Column[Catalogued] = Column(
            "deleted", lambda e: _when(e["deleted_at"]), plain=lambda e: e["deleted_at"]
        )
        columns.insert(-1, deleted)
    show_rows(found, columns)


def show_done(found: Sequence[CatalogueDone]) -> None:
    """What became of each by a changeset, or would; why, on a terminal that has room."""
    columns: Sequence[Column[CatalogueDone]] = (
        Column("what", lambda d: d["what"]),
        Column("kind", lambda d: d["kind"]),
        Column("key", lambda d: d["key"]),
        Column("version", lambda d: d["version"] or str(d["number"]), right=True),
        Column("step", lambda d: "" if d["step"] == "none" else d["step"]),
        Column("because", lambda d: "; ".join(d["reasons"]), 80, is_cut=True),
    )
    if found:
        show_rows(found, columns)


def show_drafts(found: Sequence[Mapping[str, Any]]) -> None:
    """Drafts in a table."""
    columns: Sequence[Column[Mapping[str, Any]]] = (
        Column("id", lambda d: d["id"]),
        Column("status", lambda d: d["status"]),
        Column("title", lambda d: d["title"], is_cut=True),
        Column("changes", lambda d: str(d["change_count"]), 90, right=True),
        Column("until", lambda d: _time(d["expires_at"]), 110, plain=lambda d: d["expires_at"]),
        Column("by", lambda d: d["created_by"], 140),
    )
    show_rows(found, columns)


def show_proposals(found: Sequence[Mapping[str, Any]]) -> None:
    """What a draft changes, a line each."""
    columns: Sequence[Column[Mapping[str, Any]]] = (
        Column("action", lambda c: c["action"]),
        Column("kind", lambda c: c["kind"]),
        Column("key", lambda c: c["key"]),
        Column("label", lambda c: (c.get("content") or {}).get("label") or "", is_cut=True),
    )
    show_rows(found, columns)


def show_differences(found: Sequence[Mapping[str, Any]]) -> None:
    """Places at which a draft, what it rests on and the catalogue are not the same: what each side has made of it.

    Whole, for people too, since they approve what they saw here: all fields of what is made or deleted, and no value cut.
    """
    if terminal.is_terminal():
        _print_differences(found)
        return

    def side(name: str) -> Column[Mapping[str, Any]]:
        return Column(name, lambda d: json.dumps(d[name], ensure_ascii=False) if name in d else "")

    columns: Sequence[Column[Mapping[str, Any]]] = (
        Column("side", lambda d: d["side"]),
        Column("of", lambda d: f"{d['kind']} {d['key']}"),
        Column("path", lambda d: d["path"] or "(all)"),
        *map(side, _SIDES),
    )
    if found:
        show_rows(found, columns)


def _print_differences(found: Sequence[Mapping[str, Any]]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = terminal.out()
    for number, row in enumerate(found):
        if number:
            console.print()
        what = f"{_what_became(row)} {row['kind']} {row['key']} {row['path'] or '(all)'}"
        console.print(Text.assemble((row["side"], "bold"), "  ", terminal.clean(what), overflow="fold"))
        grid = Table.grid(padding=(0, 2))
        for name, value in _values(row):
            grid.add_row(Text(terminal.clean(name), "dim", overflow="fold"), Text(value, overflow="fold"))
        console.print(Padding(grid, (0, 0, 0, 2)))


def _values(difference: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What stands at a place as JSON, by the side, or, of the whole of something, by its fields."""
    is_conflict = difference["side"] == "conflict"
    told = [name for name in _TOLD.get(difference["side"], _SIDES) if name in difference or is_conflict]
    for side in told:
        value = difference.get(side)
        if side not in difference:
            yield side, "not there"
        elif not difference["path"] and isinstance(value, Mapping):
            before = f"{side} " if len(told) > 1 else ""
            yield from ((f"{before}{name}", terminal.as_json(each)) for name, each in value.items())
        else:
            yield side, terminal.as_json(value)


def _what_became(difference: Mapping[str, Any]) -> str:
    """Of a place: by the side that differs from the base, by the draft where both do."""
    side = "theirs" if difference["side"] == "theirs" else "ours"
    if side not in difference:
        return "deleted"
    return "changed" if "base" in difference else "added"


def show_past(found: Sequence[Past]) -> None:
    """What was done to one, in a table."""
    columns: Sequence[Column[Past]] = (
        Column("revision", lambda p: str(p["revision"]), right=True),
        Column("at", lambda p: _time(p["at"]), plain=lambda p: p["at"]),
        Column("who", lambda p: p["by"]),
        Column("what", lambda p: p["action"]),
        Column("version", lambda p: p["version"] or _number(p["number"]), right=True),
        Column("message", lambda p: p["message"], is_cut=True),
    )
    show_rows(found, columns)


def show_revisions(found: Sequence[Revision]) -> None:
    """Changesets in a table."""
    columns: Sequence[Column[Revision]] = (
        Column("revision", lambda r: str(r["revision"]), right=True),
        Column("at", lambda r: _time(r["at"]), plain=lambda r: r["at"]),
        Column("who", lambda r: r["by"]),
        Column("changes", lambda r: str(r["changes"]), right=True),
        Column("message", lambda r: r["message"], is_cut=True),
    )
    show_rows(found, columns)


def show_mentions(found: Sequence[Mapping[str, Any]]) -> None:
    """Mentions of an entity in a table, each in the middle of what stands around it."""
    rows = [row for passage in found for row in _mentions(passage)]
    before: Sequence[Column[Mapping[str, Any]]] = (
        Column("document", lambda r: _short(r["title"], _TITLE), plain=lambda r: r["id"]),
        Column("collection", lambda r: r["collection"], 100),
        Column("start", lambda r: str(r["start"]), 100, right=True),
        Column("end", lambda r: str(r["end"]), 100, right=True),
    )
    width = terminal.out().width
    taken = sum(_width_of(column, rows) + _BETWEEN for column in before if column.from_width <= width)
    words: Column[Mapping[str, Any]] = Column(
        "words", lambda r: _in_the_middle(r, width - taken), is_cut=True, plain=_in_the_middle
    )
    show_rows(rows, (*before, words))


def _in_the_middle(mention: Mapping[str, Any], room: int | None = None) -> str:
    """A mention with so many characters in all, where that leaves room for any around it."""
    quote, offset = mention["quote"], mention["offset"]
    first, last = mention["start"] - offset, mention["end"] - offset
    around = _AROUND if room is None else max(room - (last - first) - 2, 0) // 2
    begin, end = max(0, first - around), last + around
    words = " ".join(quote[begin:end].split())
    if room is None:
        return words
    return f"{'…' if begin else ''}{words}{'…' if end < len(quote) else ''}"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def show_overview(found: Mapping[str, Any], bucket: str) -> None:
    """An entity at a moment: what was said, what was measured, what speaks of it, one below the other.

    bucket: how long is what was summed up.
    """
    entity, profile = found["entity"], found["profile"]
    said = {name: entity[name] for name in ("label", "description", "type", "number")} if entity else {}
    if profile:
        said |= {"profile": f"{profile['label']}, version {profile['number']}"}
        said |= {"in the profile": "yes" if profile["definition"] else "no"}
    begins = next((each["bucket_start"] for each in found["measured"] if each["bucket_start"]), None)
    summed_up = {} if begins is None else {"min, avg, max": f"of the {bucket} that begins {begins}"}
    show_one({"at": found["at"]} | (said or {"entity": "not in the catalogue then"}) | summed_up)
    columns: Sequence[Column[Mapping[str, Any]]] = (
        Column("metric", lambda r: r["metric"]),
        Column("source", lambda r: r["source"]),
        Column("latest", lambda r: _measured(r["latest"] and r["latest"]["value"]), right=True),
        Column("observed_at", lambda r: r["latest"]["observed_at"] if r["latest"] else "", label="at"),
        Column("min", lambda r: _measured(r["min"]), right=True),
        Column("avg", lambda r: _measured(r["avg"]), right=True),
        Column("max", lambda r: _measured(r["max"]), right=True),
        Column("count", lambda r: str(r["count"]), 100, right=True),
        Column("unit", lambda r: r["unit"] or ""),
    )
    if found["measured"]:
        _leave_a_line()
        show_rows(found["measured"], columns)
    if found["passages"]:
        _leave_a_line()
        show_mentions(found["passages"])


def _leave_a_line() -> None:
    """On a terminal; for programs a table follows the other."""
    if terminal.is_terminal():
        terminal.out().print()


def _measured(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _mentions(passage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    document = passage["document"]
    title = document["title"] or document["name"] or document["id"]
    for each in passage["mentions"]:
        yield {**document, "title": title, **each, "quote": passage["quote"], "offset": passage["start"]}


def show_mentioned(found: Sequence[Mapping[str, Any]]) -> None:
    """Entities that a document mentions, in a table."""
    columns: Sequence[Column[Mapping[str, Any]]] = (
        Column("entity", lambda r: r["key"]),
        Column("type", lambda r: r["type"]),
        Column("label", lambda r: r["label"], is_cut=True),
        Column("mentions", lambda r: str(r["mentions"]), right=True),
        Column("passages", lambda r: str(r["passages"]), right=True),
    )
    show_rows(found, columns)


def _print_changes(found: Sequence[Change]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = terminal.out()
    rows = [(_second(row["at"]), _who(row), row["action"], _subject(row)) for row in found]
    heads = ("time", "who", "what", "of")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    before = sum(widths[:3]) + 3 * len(_GAP)
    indent = widths[0] + len(_GAP)
    console.print(Text(_aligned(heads, widths), "dim"))
    for row, cells in zip(found, rows, strict=True):
        below = _details(row)
        shown: Sequence[str] = cells
        if before + len(cells[3]) > console.width:
            shown, below = cells[:3], ", ".join(filter(None, (f"of {cells[3]}", below)))
        line = _aligned(shown, widths)
        if below and len(whole := f"{_aligned(cells, widths):<{before + widths[3]}}{_GAP}{below}") <= console.width:
            line, below = whole, ""
        console.print(Text(line, overflow="fold"))
        if below:
            console.print(Padding(Text(below, "dim", overflow="fold"), (0, 0, 0, indent)))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()


def _second(value: str) -> str:
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _who(change: Change) -> str:
    """A key by its prefix, as `keys list` tells it."""
    return terminal.clean(change["actor"].removeprefix("key:"))


def _subject(change: Change) -> str:
    """What a person calls it, where the row says so; else its id."""
    details = change["details"]
    known = _NAMES_OF_SUBJECTS.get(change["subject_kind"], ())
    return terminal.clean(next((details[name] for name in known if details.get(name)), change["subject_id"] or ""))


def _said(change: Change) -> dict[str, Any]:
    return {name: value for name, value in change["details"].items() if value not in (None, [], {})}


def _details(change: Change) -> str:
    """In words, without what already stands under `of`."""
    shown = _subject(change)
    told = {name: _in_words(value) for name, value in _said(change).items()}
    return terminal.clean(", ".join(f"{name} {value}" for name, value in told.items() if value != shown))


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name} {_in_words(each)}' for name, each in value.items())})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " + ".join(map(_in_words, value))
    if isinstance(value, str):
        return _second(value) if _ISO_TIME.match(value) else value
    return "none" if value is None else str(value)


def _key_state(key: Key) -> str:
    """rotating: the secret before the present one is accepted, too."""
    if key["revoked_at"]:
        return "revoked"
    if key["expires_at"] and datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC):
        return "expired"
    return "rotating" if key["previous_until"] else "active"


def _key_end(key: Key) -> str:
    return _when(key["revoked_at"] or key["expires_at"])


def _when(value: str | None) -> str:
    return "never" if value is None else _time(value)


def show_rows(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    """A table where it fits, some lines a row where it does not; off a terminal one line a row, cells between tabs."""
    console = terminal.out()
    if not terminal.is_terminal():
        _print_for_programs(rows, columns)
        return
    if not rows:
        terminal.say("none")
        return
    if console.width < _TABLE_WIDTH and columns in (DOCUMENTS, JOBS):
        for row in rows:
            console.print(_card(row, columns))
        return
    fitting = [c for c in columns if c.from_width <= console.width and (not c.is_cut or any(map(c.cell, rows)))]
    if sum(_width_of(column, rows) + _BETWEEN for column in fitting) - _BETWEEN <= console.width:
        console.print(_table(row_list=rows, columns=fitting))
    else:
        _print_one_by_one(rows, columns)


def _width_of(column: Column[Row], rows: Sequence[Row]) -> int:
    """How wide a column must be, lest anything in it is cut that may not be."""
    from rich.cells import cell_len

    widths = [cell_len(column.label or column.name), *(cell_len(terminal.clean(column.cell(row))) for row in rows)]
    return min(max(widths), _LEAST_CUT) if column.is_cut or column.name == "title" else max(widths)


def _print_one_by_one(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    """A line a cell, and nothing cut."""
    from rich.table import Table
    from rich.text import Text

    console = terminal.out()
    for number, row in enumerate(rows):
        if number:
            console.print()
        grid = Table.grid(padding=(0, 2))
        for column in columns:
            if text := column.cell(row):
                value = Text(terminal.clean(text), _STYLES.get(text, "") if column.name == "state" else "")
                value.overflow = "fold"
                grid.add_row(Text(column.label or column.name, "dim"), value)
        console.print(grid)


def _print_for_programs(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    shown = [column for column in columns if column.is_for_programs]
    can_fail = columns in (DOCUMENTS, JOBS, VERSIONS)
    terminal.print_row(*(column.name for column in shown), *(("code", "message") if can_fail else ()))
    for row in rows:
        error = (can_fail and _error(row)) or {"code": "", "message": ""}
        cells = ((column.plain or column.cell)(row) for column in shown)
        terminal.print_row(*cells, *((error["code"], error["message"]) if can_fail else ()))


def show_one(fields: Mapping[str, Any]) -> None:
    """One thing with all its fields, a line each; nested fields by their dotted names, empty ones left out."""
    from rich.table import Table

    flat = [(name, value) for name, value in _flat(fields) if value not in (None, "", [], {})]
    if not terminal.is_terminal():
        for name, value in flat:
            terminal.print_row(name, value)
        return
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value in flat:
        style = _STYLES.get(str(value), "") if name == "state" else "red" if name == "error.message" else ""
        table.add_row(Text(name, "dim"), Text(terminal.clean(str(value)), style, overflow="fold"))
    terminal.out().print(table)


def show_report(report: Report, collection: str) -> None:
    """What became of the files of one `add`: counts, then every failed or refused one with its reason."""
    if not terminal.is_terminal():
        for outcome, count in report.counts.items():
            terminal.print_row(outcome, count)
        for item in _problems(report.items):
            terminal.print_row(item.outcome, item.source.label, item.code, item.message, item.hint)
        return
    from rich.padding import Padding
    from rich.text import Text

    console = terminal.out()
    total = len(report.items)
    rate = f", {total / report.took_s:.1f} files/s" if report.took_s > 0 and total > 1 else ""
    files = "1 file" if total == 1 else f"{total} files"
    console.print(Text(f"{files} into {collection} in {report.took_s:.1f} s{rate}", "bold"))
    for outcome, count in report.counts.items():
        if count:
            console.print(Text.assemble(f"{count:>6}  ", (outcome.replace("_", " "), _STYLES.get(outcome, ""))))
    for (end, code, message, hint), items in _by_reason(report.items).items():
        console.print()
        console.print(Text.assemble((end, _STYLES[end]), "  ", (message, "bold"), (f"  {code}", "dim")))
        if hint:
            console.print(Padding(Text(f"hint: {hint}"), (0, 0, 0, 2)))
        for item in items:
            console.print(Padding(Text(terminal.clean(item.source.label), overflow="fold"), (0, 0, 0, 4)))


def _problems(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.outcome in ("failed", "refused")]


def _by_reason(items: Sequence[Item]) -> dict[tuple[str, str, str, str], list[Item]]:
    """Failed and refused files under their reason, so that one sentence is not repeated for each of a hundred files."""
    found: dict[tuple[str, str, str, str], list[Item]] = {}
    for item in _problems(items):
        reason = (item.outcome or "", item.code or "", item.message or "", item.hint or "")
        found.setdefault(reason, []).append(item)
    return found


def _table(*, row_list: Sequence[Row], columns: Sequence[Column[Row]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            column.label or column.name,
            justify="right" if column.right else "left",
            no_wrap=column.name != "title" and not column.is_cut,
            overflow="fold",
        )
    names = [column.name for column in columns]
    for row in row_list:
        cells = [_cell(row, column) for column in columns]
        if "title" in names and _is_document(row):
            cells[names.index("title")].append_text(_below(row, without_file="file" in names))
        table.add_row(*cells)
    return table


def _cell(row: Row, column: Column[Row]) -> Text:
    from rich.text import Text

    text = column.cell(row)
    style = _STYLES.get(text, "") if column.name == "state" else "red" if column.name == "why" else ""
    if column.is_cut:  # by the text itself: the column must stay one that gives way
        return Text(terminal.clean(text), style, no_wrap=True, overflow="ellipsis")
    return Text(terminal.clean(text), style)


def _card(row: Row, columns: Sequence[Column[Row]]) -> Text:
    from rich.text import Text

    cells = {column.name: column.cell(row) for column in columns}
    name = cells["title"] if "title" in cells else cells["document"] or cells["kind"]
    card = Text.assemble((cells["state"], _STYLES.get(cells["state"], "")), "  ", terminal.clean(name), overflow="fold")
    return card.append_text(_below(row)).append("\n").append(cells["id"], "dim").append("\n")


def _is_document(row: Any) -> bool:
    """A draft has a title, too."""
    return "external_id" in row


def _error(row: Any) -> Any:
    return row.get("error")


def _below(row: Any, *, without_file: bool = False) -> Text:
    """Lines below a title: the file, where the title is another, and the reason of a failure."""
    from rich.text import Text

    below, error = Text(), _error(row)
    if _is_document(row) and not without_file and (file := _file(row)) not in ("", _title(row)):
        below.append(f"\n{terminal.clean(file)}", "dim")
    if error is not None:
        below.append(f"\n{terminal.clean(error['message'])}", "red")
    return below


def _flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
