"""Seconds and bytes of a backup, the next one, its proof and its restore; and of a bundle's way in.

    python -m benchmarks.backup [--documents 5000]

The servers alone, in a temporary folder. Documents come in as a bundle: texts of this machine's Python, four passages each, with
random vectors, which are harder on a graph than real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import shutil
import sysconfig
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from benchmarks import report, stacks
from drystone import schema
from drystone.access.service import DEFAULT_WORKSPACE
from drystone.adapters.embedding import model
from drystone.backup import restoring, verifying
from drystone.backup.programs import Programs
from drystone.backup.saving import Source, owner_sessions, save
from drystone.backup.target import Target, open_target
from drystone.bundle.container import Writing, opened
from drystone.bundle.importing import Place, import_
from drystone.bundle.schema import (
    FORMAT,
    BlobLine,
    BundleManifest,
    ChunkLine,
    CollectionLine,
    DocumentLine,
    FilePart,
    VersionPart,
    blob_name,
    chunks_name,
)
from drystone.core.ids import new_id
from drystone.core.settings import Settings
from drystone.resources import open_resources
from drystone.stack.data import clients, throwaway
from drystone.stack.supervise import Servers

_PASSAGE, _PASSAGES = 900, 4
_NOW = datetime(2026, 11, 22, tzinfo=UTC)


def texts(count: int) -> Iterator[str]:
    """So many different texts, of the modules of this Python."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    whole = "".join(path.read_text(encoding="utf-8", errors="replace") for path in modules).replace("\0", " ")
    length = _PASSAGE * _PASSAGES
    step = max(1, (len(whole) - length) // count)
    for number in range(count):
        yield f"{number:08d} " + whole[number * step : number * step + length - 9]


def write_bundle(path: Path, name: str, bodies: list[str], settings: Settings) -> None:
    """A bundle of one collection with these documents."""
    home, dimension = new_id(), settings.embedding.dimension
    documents = [_document(home, body) for body in bodies]
    hashes = {hashlib.sha256(body.encode()).hexdigest(): body.encode() for body in bodies}
    chunks = len(bodies) * _PASSAGES
    with Writing(path) as bundle:
        with bundle.member("collections.ndjson") as file:
            file.write(_line(_collection(home, name, settings, len(bodies), chunks)))
        with bundle.member("documents.ndjson") as file:
            for document in documents:
                file.write(_line(document))
        with bundle.member(chunks_name(1, "ndjson")) as file:
            for document, body in zip(documents, bodies, strict=True):
                for ordinal in range(_PASSAGES):
                    file.write(_line(_chunk(document.id, ordinal, body)))
        with bundle.member(chunks_name(1, "npy")) as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (chunks, dimension)}
            np.lib.format.write_array_header_1_0(file, header)
            made = np.random.default_rng(7).standard_normal((chunks, dimension)).astype(np.float32)
            file.write((made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f2").tobytes())
        with bundle.member("blobs.ndjson") as file:
            for sha256 in sorted(hashes):
                file.write(_line(BlobLine(sha256=sha256, size_bytes=len(hashes[sha256]))))
        for sha256, blob in hashes.items():
            with bundle.blob(blob_name(sha256)) as writing:
                writing.write(blob)
        bundle.manifest(
            BundleManifest(
                format=FORMAT,
                format_version=1,
                created_at=_NOW,
                software="benchmark",
                schema_revision=schema.HEAD,
                collections=1,
                documents=len(bodies),
                chunks=chunks,
                blobs=len(hashes),
                blob_bytes=sum(map(len, hashes.values())),
                members=bundle.members,
            )
        )


def _collection(home: UUID, name: str, settings: Settings, documents: int, chunks: int) -> CollectionLine:
    return CollectionLine(
        id=home,
        name=name,
        description="",
        language="english",
        model=model.MODELS[settings.embedding.model].model_id,
        dimension=settings.embedding.dimension,
        documents=documents,
        chunks=chunks,
        created_at=_NOW,
    )


def _document(home: UUID, body: str) -> DocumentLine:
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    version = VersionPart(
        id=new_id(),
        number=1,
        file=FilePart(sha256=sha256, size_bytes=len(body.encode()), media_type="text/plain"),
        name="module.txt",
        state="ready",
        is_current=True,
        text_sha256=sha256,
        text_length=len(body),
        page_starts=None,
        title=None,
        language="english",
        detected_language="en",
        parser_version="benchmark",
        chunker_version="benchmark",
        chunk_count=_PASSAGES,
        error_code=None,
        error_message=None,
        error_hint=None,
        created_at=_NOW,
        ready_at=_NOW,
    )
    return DocumentLine(
        id=new_id(),
        collection_id=home,
        external_id=None,
        parent_id=None,
        member_path=None,
        sha256=sha256,
        name="module.txt",
        title=None,
        attributes={},
        created_by="benchmark",
        created_at=_NOW,
        versions=[version],
    )


def _chunk(document_id: UUID, ordinal: int, body: str) -> ChunkLine:
    start, end = ordinal * _PASSAGE, min((ordinal + 1) * _PASSAGE, len(body))
    text = body[start:end]
    return ChunkLine(
        document_id=document_id,
        ordinal=ordinal,
        start=start,
        end=end,
        page=None,
        title_path=[],
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
        length=200,
        text=text,
        space_before="",
    )


def _line(line: BaseModel) -> bytes:
    return line.model_dump_json().encode() + b"\n"


async def _work(settings: Settings, root: Path, target: Target, count: int) -> dict[str, Any]:
    """Fill, back up, fill a little more, back up again."""
    await schema.migrate(settings, root)
    programs = Programs(**clients.find(settings, "pg_dump", "pg_restore", "psql"))
    bodies = list(texts(count + count // 20))
    found: dict[str, Any] = {}
    async with (
        open_resources(settings, name="bench", searches=False) as resources,
        AsyncExitStack() as stack,
    ):
        sessions = owner_sessions(settings, stack)
        place = Place(sessions, resources.objects, resources.embedders, resources.nudger, root / "spool")
        source = Source(settings, sessions, resources.objects, resources.embedders, programs)
        for part, some in (("", bodies[:count]), ("_next", bodies[count:])):
            write_bundle(root / f"b{part}.zip", f"bench{part}", some, settings)
            began = time.monotonic()
            with opened(root / f"b{part}.zip") as bundle:
                await import_(place, bundle, workspace=DEFAULT_WORKSPACE)
            found[f"bundle_import{part}_s"] = time.monotonic() - began
            began = time.monotonic()
            made = await save(source, target)
            found[f"backup{part}_s"] = time.monotonic() - began
            found[f"dump{part}_bytes"] = made.dump_bytes
            found[f"new_objects{part}"], found[f"new_object{part}_bytes"] = made.objects.new, made.objects.new_bytes
        began = time.monotonic()
        with throwaway.postgres(settings, root) as elsewhere:
            report_ = await verifying.read_all(target, made, root / "spool")
            await verifying.prove(elsewhere, root, target, made, programs, resources.embedders, report_)
        found["verify_s"] = time.monotonic() - began
        assert report_.ok, report_.problems
    return found


def measure(count: int) -> dict[str, Any]:
    """Each once, in seconds and bytes."""
    with stacks.temporary_root() as root:
        settings, target = stacks.settings_of(root), open_target(str(root / "target"), _backup(root), is_new=True)
        with Servers(settings, root):
            found = asyncio.run(_work(settings, root, target, count))
        found["target_bytes"] = sum(path.stat().st_size for path in (root / "target").rglob("*") if path.is_file())
        shutil.rmtree(root / ".drystone")
        (root / ".drystone").mkdir()
        with Servers(settings, root):
            programs = Programs(**clients.find(settings, "pg_dump", "pg_restore", "psql"))
            manifest = asyncio.run(target.read())
            began = time.monotonic()
            done = asyncio.run(restoring.restore(settings, root, target, manifest, programs))
            found["restore_s"] = time.monotonic() - began
            found["restore_objects_s"], found["restore_database_s"] = done.objects_s, done.database_s
    numbers = itertools.chain([("documents", count), ("passages", count * _PASSAGES)], found.items())
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in numbers}


def _backup(root: Path) -> Any:
    return stacks.settings_of(root).backup


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backup", description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=5000)
    results = measure(parser.parse_args().documents)
    report.table(f"{results['documents']} documents", ("what", "number"), list(results.items()))
    report.save("backup", results)


if __name__ == "__main__":
    main()
