"""Observations: rows a second in over HTTP, beside a plain COPY of the same rows, and what queries among many rows take.

    python -m benchmarks.observations [--rows 10000000] [--rounds 15] [--running]

A value a minute for a year, of as many series as it takes. Each part is made before its clock starts. Queries go over HTTP;
beside two of them the same figures straight from the raw rows, in SQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import numpy as np

from benchmarks import report, stacks
from benchmarks.report import say
from drystone.core.settings import Settings

YEAR, MINUTES = 2025, 365 * 24 * 60
START = datetime(YEAR, 1, 1, tzinfo=UTC)
PART = 25_000
WRITERS = 2
METRIC = "bench-minutes"
SPAN = {"from": f"{YEAR}-01-01", "until": f"{YEAR + 1}-01-01"}


def parts(rows: int, metric: str) -> Iterator[list[tuple[str, str, str, float]]]:
    """Rows as a gateway would send them: some hours of one series after the other, in the order of time."""
    series = max(1, -(-rows // MINUTES))
    random = np.random.default_rng(7)
    times = [(START + timedelta(minutes=n)).isoformat() for n in range(-(-rows // series))]
    step = max(1, PART // series)
    for begin in range(0, len(times), step):
        values = random.normal(20, 5, (series, step)).round(2).tolist()
        yield [
            (f"bench-{number}", metric, at, value)
            for number in range(series)
            for at, value in zip(times[begin : begin + step], values[number], strict=False)
        ]


def as_ndjson(rows: list[tuple[str, str, str, float]]) -> bytes:
    names = ("entity", "metric", "observed_at", "value")
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows).encode()


def as_csv(rows: list[tuple[str, str, str, float]]) -> bytes:
    lines = ["entity,metric,observed_at,value", *(f"{e},{m},{at},{value}" for e, m, at, value in rows)]
    return "\n".join(lines).encode()


async def send(http: httpx.AsyncClient, bodies: list[bytes], kind: str) -> float:
    """Seconds until all are answered, two at a time."""
    waiting = iter(bodies)

    async def work() -> None:
        for body in waiting:
            answer = await http.post("/observations", content=body, headers={"Content-Type": kind})
            answer.raise_for_status()
            if answer.json()["refused"]:
                raise RuntimeError(answer.text[:500])

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WRITERS)))
    return time.perf_counter() - began


async def load(http: httpx.AsyncClient, rows: int) -> dict[str, float]:
    """All rows as NDJSON, then a tenth of them again under another metric as CSV. Rows a second, without making the bodies."""
    seconds, bodies, sent = 0.0, list[bytes](), 0
    for part in parts(rows, METRIC):
        bodies.append(as_ndjson(part))
        sent += len(part)
        if len(bodies) == 16:
            seconds += await send(http, bodies, "application/x-ndjson")
            bodies.clear()
            say(f"{sent:,} rows, {sent / seconds:,.0f} a second")
    seconds += await send(http, bodies, "application/x-ndjson")
    tenth = list(parts(max(PART, rows // 10), "bench-csv"))
    of_csv = await send(http, [as_csv(part) for part in tenth], "text/csv")
    again = await send(http, [as_ndjson(part) for part in tenth], "application/x-ndjson")
    count = sum(map(len, tenth))
    return {
        "ndjson_rows_per_s": sent / seconds,
        "csv_rows_per_s": count / of_csv,
        "sent_again_rows_per_s": count / again,
    }


async def copy(connection: asyncpg.Connection, rows: int) -> float:
    """Rows a second of COPY, made of Python's values as asyncpg does, into a table with the same key and nothing else."""
    await connection.execute("drop table if exists bench_plain")
    await connection.execute(
        "create unlogged table bench_plain (series_id bigint, observed_at timestamptz, value float8, primary key (series_id, observed_at))"
    )
    seconds, count = 0.0, 0
    for part in parts(min(rows, 1_000_000), "plain"):
        records = [(int(e.partition("-")[2]), datetime.fromisoformat(at), value) for e, _, at, value in part]
        began = time.perf_counter()
        await connection.copy_records_to_table("bench_plain", records=records)
        seconds += time.perf_counter() - began
        count += len(records)
    await connection.execute("drop table bench_plain")
    return count / seconds


