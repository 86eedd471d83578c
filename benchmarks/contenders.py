"""The contenders of `benchmarks.data_path`; each runs in a process of its own.

Our process runs as it is installed, without pandas: pyarrow imports it where it finds it.
"""

from __future__ import annotations

import functools
import inspect
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from benchmarks.measure import report

if TYPE_CHECKING:
    from reporthub_dagster.connectors.source_settings import SourceSettings

STORING = "dagster_storing"
"""Beside the names of ops: what Dagster stored in a run, its own events between them included."""


class WithoutPandas:
    """Makes this process one in which the rival is not installed."""

    def find_spec(self, name: str, *_: object) -> None:
        """Find nothing, and let nobody else find it."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def ours(url: str, query: str, output_format: str, target: str) -> None:
    """Query → spool → file, as the ops `run_query` and `render_file` do it."""
    kind = "mysql" if url.startswith("mysql") else "postgresql"
    spool_and_render(kind, url, query, output_format, target)


def spool_and_render(
    kind: str, url: str, query: str, output_format: str, target: str, settings: SourceSettings | None = None
) -> None:
    """The same for any kind of data source."""
    sys.meta_path.insert(0, WithoutPandas())
    from reporthub_dagster.connectors.base import QueryLimits  # noqa: PLC0415 - after pandas is hidden
    from reporthub_dagster.connectors.registry import CONNECTORS  # noqa: PLC0415
    from reporthub_dagster.renderers.registry import RENDERERS  # noqa: PLC0415
    from reporthub_dagster.reporting.bound_query import BoundQuery  # noqa: PLC0415
    from reporthub_dagster.reporting.records import DataSource  # noqa: PLC0415
    from reporthub_dagster.storage.spool import Spool  # noqa: PLC0415
    from reporthub_dagster_tests.renderers.spools import request_for  # noqa: PLC0415

    connector = CONNECTORS.get(kind)(DataSource(1, "bench", kind, url, {}), settings)
    limits = QueryLimits(timeout_seconds=3600, max_rows=100_000_000)
    result = connector.spool(BoundQuery.of([query]), Path(f"{target}.arrow"), limits)
    spool = Spool.open(result.spool)
    RENDERERS.get(output_format)().render(request_for(spool), Path(target))


def pandas(url: str, query: str, output_format: str, target: str) -> None:
    """What the replaced engine does."""
    import pandas as pd  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    frame = pd.read_sql(query, create_engine(url))
    match output_format:
        case "csv":
            frame.to_csv(target, index=False)
        case "xlsx":
            frame.to_excel(target, index=False, engine="openpyxl")
        case "jsonl":
            frame.to_json(target, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(target)


def client(socket: str, query: str, target: str) -> None:
    """The database's own client: the limit of what a client can do."""
    command = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--quick", "--batch", "bench"]
    with Path(target).open("wb") as file:
        subprocess.run([*command, f"--execute={query}"], check=True, stdout=file)


def small(url: str, home: str) -> None:
    """A report of 100 rows, again and again in one process; prints milliseconds of CPU inside the ops.

    What Dagster needs to store events and tags is a line of its own.
    """
    os.environ["REPORTHUB_HOME"] = home
    sys.meta_path.insert(0, WithoutPandas())
    from reporthub_dagster.db.session import Hub  # noqa: PLC0415 - after the environment is set
    from reporthub_dagster.instance import choose_instance, run_report, write_embedded_instance  # noqa: PLC0415
    from reporthub_dagster.settings import Settings  # noqa: PLC0415
    from reporthub_dagster_tests.go_api import GoApi  # noqa: PLC0415

    settings = Settings.load()
    Hub(settings.hub_url, ZoneInfo("UTC")).create_missing_tables()
    write_embedded_instance(settings)
    choose_instance(settings)
    go = GoApi(settings.hub_url)
    go.insert("report_datasources", id=1, name="bench", connection_url=url, db_type="mysql")
    query = "SELECT * FROM bench LIMIT 100"
    go.insert("report_configs", id=1, report_name="b", report_query=query, datasource_id=1)
    spent = _timed_ops()
    runs: list[dict[str, float]] = []
    for _ in range(8):
        spent.clear()
        finished = run_report({"config_id": 1, "deliver": "none"})
        if not finished.success:
            sys.exit(f"the report failed: {finished.error}")
        runs.append(dict(spent))
    warm = runs[3:]
    for name in warm[0]:
        print(f"{name} {statistics.median(run.get(name, 0.0) for run in warm) * 1000:.1f}")


def _timed_ops() -> dict[str, float]:
    """Op name → CPU seconds of its body from now on, without what Dagster stores on the way."""
    import dagster as dg  # noqa: PLC0415

    from reporthub_dagster import ops  # noqa: PLC0415
    from reporthub_dagster.jobs import execute_report  # noqa: PLC0415

    spent: dict[str, float] = {}
    for node in execute_report.nodes:
        op = getattr(ops, node.name)
        compute = op.compute_fn
        op._compute_fn = compute._replace(decorated_fn=_timed(compute.decorated_fn, node.name, spent))  # noqa: SLF001
    for name in ("handle_new_event", "add_run_tags"):
        storing = getattr(dg.DagsterInstance, name)
        setattr(dg.DagsterInstance, name, _timed(storing, STORING, spent))
    return spent


def _timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, with its time added under its name; what is timed within it counts there alone."""

    def step(call: Callable[[], Any]) -> Any:
        elsewhere, started = sum(spent.values()), time.thread_time()
        try:
            return call()
        finally:
            within = sum(spent.values()) - elsewhere
            spent[name] = spent.get(name, 0.0) + time.thread_time() - started - within

    def stepped(made: Iterator[Any]) -> Iterator[Any]:
        while True:
            try:
                item = step(lambda: next(made))
            except StopIteration:
                return
            yield item

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        made = step(lambda: function(*args, **kwargs))
        return stepped(made) if inspect.isgenerator(made) else made

    return timed


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    contenders: dict[str, Callable[..., None]] = {"ours": ours, "pandas": pandas, "client": client}
    if name == "small":
        small(*arguments)
    else:
        report(lambda: contenders[name](*arguments), children=name == "client")
