"""How an answer is shown to a person, on terminals wide and narrow, and in a pipe."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cli.conftest import OnTerminal

from drystone.cli.sentences import Screen

PASSAGES = [
    {
        "number": number,
        "document": {"id": f"0199c0de-0000-7000-8000-00000000000{number}", "title": title, "name": name},
        "page": page,
    }
    for number, title, name, page in ((1, "The Forth Bridge", "bridge.md", None), (2, None, "walls.pdf", 3))
]


def _sentence(text: str, *spans: tuple[int, str], reason: str | None = None, missing: list[str] | None = None) -> Any:
    support = [{"passage": passage, "start": 10, "end": 10 + len(quote), "quote": quote} for passage, quote in spans]
    return {
        "text": text,
        "is_supported": reason is None,
        "support": support,
        "verification": {"reason": reason, "missing": missing or []},
    }


def _show(*sentences: Any, mode: str = "generated", warnings: Any = ()) -> None:
    screen = Screen()
    screen.take("passages", {"passages": PASSAGES})
    for each in sentences:
        screen.take("sentence", each)
    unsupported = sum(not each["is_supported"] for each in sentences)
    screen.take(
        "done",
        {
            "mode": mode,
            "supported": len(sentences) - unsupported,
            "unsupported": unsupported,
            "warnings": warnings,
        },
    )
    screen.end(["papers"])


ANSWER = (
    _sentence("The Forth Bridge was opened\nin 1890 and needs no mortar.", (1, "opened on 4 March 1890"), (2, "no\nmortar")),
    _sentence("It was opened in 1892.", reason="number", missing=["1892"]),
)  # fmt: skip


def test_sentences_have_the_numbers_of_their_sources_and_what_nothing_bears_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show(*ANSWER)

    said, told = capsys.readouterr()
    assert said.splitlines() == [
        "The Forth Bridge was opened in 1890 and needs no mortar. [1][2]",
        "✗ It was opened in 1892.  (a number is not in the passages: 1892)",
        "",
        "[1] The Forth Bridge  bridge.md",
        "    “opened on 4 March 1890”",
        "    10–32 of 0199c0de-0000-7000-8000-000000000001",
        "",
        "[2] walls.pdf  p. 3",
        "    “no mortar”",
        "    10–19 of 0199c0de-0000-7000-8000-000000000002",
    ]
    assert told == "1 of 2 sentences are borne by no passage (✗)\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_line_fits_the_terminal(on_terminal: OnTerminal, width: int) -> None:
    lines = on_terminal(width, lambda: _show(*ANSWER, _sentence("word " * 60, (1, "stone " * 60))))

    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0].startswith("The Forth Bridge was opened in 1890")


def test_what_steers_a_terminal_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    _show(_sentence("a\x1b[31m\u202eb", (1, "c\x1b]0;x\x07")), _sentence("d", reason="words", missing=["\x1b[2J"]))

    assert not {"\x1b", "\x07", "\u202e"} & set(capsys.readouterr().out)


def test_no_answer_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    _show()

    said, told = capsys.readouterr()
    assert (said, told) == ("", 'no answer in papers: "drystone search" shows the 2 passages that are nearest\n')


def test_that_the_model_was_away_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    _show(*ANSWER[:1], mode="extractive", warnings=[{"code": "chat.busy", "detail": "It is busy.", "hint": None}])

    assert capsys.readouterr().err == "not written by the model: It is busy.\n"
