"""A large collection of real text: the English manuals among Debian's documentation packages, cut and embedded once.

    python -m benchmarks.debian [--passages 100000]

Needs apt-get with its lists (`apt-get update`) and dpkg-deb, and no rights. What is made stays in a cache folder and is
not made again: unpacked packages, their documents cut into passages, vectors by the thousand, questions. `load` gives it
to other benchmarks, `fill` writes it into a running stack.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import heapq
import itertools
import json
import multiprocessing
import os
import random
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from benchmarks import report
from benchmarks.report import ROOT, say
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.embedding import model
from drystone.adapters.embedding.bundled import BundledEmbedder
from drystone.adapters.parsing import PARSER_VERSION, Parsed, language, read_html, read_text
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Invalid
from drystone.core.ids import new_id
from drystone.core.settings import Settings
from drystone.documents import chunking, collections, ingest, queries
from drystone.documents.chunking import CHUNKER_VERSION
from drystone.documents.models import Collection
from drystone.documents.queries import NewChunk, Pending
from drystone.index import queries as index
from drystone.index.analysis import Analysed, analyse
from drystone.index.spaces import Space

# Names of Debian 12. One that a release does not have is left out, with a word.
PACKAGES = (
    "abs-guide", "anarchism", "apache2-doc", "apt-doc", "aptitude-doc-en", "autoconf-doc", "bash-doc", "bind9-doc",
    "borgbackup-doc", "c++-annotations-html", "cmake-doc", "debian-faq", "debian-handbook", "debian-kernel-handbook",
    "debian-policy", "debian-reference-en", "debmake-doc", "developers-reference", "doc-debian", "erlang-doc",
    "exim4-doc-html", "frr-doc", "gammu-doc", "gettext-doc", "gimp-help-en", "git-doc", "gnuplot-doc", "harden-doc",
    "installation-guide-amd64", "krb5-doc", "libglib2.0-doc", "libgtk-3-doc", "libreoffice-help-en-us", "libvirt-doc",
    "lilypond-doc-html", "linux-doc-6.1", "lintian", "live-manual-html", "llvm-14-doc", "maint-guide", "maxima-doc",
    "ncurses-doc", "nodejs-doc", "nut-doc", "octave-doc", "pcp-doc", "png-definitive-guide", "postfix-doc",
    "postgis-doc", "postgresql-doc-15", "privoxy", "python-celery-doc", "python-django-doc", "python-pandas-doc",
    "python-scipy-doc", "python-sqlalchemy-doc", "python-sympy-doc", "python3.11-doc", "qtbase5-doc-html",
    "qtdeclarative5-doc-html", "r-doc-html", "rsyslog-doc", "shorewall-doc", "sqlite3-doc", "swi-prolog-doc",
    "twisted-doc", "ubuntu-packaging-guide-html", "valgrind", "vim-doc", "wireshark-doc", "xen-doc", "zsh-doc",
)  # fmt: skip
# Of the collection, as ingestion is told.
LANGUAGE = "english"

_SEED = 1
# No package gives more passages than this, so that reading ends; the spread over packages seldom asks for as many.
_MOST_OF_ONE = 6000
# One document of so many is left out of the collection: its headings are what is asked.
_LEFT_OUT = 20
# Passages of one file of vectors, and about as many of one transaction.
_PART = 1000
_MAX_BYTES = 4_000_000
_MODEL_DIR = ROOT / ".drystone" / "models"

_SUFFIXES = (".html", ".txt", ".txt.gz")
# Indexes and other pages without prose, and sources beside the pages that were made of them.
_NO_PROSE = re.compile(r"genindex|modindex|search\.|/toc\.|changelog|copyright|licen[cs]e|/_(sources|static)/", re.I)
# Pages in another language, by their folder or suffix: what is not translated in them stands elsewhere in English.
_TRANSLATED = re.compile(
    r"[/.](?:ar|bg|bn|ca|cs|da|de|el|eo|es|et|eu|fa|fi|fr|gl|he|hi|hr|hu|id|is|it|ja|ko|lt|lv|nb|nl|nn|no|pa|pl|pt|ro|ru"
    r"|sk|sl|sr|sv|ta|te|th|tr|uk|vi|zh)(?:[_-][A-Za-z]{2,4})?[/.]"
)

# Headings that ask or say how, other headings, synopses of packages: how many of each are asked at most.
_MOST_OF_KIND = (300, 450, 250)
_MOST_OF_DOCUMENT = 5
_NUMBER = re.compile(r"^(?:(?:chapter|appendix|part|section) )?(?:[A-Z]\.|[\dIVX]+[.:])?[\d.]*:?\s+", re.IGNORECASE)
# Plain words, and what may stand among them, but no names from programs.
_WORDS = re.compile(
    r"[A-Za-z][a-z'’,-]*(?: (?:[A-Za-z][a-z'’,-]*|[A-Z][A-Z0-9/.+-]*s?|[A-Z][a-z]+[A-Z]{1,4}|\d{1,4}|&))+\??"
)
_HOW = re.compile(
    r"(?:how|what|why|when|where|which|who|is|are|can|do|does|should|to)\b|[a-z]{2,}ing (?:\S+ )*\S+", re.IGNORECASE
)
_DULL = re.compile(
    r"^(?:enum|struct|typedef|source|summary|part|figure|note)\b|table of|see also|list of|member|documentation|metapackage"
    r"|package\b|module\b|dummy|development|transitional|librar|plugin|files|debug|class\b|copyright|licen[cs]e|version"
    r"|chapter|(?:dictionar|hyphenation|thesaur|locale)",
    re.IGNORECASE,
)
_SECTION = re.compile(r"^Section: (?:admin|database|editors|httpd|mail|net|text|utils|vcs|web)$", re.MULTILINE)
_SYNOPSIS = re.compile(r"^Description: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """A file of a package. id: package and path."""

    id: str
    title: str | None
    text: str


@dataclass(frozen=True)
class Passage:
    """A passage as ingestion makes it: text[start:end] of its document.

    document: its place in `Loaded.documents`. content: what is embedded and searched. length: tokens of the model.
    """

    document: int
    ordinal: int
    start: int
    end: int
    page: int | None
    title_path: tuple[str, ...]
    content: str
    content_hash: bytes
    length: int


@dataclass(frozen=True)
class Loaded:
    """The collection. passages: in the order of their documents, no content twice. vectors: float16 (passages, dim)."""

    documents: list[Document]
    passages: list[Passage]
    vectors: np.ndarray
    questions: list[str]


def load(passages: int) -> Loaded:
    """The first documents that have so many passages: fewer are a part of more. Raises SystemExit where they are not made."""
    documents: list[Document] = []
    found: list[Passage] = []
    for number, row in enumerate(_documents(passages)):
        documents.append(Document(row["id"], row["title"], row["text"]))
        found += [_passage(number, kept) for kept in row["passages"]]
    paths = [path for path, _ in _parts(len(found))]
    if missing := sum(not path.exists() for path in paths):
        raise _too_few(f"no vectors of {missing * _PART} passages", passages)
    vectors = np.concatenate([np.load(path) for path in paths])[: len(found)]
    return Loaded(documents, found, vectors, questions())


@dataclass(frozen=True)
class Text:
    """What a passage is found by its words from."""

    title_path: tuple[str, ...]
    text: str


def texts(passages: int) -> Iterator[Text]:
    """The words of the first so many passages, without vectors. Raises SystemExit where there are fewer."""
    found = (
        Text(tuple(kept["title_path"]), row["text"][kept["start"] : kept["end"]])
        for row in _documents(passages)
        for kept in row["passages"]
    )
    return itertools.islice(found, passages)


def questions() -> list[str]:
    """Questions from the same field, none of them a passage's own heading."""
    found: list[str] = json.loads((_made() / "questions.json").read_text(encoding="utf-8"))
    return found


