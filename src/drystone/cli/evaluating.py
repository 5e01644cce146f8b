"""`drystone eval`: how well a collection answers judged queries, and whether another setting answers them better.

A client of the HTTP API. Imports stay inside the command: numpy alone takes longer than `drystone --help`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drystone.cli.answers import Mode
from drystone.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from drystone.cli.asking import Holdings
    from drystone.cli.client import Client
    from drystone.evaluation.coverage import Gap
    from drystone.evaluation.judgements import Judgements, Queries
    from drystone.evaluation.results import Evaluation
    from drystone.evaluation.runs import Run

_RETRY_S = 60.0


def evaluate(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Where to look.")],
    queries: Annotated[
        Path, typer.Option(metavar="FILE", help='JSONL of {"_id", "text"} as BEIR has it, or lines of id<TAB>text.')
    ],
    qrels: Annotated[
        Path, typer.Option(metavar="FILE", help="What is relevant to each: BEIR's TSV with its header, or TREC's.")
    ],
    mode: Annotated[
        Mode, typer.Option(help="hybrid: words and meaning; dense: meaning only; lexical: words only.")
    ] = "hybrid",
    set_: Annotated[
        str | None, typer.Option("--set", metavar="SETTINGS", help="Other fields of the search request, as above.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTINGS", help="Compare with the same search but for these fields; more than once if wanted."
        ),
    ] = None,
    against_run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Compare with a run: one of --save-run, or another system's in TREC's format."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write report.html, charts, results.json and run.jsonl there.")
    ] = None,
    save_run: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what was ranked, to compare with it later.")
    ] = None,
    trec: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was ranked in TREC's format, for trec_eval and others."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE=NUMBER", help="Exit code 1 if it is less, as in ndcg@10=0.5; more than once if wanted."
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse", help="Exit code 1 if a measure is worse than a compared one's: its interval is below 0."
        ),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Queries asked at a time; with more than 1 latencies hold waiting.")
    ] = 1,
    resamples: Annotated[int, typer.Option(min=2000, max=1_000_000, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples: the same seed, the same intervals.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every query.")] = False,
) -> None:
    """Measure search on judged queries: nDCG@10, Recall@100 and MRR@10 with 95 % intervals, and latency.

    Judgements name documents by external id, or by id. Each query asks for 100 documents, each at the place of its
    best passage.

    SETTINGS are fields of the search request, KEY=VALUE[,KEY=VALUE…], such as mode, filter or collection; JSON values
    count as JSON.

    [bold]Examples[/bold]
    drystone eval papers --queries queries.jsonl --qrels qrels.tsv
    drystone eval papers --queries q.tsv --qrels qrels.tsv --against mode=lexical --report evaluation
    drystone eval papers --queries q.tsv --qrels qrels.tsv --against-run before.jsonl --json
    drystone eval papers --queries q.tsv --qrels qrels.tsv --fail-under ndcg@10=0.5
    """
    from drystone.cli import scoreboard, terminal
    from drystone.cli.asking import DOCUMENTS
    from drystone.cli.client import open_client
    from drystone.evaluation import gate, runs, settings
    from drystone.evaluation import report as reports

    floors = gate.parse(fail_under or ())
    if fail_if_worse and not (against or against_run):
        raise Invalid("eval.nothing_to_compare", "--fail-if-worse compares.", hint="add --against or --against-run")
    ours = {"collection": collection, "mode": mode, **(settings.parse(set_) if set_ else {})}
    searches = [ours, *({**ours, **settings.parse(each)} for each in against or ())]
    task = _read(queries, qrels, searches, against_run or ())
    _check_places(files=(save_run, trec), folder=report)
    with open_client(retry_s=_RETRY_S) as client:
        found = _evaluate(client, task, concurrency=concurrency, resamples=resamples, seed=seed)
    run = found.ours.run
    if save_run is not None:
        runs.save(run, save_run)
    if trec is not None and (renamed := runs.save_trec(run, trec)):
        terminal.say(f"{renamed} ids with blanks are written to {trec} with %20 in their place")
    if as_json:
        from drystone.evaluation import results

        terminal.print_json(results.as_json(found))
    else:
        scoreboard.show(found)
    for note in scoreboard.notes(found, DOCUMENTS):
        terminal.say(note)
    if report is not None:
        terminal.say(f"written: {reports.write(found, report)}")
    if failed := [*gate.below(found, floors), *(gate.worse(found) if fail_if_worse else ())]:
        for line in failed:
            terminal.say(f"failed: {line}")
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Task:
    """What is to be evaluated. searches: settings of each, the first is compared with the others and with `runs`."""

    queries: Queries
    judgements: Judgements
    gaps: Sequence[Gap]
    searches: Sequence[Mapping[str, Any]]
    runs: Sequence[Run]

    @property
    def collections(self) -> list[str]:
        return list(dict.fromkeys(str(each["collection"]) for each in self.searches))


def _read(queries: Path, qrels: Path, searches: Sequence[Mapping[str, Any]], others: Sequence[Path]) -> _Task:
    """All files, before anything is asked. Raises Invalid where no query is left to ask."""
    from drystone.evaluation import coverage, judgements, runs

    judged = judgements.read_judgements(qrels)
    askable, gaps = coverage.askable(judgements.read_queries(queries), judged)
    loaded = []
    for path in others:
        run, lacking = coverage.with_all(runs.load(path), askable)
        askable = {query_id: text for query_id, text in askable.items() if query_id in run.rankings}
        loaded.append(run)
        gaps += lacking
    if not askable:
        raise Invalid(
            "eval.nothing_to_ask",
            f"No query of {queries} has a relevant document in {qrels}" + (" and is in every run." if others else "."),
            hint="\n".join(map(str, gaps)) or None,
        )
    return _Task(askable, judged, gaps, searches, loaded)


def _check_places(*, files: Sequence[Path | None], folder: Path | None) -> None:
    """Raises before hundreds of queries are asked in vain."""
    for path in (*files, folder):
        if path is None:
            continue
        if path is not folder and not path.absolute().parent.is_dir():
            raise NotFound("file.not_found", f"There is no folder {path.absolute().parent}.", hint="make it first")
        if path.exists() and path.is_dir() != (path is folder):
            raise Invalid("eval.bad_place", f"{path} is {'no folder' if path is folder else 'a folder'}.")


def _evaluate(client: Client, task: _Task, *, concurrency: int, resamples: int, seed: int) -> Evaluation:
    from datetime import UTC, datetime

    from drystone import __version__
    from drystone.cli import asking
    from drystone.evaluation import coverage, runs, scoring
    from drystone.evaluation.results import Evaluation

    counts = client.collection(task.collections[0])
    judged = coverage.judged_documents(task.judgements, task.queries)
    held = {collection: asking.holdings(client, collection, judged) for collection in task.collections}
    names, titles, missing = _agree(task, judged, held)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    asked = _ask_all(client, task, titles, made_at=made_at, version=__version__, concurrency=concurrency)
    judgements = coverage.renamed(task.judgements, names)
    scores = [
        scoring.score(run, judgements, list(task.queries), resamples=resamples, seed=seed)
        for run in _named_apart((*asked, *(runs.renamed(run, names) for run in task.runs)))
    ]
    return Evaluation(
        collection=task.collections[0],
        made_at=made_at,
        version=__version__,
        documents=sum(counts["documents"].values()),
        passages=counts["chunks"],
        queries=task.queries,
        judgements=judgements,
        scores=scores,
        comparisons=[scoring.compare(scores[0], each, resamples=resamples, seed=seed) for each in scores[1:]],
        gaps=(*task.gaps, *missing),
        titles=titles,
        resamples=resamples,
        seed=seed,
    )


def _agree(
    task: _Task, judged: Mapping[str, int], held: Mapping[str, Holdings]
) -> tuple[dict[str, str], dict[str, str], list[Gap]]:
    """Names of documents that judgements call by their id, titles, and what the collections lack.

    Raises Invalid where a collection has none of the judged documents: then the ids are others.
    """
    from drystone.evaluation import coverage

    names: dict[str, str] = {}
    titles: dict[str, str] = {}
    for each in held.values():
        names |= each.names
        titles |= each.titles
    by_name = {names.get(document, document): grade for document, grade in judged.items()}
    gaps: list[Gap] = []
    for collection, each in held.items():
        if not each.present:
            theirs = (
                f" Its documents go by ids such as {', '.join(each.examples)}." if each.examples else " It is empty."
            )
            raise Invalid(
                "eval.no_judged_document",
                f"None of the {len(judged)} judged documents is in {collection}.{theirs}",
                hint="judgements name documents by their external id, or by their id where they have none",
            )
        gaps += coverage.of_documents(by_name, collection, present=each.present, unsearchable=each.unsearchable)
    return names, titles, gaps


def _ask_all(
    client: Client, task: _Task, titles: dict[str, str], *, made_at: str, version: str, concurrency: int
) -> list[Run]:
    from drystone.cli import asking
    from drystone.evaluation import settings
    from drystone.evaluation.runs import Origin, Run

    found = []
    with _progress(len(task.queries) * len(task.searches)) as advance:
        for search in task.searches:
            rankings = asking.ask(client, search, task.queries, concurrency=concurrency, titles=titles, advance=advance)
            origin = Origin(made_at, version, asking.DOCUMENTS, dict(search))
            found.append(Run(settings.name(search, collection=task.collections[0]), origin, rankings))
    return found


def _named_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with a number behind a name that another has already."""
    from dataclasses import replace

    taken: set[str] = set()
    found = []
    for run in runs:
        name, number = run.name, 1
        while name in taken:
            number += 1
            name = f"{run.name} ({number})"
        taken.add(name)
        found.append(replace(run, name=name))
    return found


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, if that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from drystone.cli import terminal

    console = terminal.err()
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        asked = progress.add_task("asked", total=total)
        yield lambda: progress.advance(asked)
