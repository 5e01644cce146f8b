"""An answer for people: sentences as they come, each with the numbers of its sources; then these, with what bears it quoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drystone.answers import reasons
from drystone.cli import terminal
from drystone.cli.answers import AnswerEnding, AnswerPassage, AnswerSentence, Support

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_INDENT = 4
_LONGEST_LINE = 100


class Screen:
    """Takes the events of an answer and shows them."""

    def __init__(self) -> None:
        self._console = terminal.out()
        self._passages: dict[int, AnswerPassage] = {}
        self._spans: dict[int, list[Support]] = {}
        self._ending: AnswerEnding | None = None

    def take(self, kind: str, data: Any) -> None:
        if kind == "passages":
            self._passages = {each["number"]: each for each in data["passages"]}
        elif kind == "sentence":
            self._show(data)
        elif kind == "done":
            self._ending = data

    @property
    def is_without_passages(self) -> bool:
        """Whether the search before the answer found nothing at all."""
        return not self._passages

    def end(self, collections: Sequence[str], nothing: str = "") -> None:
        """Sources, and what is to be said of the whole. nothing: what is said where there is no answer and no passage."""
        self.sources()
        ending = self._ending
        if ending is None:
            return
        count = ending["supported"] + ending["unsupported"]
        if not count:
            near = f'"drystone search" shows the {len(self._passages)} passages that are nearest'
            terminal.say(nothing or f"no answer in {', '.join(collections)}: {near}")
        elif ending["unsupported"]:
            terminal.say(f"{ending['unsupported']} of {count} sentences are borne by no passage (✗)")
        for warning in ending["warnings"]:
            is_fallback = ending["mode"] == "extractive" and warning["code"].startswith(("chat.", "answer."))
            what = "not written by the model" if is_fallback else "warning"
            terminal.say(f"{what}: {warning['detail']}" + (f" ({warning['hint']})" if warning["hint"] else ""))

    def sources(self) -> None:
        """The passages that bear something, by number."""
        for number, spans in sorted(self._spans.items()):
            self._console.print()
            passage = self._passages[number]
            _print(self._console, _heading(passage), 0)
            for start, span in sorted({each["start"]: each for each in spans}.items()):
                _print(self._console, _quote(span), _INDENT)
                _print(self._console, _place(passage, start, span["end"]), _INDENT)

    def _show(self, sentence: AnswerSentence) -> None:
        from rich.text import Text

        text = terminal.clean(" ".join(sentence["text"].split()))
        if not sentence["is_supported"]:
            _print(self._console, Text.assemble(("✗ ", "bold red"), text, (f"  ({_why(sentence)})", "red")), 0)
            return
        numbers = list(dict.fromkeys(each["passage"] for each in sentence["support"]))
        for each in sentence["support"]:
            self._spans.setdefault(each["passage"], []).append(each)
        marks = "".join(f"[{number}]" for number in numbers)
        _print(self._console, Text.assemble(text, " ", (marks, "bold cyan")), 0)


def _why(sentence: AnswerSentence) -> str:
    found = sentence["verification"]
    return reasons.explain(found["reason"], [terminal.clean(each) for each in found["missing"]])


def _heading(passage: AnswerPassage) -> Text:
    from rich.text import Text

    document = passage["document"]
    title = document["title"] or document["name"] or document["id"]
    line = Text.assemble((f"[{passage['number']}]", "bold cyan"), " ", (terminal.clean(title), "bold"))
    if document["name"] and document["name"] != title:
        line.append(f"  {terminal.clean(document['name'])}", "dim")
    if passage["page"] is not None:
        line.append(f"  p. {passage['page']}")
    return line


def _quote(span: Support) -> Text:
    from rich.text import Text

    return Text(f"“{terminal.clean(' '.join(span['quote'].split()))}”")


def _place(passage: AnswerPassage, start: int, end: int) -> Text:
    from rich.text import Text

    return Text(f"{start}–{end} of {passage['document']['id']}", "dim")


def _print(console: Console, text: Text, indent: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if terminal.is_terminal():
        console.print(Padding(text, (0, 0, 0, indent)), width=min(console.width, _LONGEST_LINE))
    else:
        console.print(Text(" " * indent).append_text(text))
