"""From a plan to rows to a file: the query into the spool, the spool into the report's format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from reporthub_dagster.connectors.base import Progress, QueryLimits
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.planning import active_config, active_source, connector_for, located
from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.reporting.file_name import FileName, safe_file_name
from reporthub_dagster.reporting.plan import prepare_query, visible_columns
from reporthub_dagster.reporting.records import DataSource, QueryResult, RenderedFile, ReportPlan
from reporthub_dagster.reporting.template_values import texts_of
from reporthub_dagster.storage.execution_folder import ExecutionFolder, SavedResult
from reporthub_dagster.storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished query with what it was.

    Attributes:
        template: The query as its row has it.
        sql: The query as it ran, its values as `:names`.
        binds: Name → value; what JSON has no type for is text.
        reused: True when an earlier attempt had read them.
    """

    source: DataSource
    result: QueryResult
    template: str
    sql: str
    binds: Mapping[str, Any]
    reused: bool

    def context(self) -> dict[str, Any]:
        """What `execution_context` keeps of it."""
        return {
            "original_query": self.template,
            "final_query": self.sql,
            "variables_used": dict(self.binds),
            "datasource_type": self.source.kind,
            "truncated": self.result.truncated,
        }


def read_rows(
    plan: ReportPlan,
    repository: Repository,
    folder: ExecutionFolder,
    on_progress: Progress,
    *,
    longest_seconds: float = math.inf,
) -> Rows:
    """Stream the query's rows into the execution's spool, unless an earlier attempt has.

    Rows of another query than today's are read again: a person has changed the row in between.

    Args:
        plan: The execution's plan.
        repository: For the report's data source.
        folder: The execution's folder.
        on_progress: Receives the rows so far.
        longest_seconds: The operator's own limit for any query.

    Raises:
        ConfigurationError: The data source or the query's row is wrong.
        TransientError, PermanentError: The server refused or failed.
        OSError: The output folder cannot be written.
    """
    source = active_source(repository, active_config(repository, plan.config_id))
    folder.create()
    connector = connector_for(source)
    query = prepare_query(plan, connector.dialect)
    sql, binds = query.text("named"), {name: json_value(value) for name, value in query.values.items()}
    saved = folder.load_result()
    if saved is not None and (saved.sql, saved.binds) == (sql, binds):
        return Rows(source, saved.result, plan.query, sql, binds, reused=True)
    limits = QueryLimits(min(plan.timeout_seconds, longest_seconds), plan.max_rows)
    with located("report_configs", plan.config_id, "report_query"):
        result = connector.spool(query, folder.spool, limits, on_progress)
    folder.save_result(SavedResult(result, sql, binds))
    return Rows(source, result, plan.query, sql, binds, reused=False)


def write_file(plan: ReportPlan, result: QueryResult, folder: ExecutionFolder) -> RenderedFile:
    """Write the report's file from the spool, whole or not at all.

    Raises:
        ConfigurationError: The format or one of its options is wrong.
        PermanentError: The rows cannot be shown in this format.
        OSError: The output folder cannot be written.
    """
    renderer = RENDERERS.get(plan.output_format, row=plan.config_id)()
    folder.create()
    name = file_name_of(plan)
    columns, unknown = visible_columns(plan, [column.name for column in result.columns])
    section = Section("", Spool.open(result.spool), columns, result.truncated, plan.query)
    request = RenderRequest(
        title=plan.report_name,
        window=plan.window,
        sections=(section,),
        options=plan.parameters.get("format") or {},
    )
    with located("report_configs", plan.config_id):
        file = renderer.render(request, folder.files / name.name)
    return replace(file, warnings=(*name.warnings, *unknown, *file.warnings))


def file_name_of(plan: ReportPlan) -> FileName:
    """The name of the report's file.

    Raises:
        ConfigurationError: The format is not known.
    """
    return safe_file_name(
        plan.file_name,
        extension=RENDERERS.get(plan.output_format, row=plan.config_id).extension,
        report_name=plan.report_name,
        execution_id=plan.execution_id,
        variables=texts_of(plan.variables),
        moment=plan.window.as_of.astimezone(ZoneInfo(plan.window.timezone)),
    )


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
