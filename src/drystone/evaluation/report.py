"""A folder that tells an evaluation to people: one HTML page that needs nothing else, its charts, the numbers, the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from drystone.evaluation import charts, results, runs, scoring
from drystone.evaluation.charts import Bar, Interval, Line
from drystone.evaluation.results import Evaluation
from drystone.evaluation.runs import Ranking
from drystone.evaluation.scoring import LEADING, MEASURES, Comparison, Scores

PAGE = "report.html"
_CURVE_TICKS = (1, 2, 5, 10, 20, 50, 100)
# Queries that are shown with what was wanted and what was found; the others get a line of numbers.
_EXPLAINED = 100
_CHANGED = 10
_SHOWN_DOCUMENTS = 3
_QUOTE_CHARACTERS = 140


def write(evaluation: Evaluation, folder: Path) -> Path:
    """Write report.html, the charts as SVG, results.json and run.jsonl; files of these names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _charts(evaluation)
    for name, chart in drawn.items():
        (folder / f"{name}.svg").write_text(chart, encoding="utf-8")
    found = json.dumps(results.as_json(evaluation), ensure_ascii=False, indent=2)
    (folder / "results.json").write_text(found + "\n", encoding="utf-8")
    runs.save(evaluation.ours.run, folder / "run.jsonl")
    page = folder / PAGE
    page.write_text(_page(evaluation, drawn), encoding="utf-8")
    return page


def _charts(evaluation: Evaluation) -> dict[str, str]:
    groups = [(measure.label, [_interval(scores, measure.key) for scores in evaluation.scores]) for measure in MEASURES]
    lines = [
        Line(scores.run.name, [(rank, value) for rank, value in enumerate(scores.recall_at, start=1)])
        for scores in evaluation.scores
    ]
    drawn = {
        "measures": charts.interval_chart("Means with 95 % intervals", groups),
        "recall": charts.line_chart(
            "Recall at rank", "documents looked at", "recall", lines, most_y=1.0, x_ticks=_CURVE_TICKS
        ),
    }
    for number, comparison in enumerate(evaluation.comparisons, start=1):
        drawn[f"difference-{number}"] = charts.difference_chart(
            f"{LEADING.label}, {comparison.ours} − {comparison.theirs}, by query",
            f"{len(evaluation.queries)} queries, most gained first",
            "difference",
            _bars(evaluation, comparison),
        )
    return drawn


def _interval(scores: Scores, key: str) -> Interval:
    mean = scores.means[key]
    return Interval(scores.run.name, mean.value, mean.low, mean.high)


def _bars(evaluation: Evaluation, comparison: Comparison) -> list[Bar]:
    """One per query; those that are tied keep their place as a gap."""
    return [Bar(query_id, comparison.changed.get(query_id, 0.0)) for query_id in evaluation.queries]


def _page(evaluation: Evaluation, drawn: Mapping[str, str]) -> str:
    title = f"Search in {evaluation.collection}, evaluated"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(_lead(evaluation))}</p>',
        _gaps(evaluation),
        "<h2>Measures</h2>",
        _measures(evaluation),
        _figure(drawn["measures"]),
        _figure(drawn["recall"]),
        *(
            _comparison(evaluation, comparison, drawn[f"difference-{number}"])
            for number, comparison in enumerate(evaluation.comparisons, start=1)
        ),
        "<h2>Queries, worst first</h2>",
        _queries(evaluation),
        "<h2>How it was measured</h2>",
        _method(evaluation),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _lead(evaluation: Evaluation) -> str:
    return (
        f"{len(evaluation.queries)} judged queries, {evaluation.documents} documents, {evaluation.passages} passages. "
        f"Drystone {evaluation.version}, {results.time_text(evaluation.made_at)}."
    )


def _gaps(evaluation: Evaluation) -> str:
    if not evaluation.gaps:
        return ""
    return f'<div class="note"><p>Judgements and collection do not fit entirely:</p>{_list(map(str, evaluation.gaps))}</div>'


def _measures(evaluation: Evaluation) -> str:
    head = ("run", *(measure.label for measure in MEASURES), "p50", "p95", "documents a query")
    rows = [
        (
            _strong(scores.run.name),
            *(_mean(scores, measure.key) for measure in MEASURES),
            _ms(scores.p50_ms),
            _ms(scores.p95_ms),
            f"{scores.documents:.1f}",
        )
        for scores in evaluation.scores
    ]
    return _table(head, rows, numbers_from=1)


