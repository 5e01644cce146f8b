"""pg_dump, pg_restore and psql as child processes of the role that owns the schema. What they say is told when they fail."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from drystone.core.errors import Unavailable

_PART_BYTES = 1024 * 1024
# The build's own zlib is what every pg_restore reads; 3 takes half the time of 6 for a twentieth more bytes.
_COMPRESSION = "gzip:3"
# Nobody else uses the database meanwhile, and if the machine dies the restore is begun anew.
_FASTER = "-c synchronous_commit=off -c maintenance_work_mem=512MB"


@dataclass(frozen=True)
class Programs:
    """Where PostgreSQL's clients are, none older than the server."""

    pg_dump: Path
    pg_restore: Path
    psql: Path


async def dump(programs: Programs, url: str, snapshot: str) -> AsyncGenerator[bytes]:
    """The database as a custom archive, as one snapshot sees it. Raises Unavailable when pg_dump fails."""
    argv = [
        str(programs.pg_dump),
        "--format=custom",
        f"--compress={_COMPRESSION}",
        f"--snapshot={snapshot}",
        "--no-owner",  # it belongs to whoever restores it
        # Nothing of ours is one, and whoever may make some would otherwise decide whether a dump succeeds, and end the
        # transaction in which it is restored.
        "--no-large-objects",
        "--exclude-schema=pg_catalog",  # what the superuser took from everybody there is not the owner's to take again
        "--exclude-extension=*",  # the superuser makes them
        "--enable-row-security",  # the owner is no superuser; policies let it see all
        "--lock-wait-timeout=600s",
        *_server(url),
    ]
    async with _running(argv, url, stdout=asyncio.subprocess.PIPE) as (process, said):
        assert process.stdout is not None
        while part := await process.stdout.read(_PART_BYTES):
            yield part
        await _end(process, said, "pg_dump", "backup.dump_failed")


async def restore(
    programs: Programs, url: str, archive: AsyncIterable[bytes], *, before: Sequence[str], after: Sequence[str]
) -> None:
    """Put an archive into a database, with statements before and after it, in one transaction: all of it or nothing.

    What `archive` raises ends it, and the database is as before. Raises Unavailable when a program fails.
    """
    # Nothing there is subject to row security before the very end, and then the owner sees all.
    reading = [str(programs.pg_restore), "--no-owner", "--enable-row-security", "--exit-on-error", "--file=-"]
    writing = [
        str(programs.psql),
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
        "--file=-",
    ]
    pipe = asyncio.subprocess.PIPE
    async with (
        _running([*writing, *_server(url)], url, stdin=pipe, stdout=asyncio.subprocess.DEVNULL) as (psql, psql_said),
        _running(reading, url, stdin=pipe, stdout=pipe) as (pg_restore, restore_said),
    ):
        assert psql.stdin is not None
        assert pg_restore.stdout is not None
        try:
            await _write(psql, "".join(f"{statement};\n" for statement in before).encode())
            feeding = asyncio.create_task(_feed(pg_restore, archive))
            try:
                while part := await pg_restore.stdout.read(_PART_BYTES):
                    await _write(psql, part)
                await feeding
            finally:
                feeding.cancel()
            await _end(pg_restore, restore_said, "pg_restore", "restore.failed")
            await _write(psql, "".join(f"{statement};\n" for statement in after).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # one of them ended early and says why
        psql.stdin.close()
        await _end(psql, psql_said, "psql", "restore.failed")
        await _end(pg_restore, restore_said, "pg_restore", "restore.failed")


async def _feed(process: asyncio.subprocess.Process, archive: AsyncIterable[bytes]) -> None:
    assert process.stdin is not None
    try:
        async for part in archive:
            await _write(process, part)
    except BaseException:
        process.kill()  # before its input ends, lest it takes a part for the whole
        raise
    process.stdin.close()


async def _write(process: asyncio.subprocess.Process, part: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(part)
    await process.stdin.drain()


@asynccontextmanager
async def _running(
    argv: Sequence[str], url: str, *, stdout: int, stdin: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[tuple[asyncio.subprocess.Process, IO[bytes]]]:
    """A program, and what it says; killed when the block is left early."""
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=stdin, stdout=stdout, stderr=said, env=_environment(url)
        )
        try:
            yield process, said
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _end(process: asyncio.subprocess.Process, said: IO[bytes], program: str, code: str) -> None:
    if await process.wait() == 0:
        return
    said.seek(0)
    lines = [line.strip() for line in said.read(65536).decode(errors="replace").splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower() or "fatal" in line.lower()), (lines or ["?"])[-1])
    raise Unavailable(
        code, f"{program} failed: {told[:500]}", hint="nothing was changed; try again when that is mended"
    )


def _server(url: str) -> list[str]:
    """Arguments that name the database, without the password."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, f"{parts.netloc.partition(':')[0]}@{place}", parts.path, parts.query, ""))
    return ["--no-password", f"--dbname={plain}"]


def _environment(url: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    password = unquote(urlsplit(url).password or "")
    return kept | {"PGPASSWORD": password, "PGOPTIONS": _FASTER, "PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"}
