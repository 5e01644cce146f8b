"""What a model says, as it comes, to statements: sentences with what they cite. Pure.

JSON objects as they were asked for, one a line, in a list or in a fence; or plain text with [1] behind sentences, as models
write that do not follow. Nothing of it is believed: whether a quote stands where it is said to is another room's question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import regex

from drystone.answers import splitting
from drystone.core.errors import Unavailable
from drystone.core.text import clean

# Characters of one object, and of one statement's text.
_MOST_OF_OBJECT, _MOST_OF_TEXT = 16_384, 4_000
_MOST_CITED = 16
_BETWEEN = " \t\r\n,[]"
_FENCE = regex.compile(r"`{3,}\w*[ \t]*(?:\n|$)")
_LIST = regex.compile(r"\[\s*[{\]]")
_MARKS = regex.compile(r"\s*[\[【(]\s*(?:passages?\s*)?(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*[\]】)]", regex.IGNORECASE)
_MARKUP = regex.compile(r"^(?:[-*•]\s+|#{1,6}\s+|\d{1,2}[.)]\s+)|\*\*")


@dataclass(frozen=True)
class Cited:
    """What a model says a sentence rests on. quote: None where it names a passage only."""

    passage: int
    quote: str | None = None


@dataclass(frozen=True)
class Statement:
    """A sentence as a model wrote it."""

    text: str
    cited: list[Cited] = field(default_factory=list)


class Reader:
    """Takes text part by part and gives the statements that are whole."""

    def __init__(self) -> None:
        self._rest = ""
        self._decoder = json.JSONDecoder()

    def feed(self, part: str) -> list[Statement]:
        """The statements that this part completes. Raises Unavailable for what can be none."""
        self._rest += part
        if not regex.search(r"[}\n]", part) and len(self._rest) <= _MOST_OF_OBJECT:
            return []
        return list(self._statements(is_over=False))

    def finish(self, *, is_cut: bool) -> list[Statement]:
        """What is left. is_cut: the model was stopped, so the last one may be half and is left out."""
        found = list(self._statements(is_over=not is_cut))
        if not is_cut and self._rest.strip(_BETWEEN + "`"):
            raise _unreadable()
        return found

    def _statements(self, *, is_over: bool) -> Iterator[Statement]:
        while True:
            self._skip()
            if not self._rest:
                return
            if self._rest[0] == "{":
                value = self._object()
                if value is None:
                    return
                yield from self._of_object(value)
            else:
                line, end, after = self._rest.partition("\n")
                if not (end or is_over):
                    if len(line) > _MOST_OF_OBJECT:
                        raise _unreadable()
                    return
                self._rest = after
                yield from _of_line(line)

    def _skip(self) -> None:
        """Leave out what stands between objects: commas, brackets of a list, fences."""
        while True:
            rest = self._rest.lstrip(" \t\r\n,]")
            if _LIST.match(rest) or (rest.startswith("[") and not rest[1:].strip()):
                rest = rest[1:] if _LIST.match(rest) else rest
            if fence := _FENCE.match(rest):
                rest = rest[fence.end() :]
            if rest == self._rest:
                return
            self._rest = rest

    def _object(self) -> Any:
        """The object that begins here; None while it is not whole."""
        try:
            value, end = self._decoder.raw_decode(self._rest)
        except (ValueError, RecursionError) as exc:
            if len(self._rest) > _MOST_OF_OBJECT or isinstance(exc, RecursionError):
                raise _unreadable() from exc
            return None
        self._rest = self._rest[end:]
        return value

    def _of_object(self, value: dict[str, Any]) -> Iterator[Statement]:
        inner = value.get("sentences") or value.get("answer")
        if isinstance(inner, list):
            for each in inner:
                if isinstance(each, dict):
                    yield from self._of_object(each)
            return
        said = value.get("text") or value.get("sentence") or inner
        text = clean(said) if isinstance(said, str) else ""  # its escapes have only now become characters
        if value.get("no_answer") is True:
            return
        if text.strip():
            cited = _cited(value.get("cites") or value.get("citations") or value.get("sources") or [])
            for statement in _of_line(text):
                yield Statement(statement.text, cited or statement.cited)
        else:
            raise _unreadable()


def _cited(given: Any) -> list[Cited]:
    """What can be read of a list of citations."""
    found = []
    for each in (given if isinstance(given, list) else [given])[:_MOST_CITED]:
        said, quote = each, ""
        if isinstance(each, dict):
            said = next((each[name] for name in ("passage", "n", "number", "id", "source") if name in each), None)
            quoted = each.get("quote") or each.get("text")
            quote = clean(quoted) if isinstance(quoted, str) else ""
        number = int(said.strip("[] ")[:6]) if isinstance(said, str) and said.strip("[] ").isdecimal() else said
        if type(number) is int:
            found.append(Cited(number, quote[:_MOST_OF_TEXT] if quote.strip() else None))
    return found


def _of_line(line: str) -> Iterator[Statement]:
    """The sentences of plain text, each with the passages that it names in brackets, also behind its stop."""
    text = _MARKUP.sub("", line.strip())[:_MOST_OF_TEXT]
    # "It stands. [1] It falls." names the source of what stands before it.
    text = regex.sub(r"([.!?。！？])((?:\s*\[\d{1,3}(?:\s*,\s*\d{1,3})*\])+)", r"\2\1", text)
    for start, end in splitting.sentences(text):
        sentence = text[start:end]
        numbers = [int(each) for group in _MARKS.findall(sentence) for each in regex.findall(r"\d+", group)]
        is_marked = bool(regex.search(r"[\[【]", sentence))
        bare = " ".join((_MARKS.sub("", sentence) if is_marked else sentence).split())
        if regex.search(r"[\p{L}\p{N}]", bare):
            yield Statement(bare, [Cited(number) for number in dict.fromkeys(numbers)] if is_marked else [])


def _unreadable() -> Unavailable:
    return Unavailable(
        "answer.unreadable",
        "The model answered in a form that cannot be read.",
        hint="ask again, or with mode extractive; a larger ANSWER_MODEL keeps better to what it is asked for",
    )
