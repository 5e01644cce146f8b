"""Seconds to save and restore a snapshot, of a stack that is down and one that runs, and how long the latter is halted.

    python -m benchmarks.snapshot [--megabytes 100] [--runs 5]

The servers alone, in a temporary folder, with so much data on top of what an empty stack has: half rows with an index,
half objects of 2.5 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import obstore
from obstore.store import S3Store

from benchmarks import measures, report, stacks
from drystone.core.settings import Settings
from drystone.stack import bootstrap
from drystone.stack.data import snapshot
from drystone.stack.data.manifest import Manifest
from drystone.stack.supervise import Servers

_OBJECT_BYTES = 2_500_000
_ROWS = """
CREATE TABLE filling AS SELECT n, decode(repeat(md5(n::text), 31), 'hex') AS bytes FROM generate_series(1, {count}) AS n
"""


async def _fill_tables(settings: Settings, size_bytes: int) -> None:
    async with bootstrap.superuser_session(settings.database, settings.database.parts.database) as connection:
        await connection.execute(_ROWS.format(count=size_bytes // 560))  # a row with its share of page and index
        await connection.execute("CREATE INDEX ON filling (n)")


def _fill_objects(settings: Settings, size_bytes: int) -> None:
    store = S3Store(
        settings.s3.bucket,
        endpoint=settings.s3.endpoint_url,
        access_key_id=settings.s3.access_key_id,
        secret_access_key=settings.s3.secret_access_key.get_secret_value(),
        region=settings.s3.region,
        client_options={"allow_http": True},
    )
    for number in range(size_bytes // _OBJECT_BYTES):
        obstore.put(store, f"filling/{number}", os.urandom(_OBJECT_BYTES))


def measure(size_bytes: int, runs: int) -> dict[str, Any]:
    """Each kind `runs` times, in seconds; and how large what was saved is."""
    with stacks.temporary_root() as root:
        settings = stacks.settings_of(root)
        with Servers(settings, root):
            asyncio.run(_fill_tables(settings, size_bytes // 2))
            _fill_objects(settings, size_bytes // 2)
            running = [_timed(snapshot.save, settings, f"running-{run}") for run in range(runs)]
        down = [_timed(snapshot.save, settings, f"down-{run}") for run in range(runs)]
        restored = [_timed(snapshot.restore, settings, f"running-{run}") for run in range(runs)]
    return {
        "saved_mb": round(down[0][1].size_bytes / 1e6),
        "files": len(down[0][1].files),
        "save_running_s": measures.spread([seconds for seconds, _ in running]),
        "halted_s": measures.spread([made.pause_s for _, made in running]),
        "save_down_s": measures.spread([seconds for seconds, _ in down]),
        "restore_s": measures.spread([seconds for seconds, _ in restored]),
    }


def _timed(do: Callable[[Settings, str], Manifest], settings: Settings, name: str) -> tuple[float, Manifest]:
    began = time.monotonic()
    manifest = do(settings, name)
    return time.monotonic() - began, manifest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapshot", description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    results = measure(arguments.megabytes * 1_000_000, arguments.runs)
    rows = [(name, spread["median"]) for name, spread in results.items() if isinstance(spread, dict)]
    report.table(f"{results['saved_mb']} MB in {results['files']} files", ("what", "seconds"), rows)
    report.save("snapshot", results)


if __name__ == "__main__":
    main()