def _passage(document: int, kept: dict[str, Any]) -> Passage:
    typed = {"title_path": tuple(kept["title_path"]), "content_hash": bytes.fromhex(kept["content_hash"])}
    return Passage(document=document, **kept | typed)


async def fill(settings: Settings, loaded: Loaded, collection: str) -> None:
    """Make a collection of this name in a running stack and all of it searchable there, without upload and embedding.

    There are no blobs: who asks for a document's text or file does not get it. External ids are the documents' ids.
    """
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=_WRITERS)
    sessions = make_sessions(engine)
    batches = _batches(loaded)
    try:
        async with transaction(sessions) as session:
            principal = await access.authenticate(session, settings.api.key.get_secret_value())
            space = Space(model.MODEL_ID, model.DIMENSION)
            home = await collections.create(session, principal, space, name=collection, language=LANGUAGE)

        async def write() -> None:
            for batch in batches:
                await _write(sessions, principal, home, batch)

        await asyncio.gather(*(write() for _ in range(_WRITERS)))
    finally:
        await engine.dispose()
    await _vacuum(settings)


# The words of one batch are cut while PostgreSQL works at the other.
_WRITERS = 2
_Whole = tuple[Document, Sequence[Passage], np.ndarray]


def _batches(loaded: Loaded) -> Iterator[list[_Whole]]:
    """Documents with their passages and vectors, as many as one transaction takes."""
    batch: list[_Whole] = []
    begin = held = 0
    for number, group in itertools.groupby(loaded.passages, key=lambda passage: passage.document):
        passages = list(group)
        batch.append((loaded.documents[number], passages, loaded.vectors[begin : begin + len(passages)]))
        begin, held = begin + len(passages), held + len(passages)
        if held >= _PART:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


