"""An evaluation for people on a terminal and, as lines with tabs, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drystone.cli import terminal
from drystone.evaluation import results
from drystone.evaluation.results import Evaluation
from drystone.evaluation.scoring import LEADING, MEASURES, Comparison, Scores

if TYPE_CHECKING:
    from rich.text import Text

# Queries that changed most are shown with so many gains and as many losses.
_SHOWN = 5
# Below so many values the bootstrap's percentiles hold the mean visibly more seldom than they say.
_FEW = 30
# What the table of measures takes beside the names of the runs.
_NUMBERS_WIDTH = 94


def show(evaluation: Evaluation) -> None:
    """Measures with intervals, then each comparison."""
    if not terminal.is_terminal():
        _print_rows(evaluation)
        return
    from rich.text import Text

    console = terminal.out()
    counts = (
        f"{len(evaluation.queries)} judged queries, {evaluation.documents} documents, {evaluation.passages} passages"
    )
    console.print(Text.assemble((terminal.clean(evaluation.collection), "bold"), f"  {counts}"))
    console.print()
    longest = max(len(each.run.name) for each in evaluation.scores)
    if console.width >= _NUMBERS_WIDTH + longest:
        console.print(_measures(evaluation.scores))
    else:
        for each in evaluation.scores:
            console.print(_one_below_the_other(each))
    for comparison in evaluation.comparisons:
        console.print()
        console.print(Text(terminal.clean(f"{comparison.ours} − {comparison.theirs}"), "bold"))
        console.print(_changes(comparison))
        for title, changed in (("gained most", _gained(comparison)), ("lost most", _lost(comparison))):
            if changed:
                console.print()
                console.print(_changed(title, evaluation, comparison, changed))


def notes(evaluation: Evaluation, documents: int) -> list[str]:
    """What to know when reading the numbers."""
    said = [str(gap) for gap in evaluation.gaps]
    if evaluation.ours.documents < documents <= evaluation.documents:
        said.append(
            f"a query was answered with {evaluation.ours.documents:.1f} documents in the mean, not {documents}: "
            "Recall@100 looks at no more than these"
        )
    if len(evaluation.queries) < _FEW:
        said.append(f"{len(evaluation.queries)} queries are few: intervals over less than {_FEW} tend to be too narrow")
    return said


def _measures(scores: Sequence[Scores]) -> Any:
    from rich.text import Text

    table = _table(("", *(measure.label for measure in MEASURES), "p50", "p95"))
    for each in scores:
        means = (_mean(each, measure.key) for measure in MEASURES)
        table.add_row(Text(terminal.clean(each.run.name)), *means, Text(_ms(each.p50_ms)), Text(_ms(each.p95_ms)))
    return table


def _one_below_the_other(scores: Scores) -> Text:
    from rich.text import Text

    lines = Text.assemble((terminal.clean(scores.run.name), "bold"), overflow="fold")
    for measure in MEASURES:
        lines.append(f"\n  {measure.label:<13}").append_text(_mean(scores, measure.key))
    if scores.p50_ms is not None:
        lines.append(f"\n  {'latency':<13}{_ms(scores.p50_ms)} p50, {_ms(scores.p95_ms)} p95")
    return lines


def _mean(scores: Scores, key: str) -> Text:
    from rich.text import Text

    mean = scores.means[key]
    return Text.assemble((f"{mean.value:.3f}", "bold"), (f" [{mean.low:.3f}, {mean.high:.3f}]", "dim"))


def _changes(comparison: Comparison) -> Any:
    from rich.text import Text

    table = _table(("", "difference", "p", "better", "worse", "equal"))
    for measure in MEASURES:
        change = comparison.changes[measure.key]
        by = change.difference
        style = "bold green" if by.low > 0 else "bold red" if by.high < 0 else "bold"
        difference = Text.assemble((f"{by.value:+.3f}", style), (f" [{by.low:+.3f}, {by.high:+.3f}]", "dim"))
        counts = (str(change.better), str(change.worse), str(change.equal))
        table.add_row(Text(measure.label), difference, results.p_text(by.p_value), *counts)
    return table


def _changed(title: str, evaluation: Evaluation, comparison: Comparison, changed: Sequence[tuple[str, float]]) -> Any:
    from rich.text import Text

    table = _table((title, LEADING.label, ""), cut=0)
    for query_id, by in changed:
        theirs, ours = _values(evaluation, comparison, query_id)
        text = Text.assemble((f"{terminal.clean(query_id)}  ", "dim"), terminal.clean(evaluation.queries[query_id]))
        moved = Text(f"{theirs:.3f} → {ours:.3f}")
        table.add_row(_cut(text), moved, Text(f"{by:+.3f}", "green" if by > 0 else "red"))
    return table


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _values(evaluation: Evaluation, comparison: Comparison, query_id: str) -> tuple[float, float]:
    """The leading measure of a query: theirs, ours."""
    of_run = {scores.run.name: scores.by_query[LEADING.key] for scores in evaluation.scores}
    return of_run[comparison.theirs][query_id], of_run[comparison.ours][query_id]


def _gained(comparison: Comparison) -> list[tuple[str, float]]:
    return [each for each in comparison.changed.items() if each[1] > 0][:_SHOWN]


def _lost(comparison: Comparison) -> list[tuple[str, float]]:
    return [each for each in reversed([*comparison.changed.items()]) if each[1] < 0][:_SHOWN]


def _table(names: Sequence[str], *, cut: int | None = None) -> Any:
    """The first column is text, the others numbers. cut: the column that gives way where there is no room."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=number != 0 and cut is not None)
    return table


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _print_rows(evaluation: Evaluation) -> None:
    """The first cell says what a line is about: measure, latency_ms, difference, gained, lost."""
    for scores in evaluation.scores:
        for measure in MEASURES:
            mean = scores.means[measure.key]
            numbers = (f"{value:.4f}" for value in (mean.value, mean.low, mean.high))
            terminal.print_row("measure", scores.run.name, measure.key, *numbers)
        terminal.print_row("latency_ms", scores.run.name, "p50", _plain(scores.p50_ms))
        terminal.print_row("latency_ms", scores.run.name, "p95", _plain(scores.p95_ms))
    for comparison in evaluation.comparisons:
        names = (comparison.ours, comparison.theirs)
        for measure in MEASURES:
            change = comparison.changes[measure.key]
            by = change.difference
            numbers = (f"{value:+.4f}" for value in (by.value, by.low, by.high))
            counts = (change.better, change.worse, change.equal)
            terminal.print_row("difference", *names, measure.key, *numbers, f"{by.p_value:.4f}", *counts)
        for what, changed in (("gained", _gained(comparison)), ("lost", _lost(comparison))):
            for query_id, amount in changed:
                terminal.print_row(what, *names, query_id, f"{amount:+.4f}", evaluation.queries[query_id])


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