async def median_ms(ask: Callable[[], Awaitable[Any]], rounds: int) -> float:
    await ask()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def queries(http: httpx.AsyncClient, connection: asyncpg.Connection, rounds: int) -> dict[str, float]:
    one = {"entity": "bench-0", "metric": METRIC, **SPAN}
    asked: dict[str, tuple[str, dict[str, str]]] = {
        "one series, a year by day": ("/observations/buckets", one | {"bucket": "P1D"}),
        "the same, Europe/Berlin": ("/observations/buckets", one | {"bucket": "P1D", "tz": "Europe/Berlin"}),
        "the same, Asia/Kolkata (raw)": ("/observations/buckets", one | {"bucket": "P1D", "tz": "Asia/Kolkata"}),
        "all series, a year by hour": ("/observations/buckets", {"metric": METRIC, **SPAN, "bucket": "PT1H"}),
        "all series, a year by day": ("/observations/buckets", {"metric": METRIC, **SPAN, "bucket": "P1D"}),
        "a week's average by day": ("/observations/moving_average", one | {"window": "7"}),
        "the latest of all series": ("/observations/latest", {"metric": METRIC}),
        "as of June": ("/observations/latest", {"metric": METRIC, "as_of": f"{YEAR}-06-01"}),
        "a page of raw rows": ("/observations", one | {"limit": "1000"}),
        "a page of rates": ("/observations/rate", one | {"limit": "1000"}),
    }
    found = {}
    for name, (path, query) in asked.items():

        async def ask(path: str = path, query: dict[str, str] = query) -> None:
            (await http.get(path, params=query)).raise_for_status()

        found[name] = await median_ms(ask, rounds)
        say(f"{name}: {found[name]:.1f} ms")
    series_id = await connection.fetchval(
        "select s.id from series s join entities e on e.id = entity_id where e.key = 'bench-0' and metric = $1", METRIC
    )
    by_day = "select date_trunc('day', observed_at, 'UTC'), avg(value) from observations where {} group by 1"
    by_hour = (
        "select series_id, date_trunc('hour', observed_at, 'UTC'), avg(value) from observations"
        " where series_id in (select id from series where metric = $1) group by 1, 2"
    )
    found["one series, a year by day: raw SQL"] = await median_ms(
        lambda: connection.fetch(by_day.format("series_id = $1"), series_id), rounds
    )
    found["all series, a year by hour: raw SQL"] = await median_ms(lambda: connection.fetch(by_hour, METRIC), 3)
    return found


async def make_entities(connection: asyncpg.Connection, rows: int) -> None:
    for number in range(max(1, -(-rows // MINUTES))):
        await connection.execute(
            "insert into entities (id, workspace_id, type, key, created_by)"
            " select gen_random_uuid(), id, 'category', $1, 'benchmark' from workspaces where name = 'default'"
            " on conflict do nothing",
            f"bench-{number}",
        )


async def run(settings: Settings, rows: int, rounds: int) -> dict[str, Any]:
    connection = await asyncpg.connect(settings.database.migration_url.get_secret_value())
    http = httpx.AsyncClient(
        base_url=f"http://{settings.api.host}:{settings.api.port}/api/v1",
        headers={"Authorization": f"Bearer {settings.api.key.get_secret_value()}"},
        timeout=120,
        trust_env=False,
    )
    try:
        await make_entities(connection, rows)
        speed = await load(http, rows)
        speed["plain_copy_rows_per_s"] = await copy(connection, rows)
        await connection.execute("analyze observations, observation_hours")
        took = await queries(http, connection, rounds)
        sizes = await connection.fetchrow(
            "select sum(raw_bytes)::bigint as raw, sum(hour_bytes)::bigint as hours from observation_months()"
        )
    finally:
        await http.aclose()
        await connection.close()
    return {
        "rows": rows,
        "speed": {name: round(value) for name, value in speed.items()},
        "share_of_plain_copy": round(speed["ndjson_rows_per_s"] / speed["plain_copy_rows_per_s"], 2),
        "median_ms": {name: round(value, 1) for name, value in took.items()},
        "megabytes": {name: round(value / 1e6) for name, value in sizes.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-save", action="store_true", help="print only")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        results = asyncio.run(run(settings, arguments.rows, arguments.rounds))
    report.table(f"{arguments.rows:,} rows", ("in", "rows/s"), list(results["speed"].items()))
    report.table("out", ("query", "median ms"), list(results["median_ms"].items()))
    if not arguments.no_save:
        report.save("observations", results)


if __name__ == "__main__":
    main()