async def _write(sessions: Sessions, principal: Principal, home: Collection, batch: Sequence[_Whole]) -> None:
    """One transaction: rows of files, documents and versions, and then what publishing writes."""
    pending = [_pending(home, document) for document, _, _ in batch]
    chunks = [
        _chunk(version, document, each)
        for version, (document, passages, _) in zip(pending, batch, strict=True)
        for each in passages
    ]
    words = await asyncio.to_thread(lambda: [_words(each.passage) for each in chunks])
    rows = [_row(version, document) for version, (document, _, _) in zip(pending, batch, strict=True)]
    common = {"workspace_id": home.workspace_id, "collection_id": home.id, "created_by": principal.actor}
    async with transaction(sessions) as session:
        await session.execute(_ADD_ROWS, common | {"rows": json.dumps(rows)})
        ids = await queries.add_chunks(session, chunks)
        vectors = np.concatenate([vectors for _, _, vectors in batch]).astype(np.float32)
        indexed = [
            index.IndexedChunk(chunk_id, home.id, chunk.pending.document_id, LANGUAGE, of_chunk, vector)
            for chunk_id, chunk, of_chunk, vector in zip(ids, chunks, words, vectors, strict=True)
        ]
        await index.add(session, home.space_id, indexed)
        await queries.set_ready(
            session,
            [_version(version, document, len(of)) for version, (document, of, _) in zip(pending, batch, strict=True)],
        )


def _pending(home: Collection, document: Document) -> Pending:
    return Pending(
        version_id=new_id(),
        version_number=1,
        document_id=new_id(),
        collection_id=home.id,
        workspace_id=home.workspace_id,
        batch_id=None,
        title=document.title,
        attributes={},
        sha256=hashlib.sha256(f"{home.id} {document.id}".encode()).digest(),  # of no file: none is stored
        size_bytes=len(document.text.encode()),
        media_type="text/plain",
        language=LANGUAGE,
        space_id=home.space_id,
    )


def _chunk(version: Pending, document: Document, each: Passage) -> NewChunk:
    quote = document.text[each.start : each.end]
    space = _space_before(document.text, each.start)
    passage = chunking.Chunk(each.ordinal, each.start, each.end, each.page, each.title_path, quote, space)
    return NewChunk(version, passage, each.content_hash, each.length)


def _space_before(content: str, end: int) -> str:
    start = end
    while start and content[start - 1].isspace():
        start -= 1
    return content[start:end]


def _words(passage: chunking.Chunk) -> Analysed:
    return analyse(passage.text, LANGUAGE, titles=passage.title_path)


