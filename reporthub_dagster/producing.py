"""From a plan to rows: every query of a report into a spool, each once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from reporthub_dagster.connectors.base import Connector, Progress, QueryLimits
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.planning import active_config, active_source, at_query, connector_for
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.plan import prepare_query
from reporthub_dagster.reporting.records import DataSource, QueryResult, ReportPlan, ReportQuery
from reporthub_dagster.storage.execution_folder import ExecutionFolder, SavedResult

Guard = Callable[[Callable[[], None]], AbstractContextManager[None]]


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
    """The finished queries of a report, in their order, all of one data source."""

    source: DataSource
    queries: tuple[Rows, ...]

    @property
    def results(self) -> list[QueryResult]:
        """What is known about the rows of each query."""
        return [rows.result for rows in self.queries]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the connector tolerated, each once."""
        return tuple(dict.fromkeys(warning for result in self.results for warning in result.warnings))

    def context(self) -> dict[str, Any]:
        """What `execution_context` keeps of them; of several queries the texts stand one below the other."""
        return {
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
        }


def read_rows(
    plan: ReportPlan,
    repository: Repository,
    folder: ExecutionFolder,
    on_progress: Progress,
    *,
    longest_seconds: float = math.inf,
    guard: Guard = lambda _: nullcontext(),
) -> ReportRows:
    """Stream the rows of every query into its spool, unless an earlier attempt has.

    Rows of another query than today's are read again: a person has changed the row in between. The queries
    run one after the other; `max_rows` holds for each, `timeout_seconds` for all that run now together.

    Args:
        plan: The execution's plan.
        repository: For the report's data source.
        folder: The execution's folder.
        on_progress: Receives the rows so far of the query that runs.
        longest_seconds: The operator's own limit for any query.
        guard: Gets what stops the query from another thread, and holds while the query runs.

    Raises:
        ConfigurationError: The data source or a query is wrong; none has run then.
        TransientError, PermanentError: The server refused or failed.
        OSError: The output folder cannot be written.
    """
    source = active_source(repository, active_config(repository, plan.config_id))
    folder.create()
    connector = connector_for(source)
    bound = [prepare_query(plan, query, connector.dialect) for query in plan.queries]
    limits = QueryLimits(min(plan.timeout_seconds, longest_seconds), plan.max_rows)
    started = time.monotonic()
    read: list[Rows] = []
    with guard(connector.stop):
        for position, query in enumerate(bound):
            left = replace(limits, spent_seconds=time.monotonic() - started)
            spooling = _Spooling(plan, plan.queries[position], query, position)
            read.append(spooling.rows(connector, folder, left, on_progress))
    return ReportRows(source, tuple(read))


@dataclass(frozen=True, slots=True)
class _Spooling:
    """One query on its way into its spool."""

    plan: ReportPlan
    query: ReportQuery
    bound: BoundQuery
    position: int

    def rows(
        self, connector: Connector, folder: ExecutionFolder, limits: QueryLimits, on_progress: Progress
    ) -> Rows:
        sql = self.bound.text("named")
        binds = {name: json_value(value) for name, value in self.bound.values.items()}
        saved = folder.load_result(self.position)
        if saved is not None and (saved.sql, saved.binds) == (sql, binds):
            result = replace(saved.result, name=self.query.name)
            return Rows(result, self.query.sql, sql, binds, reused=True)
        folder.forget_result(self.position)
        with at_query(self.plan.config_id, self.query.place):
            spooled = connector.spool(self.bound, folder.spool(self.position), limits, on_progress)
        result = replace(spooled, name=self.query.name)
        folder.save_result(SavedResult(result, sql, binds), self.position)
        return Rows(result, self.query.sql, sql, binds, reused=False)


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
