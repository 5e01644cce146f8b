"""Drystone beside others, same model and same passages in one run: quality, ingestion, latency, memory and disk.

    python -m benchmarks.peers FOLDER… [--only NAME…] [--rounds 3] [--questions 300]

FOLDER: a judged collection (BEIR). Each peer has a process, an environment (made once, with uv) and a data folder of its
own. They ingest one after the other; then all answer the same questions in turn, round by round.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import bare, corpus, memory, report, spent, stacks
from benchmarks.corpus import Corpus
from benchmarks.report import ROOT, say
from drystone.adapters.embedding import model
from drystone.core.settings import Settings
from drystone.evaluation import measures
from drystone.stack import processes
from drystone.stack.services import POSTGRES
from drystone.stack.supervise import Servers

DRYSTONE = "drystone"
FEW, MANY = 10, 100  # documents asked for


@dataclass(frozen=True)
class Peer:
    """packages: pinned; what they need in turn is held by NOT_AFTER."""

    title: str
    packages: tuple[str, ...] = ()
    needs_postgres: bool = False


PEERS = {
    DRYSTONE: Peer("hybrid, the whole stack over HTTP"),
    "chroma": Peer("chromadb: vectors", ("chromadb==1.5.9",)),
    "qdrant": Peer("qdrant-client, local mode: vectors", ("qdrant-client==1.20.0",)),
    "langchain": Peer("LangChain PGVector: vectors", ("langchain-postgres==0.0.19", "langchain-core==1.7.2"), True),
    "llamaindex": Peer(
        "LlamaIndex PGVectorStore: hybrid",
        ("llama-index-vector-stores-postgres==0.9.0", "llama-index-core==0.14.25"),
        True,
    ),
    "recipe": Peer(
        "pgvector's own example: hybrid", ("psycopg==3.3.9", "psycopg-binary==3.3.9", "pgvector==0.5.1"), True
    ),
    "bm25": Peer("bm25s: words", ("bm25s==0.3.16", "pystemmer==3.1.0")),
}
NOT_AFTER = "2026-11-20T00:00:00Z"
# The project's own versions, for they decide vectors and speed; then what else the model's adapter imports.
_OF_THE_PROJECT = ("numpy", "onnxruntime", "tokenizers")
_OF_THE_ADAPTER = ("pydantic", "pydantic-settings", "python-dotenv", "structlog")

# Measure -> heading of its column.
SHOWN = {
    "ndcg@10": "nDCG\n@10",
    "recall@100": "Recall\n@100",
    "documents_per_s": "documents\n/s",
    "cpu_ms_a_document": "CPU ms\n/document",
    "p50_ms": "p50\nms",
    "p95_ms": "p95\nms",
    "cpu_ms_a_question": "CPU ms\n/question",
    "memory_mb": "memory\nMB",
    "disk_mb": "disk\nMB",
}


class Contender:
    """One peer that is being measured: the process that asks it, and what it takes.

    root: a temporary project; what the peer keeps is in the data folder of its settings.
    """

    def __init__(self, name: str, root: Path, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.settings = stacks.settings_of(root)
        self.peak_mb = 0.0
        self._process = process

    @property
    def disk_mb(self) -> float:
        """Of its data folder; of PostgreSQL's, where it keeps everything there; logs are in none but Drystone's."""
        data_dir = self.settings.general.data_dir
        part = "postgres" if PEERS[self.name].needs_postgres else self.name
        return size_mb(data_dir if self.name == DRYSTONE else data_dir / part)

    def order(self, **order: Any) -> dict[str, Any]:
        """Have it do something; its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def look(self) -> None:
        """Note what memory it takes now: PSS of the stack; of the peer's process and its PostgreSQL."""
        found = {name: sizes["pss_mb"] for name, sizes in memory.by_program(self.settings).items() if name != "all"}
        self.peak_mb = max(self.peak_mb, self._sum(found))

    def cpu_s(self) -> float:
        """Seconds of processor time used so far by the same programs."""
        return self._sum({name: took_s for name, took_s in spent.seconds(self.settings).items() if name != "client"})

    def _sum(self, by_program: Mapping[str, float]) -> float:
        counted = by_program.keys() if self.name == DRYSTONE else {self.name, "postgres"}
        return sum(value for name, value in by_program.items() if name in counted)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look every other second while the block runs, and at its end."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(2):
                self.look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        self.look()


