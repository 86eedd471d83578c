"""Whether a report that has been made is worth sending: `parameters.send_if` judged by its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.db.digests import Digests
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.joining import report_connector
from reporthub_dagster.planning import at_query
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.plan import prepare_query, visible_columns
from reporthub_dagster.reporting.records import QueryResult, ReportPlan, ReportQuery
from reporthub_dagster.reporting.send_condition import SqlCondition, Threshold, parse_send_if
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster.storage.spool import Spool

_HASHED_ROWS = 1 << 16
_FALSE = ("", "0", "false", "f", "no", "n")
_COLUMN = "parameters.send_if"
_SQL = f"{_COLUMN}.sql"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether to send.

    Attributes:
        not_sent: Why not; None when it is to be sent.
        digest: Of the rows, where the condition is about them.
    """

    not_sent: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the rows of one execution."""

    repository: Repository
    digests: Digests
    plan: ReportPlan
    results: tuple[QueryResult, ...]
    folder: ExecutionFolder

    def judge(self) -> Judgement:
        """Whether this report is to be sent.

        Raises:
            ConfigurationError: The condition does not fit the report.
            TransientError, PermanentError: Its query failed.
        """
        condition = parse_send_if(self.plan.config_id, self.plan.parameters)
        if isinstance(condition, Threshold):
            holds = self._reaches(condition)
            return Judgement(None if holds else f"send_if: not {condition}")
        if isinstance(condition, SqlCondition):
            return Judgement(None if self._is_true(condition) else "send_if: its query did not return true")
        if condition == "not_empty":
            total = sum(result.row_count for result in self.results)
            return Judgement(None if total else "send_if: there are no rows")
        if condition == "changed":
            digest = rows_digest(self._shown())
            same = self.digests.last(self.plan.config_id) == digest
            return Judgement("send_if: nothing has changed since the last delivery" if same else None, digest)
        return Judgement()

    def _shown(self) -> Iterator[tuple[QueryResult, list[str]]]:
        """Each result with the columns of it that files show."""
        for query, result in zip(self.plan.queries, self.results, strict=True):
            yield result, list(visible_columns(query.display_columns, _names(result))[0])

    def _reaches(self, threshold: Threshold) -> bool:
        """The column may be of any query; the first that has it decides."""
        has_it = [result for result in self.results if threshold.column in _names(result)]
        if not has_it:
            names = dict.fromkeys(name for result in self.results for name in _names(result))
            raise ConfigurationError(
                "the result has no such column",
                table="report_configs",
                row=self.plan.config_id,
                column=f"{_COLUMN}.column",
                value=threshold.column,
                valid=f"valid: {', '.join(names)}",
            )
        found = [threshold.holds(value) for value in _values(has_it[0], threshold.column)]
        return any(found) if threshold.rows == "any" else bool(found) and all(found)

    def _is_true(self, condition: SqlCondition) -> bool:
        """The query goes the way of the report's own: the same source, the same check, the same values."""
        connector = report_connector(self.plan, self.repository, self.folder)
        query = _prepared(self.plan, condition, connector.dialect)
        limits = QueryLimits(self.plan.timeout_seconds, 1)
        spool = self.folder.path / "condition.arrow"
        with at_query(self.plan.config_id, _SQL):
            result = connector.spool(query, spool, limits, lambda _: None)
        try:
            first = next(iter(_values(result, result.columns[0].name)), None)
        finally:
            spool.unlink(missing_ok=True)
        return first is not None and str(first).strip().lower() not in _FALSE and first != 0


def check_condition(plan: ReportPlan, dialect: str) -> None:
    """Make sure that the condition of a report can be judged, as far as that is known before its rows.

    Raises:
        ConfigurationError: It cannot; names the row.
    """
    condition = parse_send_if(plan.config_id, plan.parameters)
    if isinstance(condition, SqlCondition):
        _prepared(plan, condition, dialect)


def rows_digest(shown: Iterable[tuple[QueryResult, list[str]]]) -> str:
    """SHA-256 of the rows as values, in their order, however they were portioned when they came.

    Args:
        shown: Each result with the columns of it that files show.
    """
    digest = sha256()
    for result, columns in shown:
        spool = Spool.open(result.spool)
        with pa.PythonFile(_Hashed(digest), mode="w") as sink:
            schema = pa.schema([spool.schema.field(name) for name in columns])
            with pa.ipc.new_stream(sink, schema) as writer:
                for table in _portions(spool, columns):
                    # `take` copies: what is cut out of a larger batch has other bytes than the same alone.
                    rows = pa.array(range(table.num_rows), pa.int64())
                    writer.write_table(table.take(rows).combine_chunks(), max_chunksize=_HASHED_ROWS)
    return digest.hexdigest()


def _prepared(plan: ReportPlan, condition: SqlCondition, dialect: str) -> BoundQuery:
    """The condition's query with the report's values bound; its faults stand where it stands."""
    return prepare_query(plan, ReportQuery("", condition.sql, place=_SQL), dialect)


class _Hashed:
    """A file that keeps nothing but the digest of what is written."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


def _portions(spool: Spool, columns: list[str]) -> Iterator[pa.Table]:
    """The rows in portions of one size."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in spool.batches(columns):
        held.append(batch)
        count += batch.num_rows
        while count >= _HASHED_ROWS:
            table = pa.Table.from_batches(held)
            yield table.slice(0, _HASHED_ROWS)
            held = table.slice(_HASHED_ROWS).to_batches()
            count -= _HASHED_ROWS
    if count:
        yield pa.Table.from_batches(held)


def _names(result: QueryResult) -> list[str]:
    return [column.name for column in result.columns]


def _values(result: QueryResult, column: str) -> Iterator[Any]:
    for batch in Spool.open(result.spool).batches([column]):
        yield from batch.column(0).to_pylist()