def _comparison(evaluation: Evaluation, comparison: Comparison, chart: str) -> str:
    rows = []
    for measure in MEASURES:
        change = comparison.changes[measure.key]
        by = change.difference
        verdict = "gain" if by.low > 0 else "loss" if by.high < 0 else "muted"
        rows.append(
            (
                _strong(measure.label),
                f'<b class="{verdict}">{by.value:+.3f}</b> <span class="muted">[{by.low:+.3f}, {by.high:+.3f}]</span>',
                results.p_text(by.p_value),
                str(change.better),
                str(change.worse),
                str(change.equal),
            )
        )
    changed = list(comparison.changed.items())
    gained = [each for each in changed if each[1] > 0][:_CHANGED]
    lost = [each for each in reversed(changed) if each[1] < 0][:_CHANGED]
    return "\n".join(
        (
            f"<h2>{escape(comparison.ours)} against {escape(comparison.theirs)}</h2>",
            _table(("measure", "difference", "p", "better", "worse", "equal"), rows, numbers_from=1),
            _figure(chart),
            _changed(f"Most gained in {LEADING.label}", evaluation, comparison, gained),
            _changed(f"Most lost in {LEADING.label}", evaluation, comparison, lost),
        )
    )


def _changed(title: str, evaluation: Evaluation, comparison: Comparison, changed: Sequence[tuple[str, float]]) -> str:
    if not changed:
        return ""
    by_name = {scores.run.name: scores for scores in evaluation.scores}
    ours, theirs = by_name[comparison.ours], by_name[comparison.theirs]
    rows = [
        (
            _query(evaluation, query_id),
            f"{theirs.by_query[LEADING.key][query_id]:.3f}",
            f"{ours.by_query[LEADING.key][query_id]:.3f}",
            f'<b class="{"gain" if by > 0 else "loss"}">{by:+.3f}</b>',
        )
        for query_id, by in changed
    ]
    head = ("query", comparison.theirs, comparison.ours, "difference")
    return f"<h3>{escape(title)}</h3>{_table(head, rows, numbers_from=1)}"


def _queries(evaluation: Evaluation) -> str:
    ours, ordered = evaluation.ours, scoring.worst_first(evaluation.ours)
    labels = [measure.label.replace("MRR", "RR") for measure in MEASURES]
    explained = [query_id for query_id in ordered if ours.by_query[LEADING.key][query_id] < 1][:_EXPLAINED]
    rows = [
        (
            _query(evaluation, query_id),
            _wanted(evaluation, query_id),
            _found(evaluation, query_id),
            *(f"{ours.by_query[measure.key][query_id]:.3f}" for measure in MEASURES),
        )
        for query_id in explained
    ]
    rest = [query_id for query_id in ordered if query_id not in set(explained)]
    short = [
        (_query(evaluation, query_id), *(f"{ours.by_query[measure.key][query_id]:.3f}" for measure in MEASURES))
        for query_id in rest
    ]
    said = f'<p class="muted">Of {escape(ours.run.name)}. Wanted documents with the rank they were found at.</p>'
    table = _table(("query", "wanted", "found first", *labels), rows, numbers_from=3) if rows else ""
    if not rest:
        return said + table
    more = f"<details><summary>The other {len(rest)} queries</summary>{_table(('query', *labels), short, numbers_from=1)}</details>"
    return said + table + more


def _query(evaluation: Evaluation, query_id: str) -> str:
    return f'{escape(evaluation.queries[query_id])}<br><span class="id">{escape(query_id)}</span>'


def _wanted(evaluation: Evaluation, query_id: str) -> str:
    ranking = evaluation.ours.run.rankings[query_id]
    grades = evaluation.judgements[query_id]
    relevant = sorted((document for document, grade in grades.items() if grade > 0), key=lambda each: -grades[each])
    ranks = {document: rank for rank, document in enumerate(ranking.documents, start=1)}
    relevant.sort(key=lambda each: ranks.get(each, len(ranks) + 1))
    shown = [
        f"{_rank(ranks.get(document))} {_document(evaluation, document)}" for document in relevant[:_SHOWN_DOCUMENTS]
    ]
    if len(relevant) > _SHOWN_DOCUMENTS:
        found = sum(document in ranks for document in relevant)
        shown.append(f'<span class="muted">{len(relevant)} in all, {found} found</span>')
    return _list(shown, is_html=True)


def _rank(rank: int | None) -> str:
    return '<b class="loss">not found</b>' if rank is None else f"<b>{rank}.</b>"