@contextlib.contextmanager
def opened(name: str, python: Path, model_dir: Path) -> Iterator[tuple[Contender, dict[str, str]]]:
    """A peer that holds nothing yet, with the versions of its packages."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(stacks.temporary_root(model_dir=model_dir))
        settings = stacks.settings_of(root)
        folder, database = root, ""
        if name == DRYSTONE:
            stack.callback(stacks.command, root, "down")
            stacks.command(root, "up", "--detach")
        elif PEERS[name].needs_postgres:
            stack.enter_context(Servers(settings, root, services=[POSTGRES]))
            database = _as_superuser(settings)
        else:
            folder = settings.general.data_dir / name
            folder.mkdir(parents=True)
        process = stack.enter_context(_process(name, python, settings))
        contender = Contender(name, root, process)
        packages = [each.partition("==")[0] for each in PEERS[name].packages]
        answer = contender.order(
            name=name,
            folder=str(folder),
            database=database,
            model_dir=str(model_dir),
            threads=settings.worker.concurrency,
            packages=packages,
        )
        yield contender, answer["versions"]


def _as_superuser(settings: Settings) -> str:
    """As most programs connect: libraries make tables and ask for the extension themselves."""
    parts = settings.database.parts
    password = settings.database.superuser_password.get_secret_value()
    return f"postgresql://postgres:{password}@{parts.host}:{parts.port}/{parts.database}"


@contextlib.contextmanager
def _process(name: str, python: Path, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """`python -m benchmarks.stores`, marked so that its memory is found; Drystone's is a client and not counted."""
    mark = {}
    if name != DRYSTONE:
        mark = processes.mark(processes.new_run_id(settings.general.data_dir), name)
    # One thread each for what would take all processors: embedding is spread by us, as the stack's workers spread it.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {"TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [python, "-m", "benchmarks.stores"],
        env={**os.environ, **single, **mark, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment(name: str) -> Path:
    """Python of the peer's own environment, made when it is not there yet; Drystone's client is this one."""
    if name == DRYSTONE:
        return Path(sys.executable)
    pinned = [f"{package}=={metadata.version(package)}" for package in _OF_THE_PROJECT]
    wanted = [*PEERS[name].packages, *pinned, *_OF_THE_ADAPTER]
    digest = hashlib.sha256(json.dumps([wanted, NOT_AFTER, sys.version]).encode()).hexdigest()[:12]
    folder = ROOT / ".drystone" / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        uv = shutil.which("uv") or str(ROOT / ".drystone" / "tools" / "bin" / "uv")
        say(f"{name}: installing {', '.join(PEERS[name].packages)} …")
        # Elsewhere than in the project: its pyproject.toml changes what packages say they need.
        with tempfile.TemporaryDirectory() as elsewhere:
            make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
            install = [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--exclude-newer", NOT_AFTER]
            subprocess.run(make, cwd=elsewhere, check=True)
            # Not as links into uv's cache: pages that another environment maps too would count in part only.
            install += ["--link-mode", "copy", "--python", str(python)]
            subprocess.run([*install, *wanted], cwd=elsewhere, check=True)
        (folder / "done").touch()
    return python


def measure(judged: Corpus, names: Sequence[str], model_dir: Path, rounds: int, most: int) -> dict[str, Any]:
    """What each peer reaches on one collection: `values` by peer and measure, `chunks`, `versions`."""
    documents = judged.documents
    contents = bare.passages_of(documents, model_dir)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drystone-bench-peers-")))
        _write(folder / "documents", [asdict(each) for each in documents])
        passages = [
            {"document": each.id, "text": text}
            for each, texts in zip(documents, contents, strict=True)
            for text in texts
        ]
        _write(folder / "passages", passages)
        contenders: list[Contender] = []
        versions: dict[str, str] = {}
        values: dict[str, dict[str, float]] = {}
        for name in names:
            contender, found = stack.enter_context(opened(name, environment(name), model_dir))
            contenders.append(contender)
            versions |= found
            values[name] = _ingest(
                contender, folder / ("documents" if name == DRYSTONE else "passages"), len(documents)
            )
        for contender in contenders:
            values[contender.name] |= _quality(contender, judged)
        questions = spread([judged.queries[query_id] for query_id in judged.relevant], most)
        for name, each in _latencies(contenders, questions, rounds).items():
            values[name] |= each
        for contender in contenders:
            values[contender.name] |= {"memory_mb": contender.peak_mb}
    return {"chunks": len(passages), "documents": len(documents), "values": values, "versions": versions}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _ingest(contender: Contender, path: Path, documents: int) -> dict[str, float]:
    empty_mb, before_s = contender.disk_mb, contender.cpu_s()
    with contender.watched():
        took_s = contender.order(ingest=str(path))["seconds"]
    say(f"{contender.name}: {documents} documents in {took_s:.1f} s")
    return {
        "documents_per_s": documents / took_s,
        "cpu_ms_a_document": 1000 * (contender.cpu_s() - before_s) / documents,
        "disk_mb": contender.disk_mb,
        "disk_grown_mb": contender.disk_mb - empty_mb,
    }


def _quality(contender: Contender, judged: Corpus) -> dict[str, float]:
    """Every judged question, once for few documents and once for many: warms up too."""
    questions = [judged.queries[query_id] for query_id in judged.relevant]
    few, many = (contender.order(ask=questions, count=count)["found"] for count in (FEW, MANY))
    contender.look()
    relevant = list(judged.relevant.values())
    return {
        "ndcg@10": statistics.mean(map(measures.ndcg, few, relevant)),
        "recall@100": statistics.mean(map(measures.recall, many, relevant)),
    }


def _latencies(contenders: Sequence[Contender], questions: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """In each round all answer the same questions; another one begins each time."""
    took_ms: dict[str, list[list[float]]] = {contender.name: [] for contender in contenders}
    cpu_s = dict.fromkeys(took_ms, 0.0)
    for turn in range(rounds):
        first = turn % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            before_s = contender.cpu_s()
            took_ms[contender.name].append(contender.order(ask=questions, count=FEW)["took_ms"])
            cpu_s[contender.name] += contender.cpu_s() - before_s
            contender.look()
    asked = rounds * len(questions)
    return {name: latency(each) | {"cpu_ms_a_question": 1000 * cpu_s[name] / asked} for name, each in took_ms.items()}


def latency(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """p50 and p95 of each round, and of these the median."""
    return {
        f"p{percent}_ms": statistics.median(measures.percentile(took_ms, percent) for took_ms in rounds)
        for percent in (50, 95)
    }


def spread(questions: Sequence[str], most: int) -> list[str]:
    """At most so many, evenly from first to last."""
    count = min(most, len(questions))
    return [questions[number * len(questions) // count] for number in range(count)]


def size_mb(folder: Path) -> float:
    """What files take on disk: blocks, not lengths, for a store may set space aside. Hard links count once."""
    seen: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a server removes files as it goes
            status = path.lstat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values()) / 1e6


def ratio(value: float, base: float | None) -> float | None:
    """How many times Drystone's; None without it."""
    return value / base if base else None


def rows(values: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """A row a peer: each value, and beneath it how many times Drystone's."""
    base = values.get(DRYSTONE, {})
    return [(name, *(_cell(each[measure], base.get(measure)) for measure in SHOWN)) for name, each in values.items()]


def _cell(value: float, base: float | None) -> str:
    times = ratio(value, base)
    return _short(value) + (f"\n×{_short(times)}" if times is not None else "")


def _short(value: float) -> str:
    """Three digits of a share, two of what is more, none after the point from 100 on."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def lines(name: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line a measured value, with its ratio to Drystone's."""
    base = found["values"].get(DRYSTONE, {})
    return [
        {
            "collection": name,
            "n_chunks": found["chunks"],
            "peer": peer,
            "metric": metric,
            "value": round(value, 4),
            "ratio": None if (times := ratio(value, base.get(metric))) is None else round(times, 4),
        }
        for peer, each in found["values"].items()
        for metric, value in each.items()
    ]


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument(
        "--only", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME", help=f"of {', '.join(PEERS)}"
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="how often the questions are asked for latency")
    parser.add_argument("--questions", type=_positive, default=300, help="how many of them at most")
    return parser.parse_args(words)


def _positive(word: str) -> int:
    if (number := int(word)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main() -> None:
    arguments = arguments_of()
    collections = [corpus.load(folder) for folder in arguments.folders]
    names = [name for name in PEERS if name in arguments.only]
    model_dir = ROOT / ".drystone" / "models"
    model.prepare(model_dir)
    for name in names:
        environment(name)
    saved: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for judged in collections:
        say(f"{judged.name}: {len(judged.documents)} documents, {len(judged.relevant)} questions")
        found = measure(judged, names, model_dir, arguments.rounds, arguments.questions)
        title = f"{judged.name}: {found['chunks']} passages; beneath, how many times Drystone's"
        report.table(title, ("peer", *SHOWN.values()), rows(found["values"]))
        saved += lines(judged.name, found)
        versions |= found["versions"]
        report.save_lines("peers", saved, versions=versions)


if __name__ == "__main__":
    main()
