"""Finding names: how long a finder takes to build, how fast it looks through passages, and how fast a regular expression does.

    python -m benchmarks.mentions [--names 100 10000 100000] [--passages 5000] [--accents 0.1]

Passages are of the made-up vocabulary of the other benchmarks; a tenth of their words have an accent. Names are of one to
three of its words, and most of them stand nowhere. The regular expression is an alternation of the same names, longest first,
with borders of words, over text in small letters: without accents, scripts or widths it has less to do. It is given as many
passages as it gets through in some seconds. Processor time of one thread, so that a busy machine says the same.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from benchmarks import report
from benchmarks.report import say
from drystone.mentions.finding import Finder

_WORDS, _LONGEST_WORD, _WORDS_OF_A_PASSAGE = 60_000, 12, 180
# So long the regular expression is given.
_PATIENCE_S = 5.0


def vocabulary(drawn: random.Random, accents: float) -> list[str]:
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(drawn.choices(letters, k=drawn.randint(2, _LONGEST_WORD))) for _ in range(_WORDS)]
    return [word.replace("e", "é", 1) if drawn.random() < accents else word for word in words]


def passages(drawn: random.Random, words: Sequence[str], count: int) -> list[str]:
    """Frequencies of words fall as 1 / rank."""
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    found = []
    for _ in range(count):
        said = drawn.choices(words, weights, k=_WORDS_OF_A_PASSAGE)
        found.append(". ".join(" ".join(said[at : at + 15]).capitalize() for at in range(0, len(said), 15)))
    return found


def names(drawn: random.Random, words: Sequence[str], count: int) -> list[str]:
    return [" ".join(drawn.choices(words, k=drawn.choice((1, 2, 2, 3)))) for _ in range(count)]


def speed(find: Callable[[str], Any], texts: Sequence[str], *, patience_s: float = 1e9) -> tuple[float, int, int]:
    """Megabytes of UTF-8 a second; how many passages, and how many matches in them."""
    began, size, matches, done = time.process_time(), 0, 0, 0
    for text in texts:
        matches += len(find(text))
        size += len(text.encode())
        done += 1
        if time.process_time() - began > patience_s:
            break
    return size / 1e6 / (time.process_time() - began), done, matches


def measure(drawn: random.Random, words: Sequence[str], texts: Sequence[str], count: int) -> dict[str, Any]:
    looked_for = names(drawn, words, count)
    began = time.process_time()
    finder = Finder((UUID(int=number), [name]) for number, name in enumerate(looked_for)).prepare()
    built_s = time.process_time() - began
    speed(finder.find, texts[: len(texts) // 10])  # the words that it remembers
    rate, done, matches = speed(finder.find, texts)
    say(f"{count:,} names: built in {built_s:.2f} s, {rate:.1f} MB/s, {matches} mentions in {done} passages")
    ordered = sorted({name.lower() for name in looked_for}, key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, ordered))})\b")
    by_pattern, tried, _ = speed(lambda text: pattern.findall(text.lower()), texts, patience_s=_PATIENCE_S)
    say(f"{count:,} names: a regular expression: {by_pattern:.4f} MB/s, of {tried} passages")
    return {
        "names": len(finder),
        "built_s": round(built_s, 2),
        "megabytes_per_s": round(rate, 2),
        "passages_per_s": round(rate * 1e6 * done / sum(len(text.encode()) for text in texts)),
        "mentions_per_passage": round(matches / done, 2),
        "regex_megabytes_per_s": round(by_pattern, 4),
        "times_as_fast_as_regex": round(rate / by_pattern, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--passages", type=int, default=5_000)
    parser.add_argument("--accents", type=float, default=0.1, help="share of words with an accent")
    parser.add_argument("--no-save", action="store_true", help="print only")
    arguments = parser.parse_args()
    drawn = random.Random(1)
    words = vocabulary(drawn, arguments.accents)
    texts = passages(drawn, words, arguments.passages)
    results = {str(count): measure(drawn, words, texts, count) for count in arguments.names}
    columns = (
        "names",
        "built_s",
        "megabytes_per_s",
        "passages_per_s",
        "regex_megabytes_per_s",
        "times_as_fast_as_regex",
    )
    report.table("finding names", columns, [[each[name] for name in columns] for each in results.values()])
    if not arguments.no_save:
        report.save("mentions", results)


if __name__ == "__main__":
    main()
