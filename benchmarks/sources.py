"""From each kind of data source to csv, beside its vendor's plain client into pandas: CPU and peak memory.

`python -m benchmarks.sources [ROWS]` starts the engines that tests use, runs each contender in a process of
its own and prints a table. It ends with 1 when a figure is below its floor. Only the clients are measured:
what an emulator costs, or how slow it is, does not count.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measure import Usage, measured, report
from reporthub_dagster_tests.servers.clickhouse import ClickHouseServer
from reporthub_dagster_tests.servers.mongodb import MongoDBFront, MongoDBServer
from reporthub_dagster_tests.servers.process import free_port

ROWS = 1_000_000
MODULE = "benchmarks.sources"

CLICKHOUSE = """
SELECT number AS id, toInt32(number % 50000) AS customer, toInt16(number % 300) AS quantity,
  toDecimal64(number % 100000, 2) AS amount, number / 7 AS rate, toDate('2025-01-01') + number % 365 AS day,
  toDateTime64('2025-01-01 00:00:00', 6) + number * 31 AS created_at, number % 2 = 1 AS paid,
  ['PAID', 'SETTLED', 'FAILED'][1 + number % 3] AS status, lower(hex(number)) AS code,
  concat('Customer ', toString(number % 50000), ' Łódź') AS name,
  concat('order ', toString(number), ', "quoted"') AS note,
  if(number % 4 = 3, NULL, ['EU', 'US', 'APAC'][1 + number % 4]) AS region
FROM numbers({rows})"""
MONGODB = '{{"collection": "numbers", "filter": {{"n": {{"$lte": {rows}}}}}}}'


@dataclass(frozen=True)
class Source:
    """A data source to measure.

    Attributes:
        kind: Ours.
        query: Of `{rows}` rows.
        share: Of the rows that are asked for: where an emulator gives them slowly, fewer do.
        goal: How much less CPU than the rival.
        floor: How much less it must be.
    """

    kind: str
    query: str
    share: float
    goal: float
    floor: float


SOURCES = (
    Source("clickhouse", CLICKHOUSE, share=1, goal=8, floor=3),
    Source("mongodb", MONGODB, share=0.2, goal=1, floor=0.8),
)


def ours(kind: str, url: str, query: str, target: str) -> None:
    """Query → spool → csv."""
    from benchmarks.contenders import spool_and_render  # noqa: PLC0415 - in the measured process alone

    spool_and_render(kind, url, query, "csv", target)


def rival(kind: str, url: str, query: str, target: str) -> None:
    """The vendor's client into pandas, and csv from there."""
    frames: dict[str, Callable[[str, str], object]] = {"clickhouse": _clickhouse, "mongodb": _mongodb}
    frame: object = frames[kind](url, query)
    getattr(frame, "to_csv")(target, index=False)  # noqa: B009 - pandas has no types here


def _clickhouse(url: str, query: str) -> object:
    import clickhouse_connect  # noqa: PLC0415 - in the measured process alone
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    parts = make_url(url)
    client = clickhouse_connect.get_client(
        host=parts.host,
        port=parts.port,
        username=parts.username,
        password=str(parts.password),
        database=parts.database,
    )
    return client.query_df(query)


def _mongodb(url: str, query: str) -> object:
    import json  # noqa: PLC0415

    import pandas as pd  # noqa: PLC0415
    import pymongo  # noqa: PLC0415

    asked = json.loads(query)
    found = (
        pymongo.MongoClient[dict[str, object]](url)
        .get_default_database()[asked["collection"]]
        .find(asked["filter"])
    )
    return pd.json_normalize(list(found))


def main(rows: int) -> int:
    """Measure and print; returns 1 when a figure is below its floor."""
    below = False
    print(f"{'source, to csv':30}{'CPU s':>8}{'MB':>7}{'client':>9}{'MB':>7}{'times':>7}  goal")
    with _urls() as urls, tempfile.TemporaryDirectory(prefix="reporthub-bench-") as folder:
        for source in SOURCES:
            count = round(rows * source.share)
            mine, other = (_run(who, source, urls, count, Path(folder)) for who in ("ours", "rival"))
            times = other.cpu / mine.cpu
            below = below or times < source.floor
            verdict = "holds" if times >= source.goal else f"MISSED, floor {source.floor:g}x"
            used = f"{mine.cpu:9.1f}{mine.rss:7.0f}{other.cpu:9.1f}{other.rss:7.0f}{times:7.1f}"
            print(f"{source.kind:12}{count:>10,} rows {used}  {source.goal:g}x {verdict}", flush=True)
    return int(below)


def _run(contender: str, source: Source, urls: dict[str, str], rows: int, folder: Path) -> Usage:
    """What the rows cost: what one row costs, nearly all of it imports and pandas, is taken off the CPU."""
    target = folder / "file"
    usages = []
    for count in (1, rows):
        query = source.query.format(rows=count)
        usages.append(measured(MODULE, contender, source.kind, urls[source.kind], query, str(target)))
        target.unlink(missing_ok=True)
        target.with_name("file.arrow").unlink(missing_ok=True)
    start, whole = usages
    return replace(whole, cpu=whole.cpu - start.cpu)


@contextmanager
def _urls() -> Iterator[dict[str, str]]:
    """Kind → URL of an engine that runs."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-mongodb-"))
    clickhouse, mongodb = ClickHouseServer(), MongoDBServer(home, free_port())
    try:
        clickhouse.start()
        mongodb.create()
        front = MongoDBFront(mongodb, "bench")
        front.start()
        yield {"clickhouse": clickhouse.url("default"), "mongodb": front.url()}
        front.kill()
    finally:
        clickhouse.kill()
        mongodb.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [str(ROWS)]
    contenders: dict[str, Callable[..., None]] = {"ours": ours, "rival": rival}
    if name in contenders:
        report(lambda: contenders[name](*arguments))
    else:
        sys.exit(main(int(name)))