def _row(version: Pending, document: Document) -> dict[str, object]:
    return {
        "file_id": str(new_id()),
        "document_id": str(version.document_id),
        "version_id": str(version.version_id),
        "external_id": document.id,
        "sha256": version.sha256.hex(),
        "size_bytes": version.size_bytes,
    }


def _version(version: Pending, document: Document, passages: int) -> dict[str, object]:
    return {
        "version_id": str(version.version_id),
        "document_id": str(version.document_id),
        "text_sha256": version.sha256.hex(),
        "text_length": len(document.text),
        "page_starts": [],
        "title": document.title,
        "language": LANGUAGE,
        "detected_language": "en",
        "parser_version": PARSER_VERSION,
        "chunker_version": CHUNKER_VERSION,
        "chunk_count": passages,
        "attempt": 1,
    }


_ADD_ROWS = text("""
with given as materialized (
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as g (
        file_id uuid, document_id uuid, version_id uuid, external_id text, sha256 text, size_bytes bigint)
), file as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select file_id, :workspace_id, decode(sha256, 'hex'), size_bytes, 'text/plain' from given
), document as (
    insert into documents (id, workspace_id, collection_id, external_id, sha256, name, latest_version_id, created_by)
    select document_id, :workspace_id, :collection_id, external_id, decode(sha256, 'hex'), external_id, version_id,
           :created_by
    from given
)
insert into versions (id, workspace_id, document_id, number, file_id, name)
select version_id, :workspace_id, document_id, 1, file_id, external_id from given
""")


async def _vacuum(settings: Settings) -> None:
    """What autovacuum would do in the midst of a measurement. As the owner, whom it asks."""
    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    try:
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("vacuum analyze"))
    finally:
        await engine.dispose()


def make(passages: int) -> None:
    """Do what is missing until the cache holds at least so many passages, their vectors, and the questions."""
    missing = [package for package in PACKAGES if _fetch(package) and not _file_of(package).exists()]
    for folder in ("packages", "vectors"):
        (_made() / folder).mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _open) as pool:
        for package in pool.imap_unordered(_read_package, missing):
            say(f"read {package}")
        if _counts().get("passages", 0) < passages:
            _compose(passages)
        if not (_made() / "questions.json").exists():
            _write_whole("questions.json", _questions())
        _embed_all(pool, passages)


