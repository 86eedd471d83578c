"""From a plan to rows: every query of a report into a spool, each once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from reporthub_dagster.connectors.base import Connector, Progress, QueryLimits
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.joining import (
    MOST_SOURCE_ROWS,
    PreparedSource,
    prepare_sources,
    report_connector,
    require_whole,
)
from reporthub_dagster.planning import active_config, active_source, at_query, bound_query, connector_for
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.records import DataSource, QueryResult, ReportPlan, ReportQuery
from reporthub_dagster.shaping import Guard, Shaped, Shaping
from reporthub_dagster.storage.execution_folder import ExecutionFolder, SavedResult, Which


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished query with what it was.

    Attributes:
        template: The query as its row has it.
        sql: The query as it ran, its values as `:names`.
        binds: Name → value; what JSON has no type for is text.
        reused: True when an earlier attempt had read them.
    """

    result: QueryResult
    template: str
    sql: str
    binds: Mapping[str, Any]
    reused: bool


@dataclass(frozen=True, slots=True)
class ReportRows:
    """The finished queries of a report, in their order, of one data source or of those that they join.

    Attributes:
        shaped: What the report's script made of them, where there is one.
    """

    source: DataSource
    queries: tuple[Rows, ...]
    joined: tuple[tuple[PreparedSource, Rows], ...] = ()
    shaped: Shaped | None = None

    @property
    def results(self) -> tuple[QueryResult, ...]:
        """What is known about the rows that files show."""
        return tuple(self.shaped.results) if self.shaped else tuple(rows.result for rows in self.queries)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the connectors tolerated, each once."""
        found = [*(rows.result for _, rows in self.joined), *self.results]
        return tuple(dict.fromkeys(warning for result in found for warning in result.warnings))

    def context(self) -> dict[str, Any]:
        """What `execution_context` keeps of them; of several queries the texts stand one below the other."""
        sources = [
            {
                "name": prepared.name,
                "datasource_id": prepared.source.id,
                "datasource_type": prepared.source.kind,
                "final_query": rows.sql,
                "variables_used": dict(rows.binds),
                "rows": rows.result.row_count,
                "query_ms": rows.result.query_ms,
            }
            for prepared, rows in self.joined
        ]
        return {
            **({"sources": sources} if sources else {}),
            "original_query": _one_text([(rows.result.name, rows.template) for rows in self.queries]),
            "final_query": _one_text([(rows.result.name, rows.sql) for rows in self.queries]),
            "variables_used": {name: value for rows in self.queries for name, value in rows.binds.items()},
            "datasource_type": self.source.kind,
            "truncated": any(result.truncated for result in self.results),
            "queries": [
                {
                    "name": rows.result.name,
                    "rows": rows.result.row_count,
                    "truncated": rows.result.truncated,
                    "query_ms": rows.result.query_ms,
                    "variables_used": dict(rows.binds),
                }
                for rows in self.queries
            ],
            **({"script_ms": self.shaped.milliseconds} if self.shaped else {}),
        }


def read_rows(
    plan: ReportPlan,
    repository: Repository,
    folder: ExecutionFolder,
    on_progress: Progress,
    *,
    longest_seconds: float = math.inf,
    guard: Guard = lambda _: nullcontext(),
    say: Callable[[str], object] = lambda _: None,
) -> ReportRows:
    """Stream the rows of every query into its spool, and run the script, unless an earlier attempt has.

    Rows of another query than today's are read again: a person has changed the row in between. The queries
    run one after the other; `max_rows` holds for each, `timeout_seconds` for all that run now together.

    Args:
        plan: The execution's plan.
        repository: For the report's data source.
        folder: The execution's folder.
        on_progress: Receives the rows so far of the query that runs.
        longest_seconds: The operator's own limit for any query.
        guard: Gets what stops the query from another thread, and holds while the query runs.
        say: Gets what the script prints.

    Raises:
        ConfigurationError: The data source or a query is wrong, and none has run then; or the script is.
        TransientError, PermanentError: The server refused or failed.
        OSError: The output folder cannot be written.
    """
    source = active_source(repository, active_config(repository, plan.config_id))
    folder.create()
    sources = prepare_sources(plan, repository)
    connector = report_connector(plan, repository, folder)
    bound = [bound_query(plan, query, connector) for query in plan.queries]
    reading = _Reading(plan, folder, min(plan.timeout_seconds, longest_seconds), on_progress, guard)
    joined = [reading.source(source) for source in sources]
    queries = tuple(reading.query(position, query, connector) for position, query in enumerate(bound))
    rows = ReportRows(source, queries, tuple(zip(sources, joined, strict=True)))
    if not plan.script:
        folder.forget_shape()
        return rows
    params = {name: json_value(value) for name, value in plan.variables.items()}
    return replace(rows, shaped=Shaping(plan, folder, params, guard, say).shape(rows.results))


def estimates(plan: ReportPlan, repository: Repository, seconds: float) -> list[dict[str, Any]]:
    """What every query that a source is asked would read; none of them runs.

    Args:
        plan: Of the report.
        repository: For its data sources.
        seconds: That each source has to say so.

    Returns:
        The query's `name`, `sql`, `parameters`, and `bytes`: None where the source cannot say.

    Raises:
        ConfigurationError, TransientError: A source refuses a query, or cannot be asked.
    """
    asked = [(one.query, one.bound, one.connector) for one in prepare_sources(plan, repository)]
    if not asked:
        connector = connector_for(active_source(repository, active_config(repository, plan.config_id)))
        asked = [(query, bound_query(plan, query, connector), connector) for query in plan.queries]
    found = []
    for query, bound, connector in asked:
        with at_query(plan.config_id, query.place):
            size = connector.estimate(bound, seconds)
        binds = {name: json_value(value) for name, value in bound.values.items()}
        found.append({"name": query.name, "sql": bound.text("named"), "parameters": binds, "bytes": size})
    return found


class _Reading:
    """The reading of one report: what is read, is read within one time limit."""

    def __init__(
        self, plan: ReportPlan, folder: ExecutionFolder, seconds: float, on_progress: Progress, guard: Guard
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._seconds = seconds
        self._on_progress = on_progress
        self._guard = guard
        self._started = time.monotonic()

    def source(self, prepared: PreparedSource) -> Rows:
        """A source that is joined, to its end."""
        query, bound = prepared.query, prepared.bound
        rows = self._rows(prepared.name, query, bound, prepared.connector, MOST_SOURCE_ROWS)
        require_whole(rows.result, prepared)
        return rows

    def query(self, position: int, bound: BoundQuery, connector: Connector) -> Rows:
        """A query of the report."""
        return self._rows(position, self._plan.queries[position], bound, connector, self._plan.max_rows)

    def _rows(
        self, which: Which, query: ReportQuery, bound: BoundQuery, connector: Connector, max_rows: int
    ) -> Rows:
        folder, sql = self._folder, bound.text("named")
        binds = {name: json_value(value) for name, value in bound.values.items()}
        saved = folder.load_result(which)
        if saved is not None and (saved.sql, saved.binds) == (sql, binds):
            return Rows(replace(saved.result, name=query.name), query.sql, sql, binds, reused=True)
        # What was joined of other rows is forgotten first: this attempt may die before it joins again.
        for stale in (which, *(range(len(self._plan.queries)) if isinstance(which, str) else ())):
            folder.forget_result(stale)
        spent = time.monotonic() - self._started
        label = self._plan.execution_id
        limits = QueryLimits(self._seconds, max_rows, spent_seconds=spent, label=label)
        with at_query(self._plan.config_id, query.place), self._guard(connector.stop):
            spooled = connector.spool(bound, folder.spool(which), limits, self._on_progress)
        result = replace(spooled, name=query.name)
        folder.save_result(SavedResult(result, sql, binds), which)
        return Rows(result, query.sql, sql, binds, reused=False)


def json_value(value: Any) -> Any:
    """A bound value as JSON has it; what JSON has no type for is text."""
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _one_text(queries: Sequence[tuple[str, str]]) -> str:
    """Texts under the names of their queries; one without a name stands as it is."""
    if [name for name, _ in queries] == [""]:
        return queries[0][1]
    return "\n\n".join(f"-- {name}\n{sql}" for name, sql in queries)
