"""The contenders of `benchmarks.files`; each runs in a process of its own, ours without pandas."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.contenders import WithoutPandas
from benchmarks.measure import report

TABLE = """CREATE TABLE bench AS SELECT
  range::BIGINT AS id, (range % 50000)::INT AS customer, (range % 300)::SMALLINT AS quantity,
  (range * 1.37 % 100000)::DECIMAL(14,2) AS amount, range / 7 AS rate,
  DATE '2025-01-01' + (range % 365)::INT AS day,
  TIMESTAMP '2025-01-01' + to_seconds(range * 31) AS created_at, range % 2 = 1 AS paid,
  ['PAID', 'SETTLED', 'FAILED'][1 + range % 3] AS status, lpad(upper(to_hex(range)), 8, '0') AS code,
  'Customer ' || range % 50000 || ' Łódź' AS name, 'order ' || range || ', "quoted"' AS note,
  ['EU', 'US', 'APAC', NULL][1 + range % 4] AS region
FROM range({rows})"""


def files(base: str, rows: str) -> None:
    """The table as a DuckDB file, a csv and a parquet file."""
    import duckdb  # noqa: PLC0415

    with duckdb.connect(f"{base}.duckdb") as connection:
        connection.execute(TABLE.format(rows=rows))
        for form in ("csv", "parquet"):
            connection.execute(f"COPY bench TO '{base}.{form}' (FORMAT {form})")


def ours(kind: str, url: str, query: str, target: str) -> None:
    """Source → spool → csv, as the ops `run_query` and `render_file` do it."""
    sys.meta_path.insert(0, WithoutPandas())
    from reporthub_dagster.connectors.base import QueryLimits  # noqa: PLC0415 - after pandas is hidden
    from reporthub_dagster.connectors.registry import CONNECTORS  # noqa: PLC0415
    from reporthub_dagster.connectors.source_settings import SourceSettings  # noqa: PLC0415
    from reporthub_dagster.reporting.bound_query import BoundQuery  # noqa: PLC0415
    from reporthub_dagster.reporting.records import DataSource  # noqa: PLC0415

    settings = SourceSettings(file_roots=(Path(target).parent,))
    connector = CONNECTORS.get(kind)(DataSource(1, "bench", kind, url, {}), settings)
    limits = QueryLimits(timeout_seconds=3600, max_rows=100_000_000)
    spool = connector.spool(BoundQuery.of([query]), Path(f"{target}.arrow"), limits).spool
    _to_csv(spool, target)


def pandas(kind: str, url: str, query: str, target: str) -> None:
    """The vendor's plain client into pandas, then pandas' own writer."""
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    if kind == "duckdb":
        with duckdb.connect(url.removeprefix("duckdb:///"), read_only=True) as connection:
            frame = connection.sql(query).df()
    elif url.endswith(".parquet"):
        frame = pd.read_parquet(url)
    else:
        frame = pd.read_csv(url)
    frame.to_csv(target, index=False)


def straight(kind: str, url: str, query: str, target: str) -> None:
    """The engine's own writer in one step: no spool, no digest, none of our rules. The limit of a library.

    DuckDB's `COPY`; of files, Arrow's readers and its csv writer.
    """
    import duckdb  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    if kind == "duckdb":
        with duckdb.connect(url.removeprefix("duckdb:///"), read_only=True) as connection:
            connection.execute("SET threads = 1")
            connection.execute(f"COPY ({query}) TO '{target}'")
        return
    if url.endswith(".parquet"):
        file = pyarrow.parquet.ParquetFile(url)
        schema, batches = file.schema_arrow, file.iter_batches(16_384, use_threads=False)
    else:
        batches = pyarrow.csv.open_csv(url, read_options=pyarrow.csv.ReadOptions(use_threads=False))
        schema = batches.schema
    options = pyarrow.csv.WriteOptions(batch_size=8_192)
    with pyarrow.csv.CSVWriter(target, schema, write_options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


def join(urls: str, query: str, target: str) -> None:
    """Two databases, each into its spool, and the join of both."""
    sys.meta_path.insert(0, WithoutPandas())
    from reporthub_dagster.connectors.base import QueryLimits  # noqa: PLC0415 - after pandas is hidden
    from reporthub_dagster.connectors.join import JoinConnector  # noqa: PLC0415
    from reporthub_dagster.connectors.registry import CONNECTORS  # noqa: PLC0415
    from reporthub_dagster.connectors.source_settings import SourceSettings  # noqa: PLC0415
    from reporthub_dagster.reporting.bound_query import BoundQuery  # noqa: PLC0415
    from reporthub_dagster.reporting.records import DataSource  # noqa: PLC0415

    limits = QueryLimits(timeout_seconds=3600, max_rows=100_000_000)
    spools: dict[str, Path] = {}
    for kind, url in json.loads(urls).items():
        spools[kind] = Path(f"{target}-{kind}.arrow")
        connector = CONNECTORS.get(kind)(DataSource(1, "bench", kind, url, {}))
        connector.spool(BoundQuery.of(["SELECT * FROM bench"]), spools[kind], limits)
    joined = JoinConnector(spools, SourceSettings())
    _to_csv(joined.spool(BoundQuery.of([query]), Path(f"{target}.arrow"), limits).spool, target)


def join_pandas(urls: str, query: str, target: str) -> None:
    """Both tables into pandas, `merge`, `to_csv`."""
    import pandas as pd  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    del query
    drivers = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}
    left, right = (
        pd.read_sql("SELECT * FROM bench", create_engine(f"{drivers[kind]}://{url.partition('://')[2]}"))
        for kind, url in json.loads(urls).items()
    )
    left.merge(right[["id", "name", "amount"]], on="id").to_csv(target, index=False)


def _to_csv(spool: Path, target: str) -> None:
    from reporthub_dagster.renderers.registry import RENDERERS  # noqa: PLC0415
    from reporthub_dagster.storage.spool import Spool  # noqa: PLC0415
    from reporthub_dagster_tests.renderers.spools import request_for  # noqa: PLC0415

    RENDERERS.get("csv")().render(request_for(Spool.open(spool)), Path(target))


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    contenders: dict[str, Callable[..., None]] = {
        "files": files,
        "ours": ours,
        "pandas": pandas,
        "straight": straight,
        "join": join,
        "join_pandas": join_pandas,
    }
    report(lambda: contenders[name](*arguments))