def _found(evaluation: Evaluation, query_id: str) -> str:
    ranking, grades = evaluation.ours.run.rankings[query_id], evaluation.judgements[query_id]
    if not ranking.documents:
        return '<span class="muted">nothing</span>'
    shown = []
    for document in ranking.documents[:_SHOWN_DOCUMENTS]:
        mark = '<b class="gain">✓</b>' if grades.get(document, 0) > 0 else '<b class="muted">–</b>'
        shown.append(f"{mark} {_document(evaluation, document)}{_quote(ranking, document)}")
    return _list(shown, is_html=True)


def _document(evaluation: Evaluation, document: str) -> str:
    title = evaluation.titles.get(document)
    name = f'<span class="id">{escape(document)}</span>'
    return f"{escape(title)} {name}" if title and title != document else name


def _quote(ranking: Ranking, document: str) -> str:
    quote = " ".join(ranking.quotes.get(document, "").split())
    if not quote:
        return ""
    cut = f"{quote[:_QUOTE_CHARACTERS].rsplit(' ', 1)[0]} …" if len(quote) > _QUOTE_CHARACTERS else quote
    return f'<br><span class="quote">{escape(cut)}</span>'


def _method(evaluation: Evaluation) -> str:
    said = [
        "Each query asks for 100 documents, each at the place of its best passage. Where fewer were found, Recall@100 is that of "
        "those.",
        "nDCG@10 takes grades as they are, discounted by log2(rank + 1), as trec_eval does. MRR@10 is the mean of 1 / rank of "
        "the first relevant document, 0 beyond the tenth.",
        f"Intervals hold 95 % of the means of {evaluation.resamples} bootstrap resamples over queries (seed {evaluation.seed}); "
        "differences are paired by query, and p is that of a two-sided randomisation test.",
        "Latencies are of the search requests as their client saw them.",
    ]
    origins = [
        (
            _strong(scores.run.name),
            escape(json.dumps(scores.run.origin.settings, ensure_ascii=False))
            if scores.run.origin.settings
            else "not known",
            escape(scores.run.origin.version or "not known"),
            results.time_text(scores.run.origin.made_at),
        )
        for scores in evaluation.scores
    ]
    return _list(said) + _table(("run", "settings", "Drystone", "made"), origins, numbers_from=4)


def _mean(scores: Scores, key: str) -> str:
    mean = scores.means[key]
    return f'<b>{mean.value:.3f}</b> <span class="muted">[{mean.low:.3f}, {mean.high:.3f}]</span>'


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _strong(text: str) -> str:
    return f"<b>{escape(text)}</b>"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _list(items: Iterable[str], *, is_html: bool = False) -> str:
    return f"<ul>{''.join(f'<li>{item if is_html else escape(item)}</li>' for item in items)}</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    """rows: cells as HTML. numbers_from: the first column of numbers, which stand to the right."""

    def kind(column: int) -> str:
        return ' class="number"' if column >= numbers_from else ""

    heads = "".join(f"<th{kind(column)}>{escape(name)}</th>" for column, name in enumerate(head))
    body = "\n".join(
        f"<tr>{''.join(f'<td{kind(column)}>{cell}</td>' for column, cell in enumerate(row))}</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


_STYLE = """
:root { --paper: #ffffff; --ink: #1b1f24; --muted: #5b636d; --grid: #e2e5e9; --note: #fff7e0; --gain: #007a59; --loss: #b84a00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #201e1b; --ink: #ece7df; --muted: #ada497; --grid: #3a362f; --note: #2c2715; --gain: #35c79c; --loss: #f08c4a; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
.lead, .muted, .id, .quote { color: var(--muted); }
.lead { margin: 0 0 1.5rem; }
.id { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.quote { font-size: .88em; }
.gain { color: var(--gain); }
.loss { color: var(--loss); }
.note { background: var(--note); border-radius: .4rem; padding: .6rem 1rem; }
.note p { margin: 0 0 .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); white-space: nowrap; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
.number { text-align: right; white-space: nowrap; padding: .45rem 0 .45rem .9rem; }
ul { margin: 0; padding-left: 1.1rem; }
td ul { list-style: none; padding: 0; }
td li + li { margin-top: .35rem; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; height: auto; border: 1px solid var(--grid); border-radius: .4rem; box-sizing: border-box; }
summary { cursor: pointer; margin: 1rem 0; color: var(--muted); }
"""