def cache() -> Path:
    """Where everything is kept."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "drystone-bench" / "debian"


def _made() -> Path:
    """What this version of parser and chunker made."""
    return cache() / f"parser-{PARSER_VERSION}-chunker-{CHUNKER_VERSION}"


def _file_of(package: str) -> Path:
    return _made() / "packages" / f"{package}.jsonl"


def _write_whole(name: str, value: Any) -> None:
    partial = (_made() / name).with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.rename(_made() / name)


def _fetch(package: str) -> bool:
    """Unpack the package, unless it is; False when there is none of this name."""
    tree = cache() / "trees" / package
    if tree.exists():
        return True
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=tree.parent) as name:
        command = ["apt-get", "download", "-q", package]
        done = subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)
        files = list(Path(name).glob("*.deb"))
        if not files:
            say(f"{package} is left out: {(done.stderr.strip().splitlines() or ['apt-get gave no file'])[-1]}")
            return False
        subprocess.run(["dpkg-deb", "-x", str(files[0]), f"{name}/tree"], check=True)
        Path(name, "tree").rename(tree)
    say(f"fetched {package}")
    return True


_embedder: BundledEmbedder


def _open() -> None:
    global _embedder  # noqa: PLW0603  one for each process of the pool
    _embedder = BundledEmbedder(_MODEL_DIR, threads=1)


def _read_package(package: str) -> str:
    """Cut a package's documents into passages, in an order made by the seed, and keep them; the package's name."""
    tree = cache() / "trees" / package
    paths = sorted(_pages(tree))
    random.Random(f"{_SEED} {package}").shuffle(paths)
    partial = _file_of(package).with_suffix(".partial")
    passages = 0
    with partial.open("w", encoding="utf-8") as file:
        for path in paths:
            if passages < _MOST_OF_ONE and (document := _read(tree / path)):
                file.write(json.dumps({"id": f"{package}/{path}"} | document) + "\n")
                passages += len(document["passages"])
    partial.rename(_file_of(package))
    return package


def _pages(tree: Path) -> Iterator[str]:
    for path in tree.rglob("*"):
        name = f"/{path.relative_to(tree)}"
        is_wanted = name.endswith(_SUFFIXES) and not _NO_PROSE.search(name) and not _TRANSLATED.search(name)
        if is_wanted and path.is_file() and not path.is_symlink():
            yield name[1:]


def _read(path: Path) -> dict[str, Any] | None:
    """A document and its passages; None where there is no English text in the file."""
    body = path.read_bytes()
    if path.suffix == ".gz":
        body = gzip.decompress(body)
    if len(body) > _MAX_BYTES:
        return None
    try:
        parsed = (read_html if path.suffix == ".html" else read_text).read(body, _MAX_BYTES)
    except Invalid:
        return None
    return _cut(parsed) if language.detect(parsed.text) == "en" else None


def _cut(parsed: Parsed) -> dict[str, Any]:
    prepared = asyncio.run(ingest.chunk(_embedder, parsed, None, LANGUAGE))
    passages = [
        {
            "ordinal": passage.ordinal,
            "start": passage.start,
            "end": passage.end,
            "page": passage.page,
            "title_path": passage.title_path,
            "content": content,
            "content_hash": content_hash.hex(),
            "length": length,
        }
        for passage, content, content_hash, length in zip(
            prepared.passages, prepared.contents, prepared.hashes, prepared.lengths, strict=True
        )
    ]
    headings = [heading.title for heading in parsed.headings]
    return {"title": parsed.title, "text": parsed.text, "headings": headings, "passages": passages}


def _packages() -> list[str]:
    return [package for package in PACKAGES if _file_of(package).exists()]


def _rows(package: str, *, left_out: bool) -> Iterator[dict[str, Any]]:
    """A package's documents: those for the collection, or those left out of it."""
    with _file_of(package).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if (number % _LEFT_OUT == 0) == left_out:
                yield json.loads(line)


def _compose(passages: int) -> None:
    """Write down which documents the collection has, and how many each package gave."""
    documents: Counter[str] = Counter()
    found: Counter[str] = Counter()
    partial = _made() / "documents.partial"
    with partial.open("w", encoding="utf-8") as file:
        for package, row in spread({each: _rows(each, left_out=False) for each in _packages()}, passages):
            documents[package] += 1
            found[package] += len(row["passages"])
            file.write(json.dumps(row) + "\n")
    if found.total() < passages:
        raise SystemExit(f"these packages have {found.total()} passages, fewer than {passages}")
    partial.rename(_made() / "documents.jsonl")
    packages = {each: {"documents": documents[each], "passages": found[each]} for each in sorted(found)}
    _write_whole("counts.json", {"documents": documents.total(), "passages": found.total(), "packages": packages})


