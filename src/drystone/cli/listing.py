"""Documents, jobs and the outcome of `add`, for people on a terminal and, as lines with tabs, for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drystone.cli import terminal
from drystone.cli.answers import Document, Job

if TYPE_CHECKING:
    from rich.text import Text

    from drystone.cli.adding import Item, Report

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
# An id is shown whole or not at all, since a part of it is good for nothing: below this width it gets a line of its own.
_TABLE_WIDTH = 76

Row = TypeVar("Row", Document, Job)


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column. from_width: the narrowest terminal that shows it; plain: for programs, where that differs."""

    name: str
    cell: Callable[[Row], str]
    from_width: int = 0
    right: bool = False
    plain: Callable[[Row], object] | None = None


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
    return "" if document is None else document["title"] or document["name"] or document["id"]


DOCUMENTS: Sequence[Column[Document]] = (
    Column("id", lambda d: d["id"]),
    Column("state", lambda d: d["state"]),
    Column("title", _title),
    Column("collection", lambda d: d["collection"], 110),
    Column("size", lambda d: terminal.size(d["size_bytes"]), 92, right=True, plain=lambda d: d["size_bytes"]),
    Column("chunks", lambda d: _number(d["chunks"]), 100, right=True),
    Column("added", lambda d: _time(d["created_at"]), 130, plain=lambda d: d["created_at"]),
)
JOBS: Sequence[Column[Job]] = (
    Column("id", lambda j: j["id"]),
    Column("state", lambda j: j["state"]),
    Column("kind", lambda j: j["kind"]),
    Column("attempt", lambda j: str(j["attempt"]), 92, right=True),
    Column("queued", lambda j: _time(j["created_at"]), 84, plain=lambda j: j["created_at"]),
    Column("took", _took, 100, right=True),
    Column("document", _job_document, 124),
    Column("subject", lambda j: j["subject_id"], 176),
)


def show_rows(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    """A table where it fits, two lines a row where it does not; off a terminal one line a row, cells between tabs."""
    console = terminal.out()
    if not terminal.is_terminal():
        terminal.print_row(*(column.name for column in columns), "code", "message")
        for row in rows:
            error = row["error"] or {"code": "", "message": ""}
            cells = ((column.plain or column.cell)(row) for column in columns)
            terminal.print_row(*cells, error["code"], error["message"])
    elif console.width < _TABLE_WIDTH:
        for row in rows:
            console.print(_card(row, columns))
    else:
        console.print(_table(row_list=rows, columns=[c for c in columns if c.from_width <= console.width]))


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
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=column.name not in ("title", "kind"),
            overflow="ellipsis" if column.name == "collection" else "fold",
        )
    for row in row_list:
        cells = [
            Text(terminal.clean(c.cell(row)), _STYLES.get(c.cell(row), "") if c.name == "state" else "")
            for c in columns
        ]
        cells[2].append_text(_reason(row))
        table.add_row(*cells)
    return table


def _card(row: Row, columns: Sequence[Column[Row]]) -> Text:
    from rich.text import Text

    identity, state, title = (column.cell(row) for column in columns[:3])
    card = Text.assemble((state, _STYLES.get(state, "")), "  ", terminal.clean(title), overflow="fold")
    return card.append_text(_reason(row)).append("\n").append(identity, "dim").append("\n")


def _reason(row: Row) -> Text:
    from rich.text import Text

    error = row["error"]
    return Text() if error is None else Text(f"\n{terminal.clean(error['message'])}", "red")


def _flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
