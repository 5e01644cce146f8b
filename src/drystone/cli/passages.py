"""Hits for people: rank, document, page, the quote with the question's words marked, and where it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from drystone.cli import highlighting, terminal
from drystone.cli.answers import Answer, Duplicate, Hit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_INDENT = 3
# A quote on a terminal takes about this many lines of 76 characters.
_SHOWN_CHARACTERS = 380
_LONGEST_LINE = 100
_SHOWN_DUPLICATES = 4


def show(answer: Answer, query: str, *, full: bool) -> None:
    """Print the hits. Off a terminal every quote is whole and no line is wrapped."""
    console, words = terminal.out(), highlighting.meant(query)
    for number, hit in enumerate(answer["hits"]):
        if number:
            console.print()
        _show_hit(console, hit, words, full=full or not terminal.is_terminal())
    if told := answer["explanation"]:
        console.print()
        _show_explanation(console, told)


def _show_hit(console: Console, hit: Hit, words: list[str], *, full: bool) -> None:
    from rich.padding import Padding

    width = min(console.width, _LONGEST_LINE) if terminal.is_terminal() else console.width
    parts = [_heading(hit), *([place] if (place := _place(hit)) else []), _quote(hit["quote"], words, full=full)]
    if hit["entities"]:
        parts.append(_entities(hit["entities"]))
    if hit["words"] is not None:
        parts.append(_reasons(hit, hit["words"]))
    parts.append(_source(hit))
    if hit["duplicates"]:
        parts.append(_duplicates(hit["duplicates"]))
    for part in parts:
        if terminal.is_terminal():
            indent = 0 if part is parts[0] else _INDENT
            console.print(Padding(part, (0, 0, 0, indent)), width=width)
        else:
            console.print(_indented(part) if part is not parts[0] else part)


def _heading(hit: Hit) -> Text:
    from rich.text import Text

    document = hit["document"]
    title = document["title"] or document["name"] or document["id"]
    line = Text.assemble((f"{hit['rank']}.", "bold"), " ", (terminal.clean(title), "bold cyan"))
    if document["name"] and document["name"] != title:
        line.append(f"  {terminal.clean(document['name'])}", "dim")
    if hit["page"] is not None:
        line.append(f"  p. {_pages(hit['page'], hit['page_end'])}")
    return line.append(f"  score {hit['score']:.3f}", "dim")


def _pages(first: int, last: int | None) -> str:
    return str(first) if last in (None, first) else f"{first}–{last}"


def _place(hit: Hit) -> Text | None:
    from rich.text import Text

    path = [terminal.clean(title) for title in hit["title_path"]]
    if path[:1] == [terminal.clean(hit["document"]["title"] or "")]:
        path = path[1:]  # it stands in the line above
    return Text(" › ".join(path), "cyan") if path else None


def _quote(quote: str, words: list[str], *, full: bool) -> Text:
    from rich.text import Text

    start, end = (0, len(quote)) if full else highlighting.best_part(quote, words, about=_SHOWN_CHARACTERS)
    body = _joined(quote[start:end].strip()) if terminal.is_terminal() else quote
    body = "\n".join(terminal.clean(line) for line in body.split("\n"))
    shown = Text(("… " if start > 0 else "") + body + (" …" if end < len(quote) else ""))
    for span in highlighting.spans(shown.plain, words):
        shown.stylize("bold yellow", *span)
    return shown


def _source(hit: Hit) -> Text:
    from rich.text import Text

    joined = f", {len(hit['merged'])} passages" if hit["merged"] else ""
    return Text(f"{hit['start']}–{hit['end']} of {hit['document']['id']}{joined}", "dim")


def _entities(found: list[dict[str, Any]]) -> Text:
    """What it mentions, and how often."""
    from rich.text import Text

    told = [f"{each['key']} {len(each['mentions'])}×" for each in found]
    return Text(f"mentions {', '.join(map(terminal.clean, told))}", "magenta")


def _duplicates(found: list[Duplicate]) -> Text:
    """How many more say the same, and where the first of them stand."""
    from rich.text import Text

    is_copies = all(each["is_copy"] for each in found)
    noun = ("copy" if len(found) == 1 else "copies") if is_copies else "nearly the same"
    names = list(dict.fromkeys(_name(each) for each in found))
    shown = ", ".join(names[:_SHOWN_DUPLICATES]) + (", …" if len(names) > _SHOWN_DUPLICATES else "")
    return Text(f"… and {len(found)} {noun}: {shown}", "dim")


def _name(duplicate: Duplicate) -> str:
    document = duplicate["document"]
    page = f" p. {duplicate['page']}" if duplicate["page"] is not None else ""
    return terminal.clean(document["title"] or document["name"] or document["id"]) + page


def _reasons(hit: Hit, said: list[dict[str, Any]]) -> Text:
    """Both sides' scores and ranks, and what each word adds."""
    from rich.text import Text

    sides = []
    if hit["scores"]["lexical"] is not None:
        words = ", ".join(f"{terminal.clean(each['word'])} {each['score']:.2f}" for each in said)
        sides.append(f"words {hit['scores']['lexical']:.2f}{_rank(hit['ranks']['lexical'])}: {words}")
    if hit["scores"]["dense"] is not None:
        sides.append(f"meaning {hit['scores']['dense']:.3f}{_rank(hit['ranks']['dense'])}")
    return Text(" · ".join(sides), "green")


def _rank(rank: int | None) -> str:
    return f" (rank {rank})" if rank is not None else ""


def _show_explanation(console: Console, told: dict[str, Any]) -> None:
    from rich.text import Text

    for words in told["words"]:
        for word in words:
            said = f"{terminal.clean(word['word'])}: in {word['passages']} of {told['passages']} passages, weight {word['weight']:.2f}"
            console.print(Text(said, "dim"))
    stages = ", ".join(f"{name} {took_ms:g}" for name, took_ms in told["stages"].items())
    console.print(Text(f"vectors: {told['vectors']}; {told['candidates']} candidates; ms: {stages}", "dim"))


def _joined(text: str) -> str:
    """Lines that a page layout broke in mid-sentence, put together again; other line breaks stay."""
    return re.sub(r"[ \t]*\n(?=[^\W\d_A-ZÀ-Þ]|\()", " ", text)


def _indented(text: Text) -> Text:
    from rich.text import Text

    return Text("\n").join(Text(" " * _INDENT).append_text(line) for line in text.split("\n"))