def spread(packages: dict[str, Iterator[dict[str, Any]]], passages: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The next document always of the package that has given the fewest passages, until there are so many.

    So the first documents are spread as all are, whatever their number. Passages that an earlier document has are left out.
    """
    waiting = [(0, number, name) for number, name in enumerate(packages)]
    seen: set[str] = set()
    total = 0
    while waiting and total < passages:
        given, number, name = heapq.heappop(waiting)
        if (row := next(packages[name], None)) is None:
            continue
        row["passages"] = list(_unseen(row["passages"], seen))
        if row["passages"]:
            yield name, row
        total += len(row["passages"])
        heapq.heappush(waiting, (given + len(row["passages"]), number, name))


def _unseen(passages: Iterable[dict[str, Any]], seen: set[str]) -> Iterator[dict[str, Any]]:
    for passage in passages:
        if passage["content_hash"] not in seen:
            seen.add(passage["content_hash"])
            yield passage


def _counts() -> dict[str, Any]:
    path = _made() / "counts.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _documents(passages: int) -> Iterator[dict[str, Any]]:
    """Documents of the collection until they have so many passages."""
    path, total = _made() / "documents.jsonl", 0
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in file:
                row: dict[str, Any] = json.loads(line)
                total += len(row["passages"])
                yield row
                if total >= passages:
                    return
    raise _too_few(f"{total} passages", passages)


def _too_few(what: str, passages: int) -> SystemExit:
    return SystemExit(f"the cache has {what}; make them: python -m benchmarks.debian --passages {passages}")


def _parts(passages: int) -> Iterator[tuple[Path, list[str]]]:
    """The parts that so many passages lie in: where their vectors are kept, and their contents.

    The name tells model and contents, so that vectors of another collection are never taken for this one's.
    """
    with (_made() / "documents.jsonl").open(encoding="utf-8") as file:
        contents = (passage["content"] for line in file for passage in json.loads(line)["passages"])
        for begin in range(0, passages, _PART):
            part = list(itertools.islice(contents, _PART))
            digest = hashlib.sha256("\x1f".join((model.MODEL_ID, *part)).encode())
            yield _made() / "vectors" / f"{begin:07}-{digest.hexdigest()[:16]}.npy", part


def _embed_all(pool: Pool, passages: int) -> None:
    wanted = sum(len(row["passages"]) for row in _documents(passages))
    missing = [(path, part) for path, part in _parts(wanted) if not path.exists()]
    began = time.monotonic()
    for done, _ in enumerate(pool.imap_unordered(_embed, missing), start=1):
        say(f"embedded {done} of {len(missing)} parts after {time.monotonic() - began:.0f} s")


def _embed(part: tuple[Path, list[str]]) -> None:
    path, contents = part
    vectors = asyncio.run(_embedder.embed(contents)).astype(np.float16)
    with path.with_suffix(".partial").open("wb") as file:
        np.save(file, vectors)
    path.with_suffix(".partial").rename(path)


def _questions() -> list[str]:
    """What somebody might ask of such manuals: headings of documents that were left out, and what packages are for."""
    headings = list(_left_out_headings())
    kinds = (
        [heading for heading in headings if _HOW.match(heading)],
        [heading for heading in headings if not _HOW.match(heading)],
        sorted(_synopses()),
    )
    known = _known_lines({question.casefold() for kind in kinds for question in kind})
    chance = random.Random(_SEED)
    chosen: list[str] = []
    for kind, most in zip(kinds, _MOST_OF_KIND, strict=True):
        unknown = {question.casefold(): question for question in kind if question.casefold() not in known}
        chosen += chance.sample(list(unknown.values()), min(most, len(unknown)))
    chance.shuffle(chosen)
    return chosen


def _left_out_headings() -> Iterator[str]:
    """The first headings that are plain words of each document."""
    for package in _packages():
        for row in _rows(package, left_out=True):
            headings = filter(is_question, map(bare, row["headings"]))
            yield from itertools.islice(headings, _MOST_OF_DOCUMENT)


def _synopses() -> set[str]:
    """What packages of some sections are, a line each, from this machine's lists."""
    done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True)
    found = set()
    for stanza in done.stdout.split("\n\n"):
        synopsis = _SYNOPSIS.search(stanza)
        if synopsis and _SECTION.search(stanza) and is_question(synopsis[1]):
            found.add(synopsis[1])
    return found


def bare(heading: str) -> str:
    """A heading without its number and the sign of a link."""
    return _NUMBER.sub("", heading).strip("¶#:. \u00a0")


def is_question(line: str) -> bool:
    """Whether a heading is what a person might ask: 2 to 12 plain words."""
    return bool(_WORDS.fullmatch(line)) and 2 <= len(line.split()) <= 12 and not _DULL.search(line)


def _known_lines(wanted: set[str]) -> set[str]:
    """Those of the lines that stand in a document that is or might come into the collection."""
    known: set[str] = set()
    for package in _packages():
        for row in _rows(package, left_out=False):
            known.update(wanted.intersection(bare(line).casefold() for line in row["text"].splitlines()))
    return known


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.debian", description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=100_000)
    make(parser.parse_args().passages)
    counts = _counts()
    rows = [(package, *found.values()) for package, found in counts["packages"].items()]
    rows.append(("all", counts["documents"], counts["passages"]))
    report.table(f"What is in {_made()}", ("package", "documents", "passages"), rows)


if __name__ == "__main__":
    main()
