"""Everything an execution needs to know, decided once from its row, its window and people's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.document_query import DOCUMENTS, prepare_document
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filters import apply_conditions, conditions_of, filter_variables
from reporthub_dagster.reporting.records import (
    Deliver,
    ReportConfig,
    ReportPlan,
    ReportQuery,
    TemplateValue,
    TimeWindow,
)
from reporthub_dagster.reporting.report_parameters import RESERVED_PARAMETERS, ReportParameters
from reporthub_dagster.reporting.sql_gate import require_one_select
from reporthub_dagster.reporting.sql_template import bind_template
from reporthub_dagster.reporting.template_values import fill_value, names_in
from reporthub_dagster.reporting.time_window import template_variables


def make_plan(
    *,
    execution_id: str,
    config: ReportConfig,
    schedule_id: int | None,
    window: TimeWindow,
    overrides: Mapping[str, Any],
    deliver: Deliver,
    executed_by: str,
) -> ReportPlan:
    """Decide what an execution will do.

    The value of a variable comes from the last of these that has one: defaults in `parameters`, filter
    values, the time variables, what a person gave. So a default called `start_date` never hides the window's,
    and a person's own always counts.

    Args:
        execution_id: The execution.
        config: The report.
        schedule_id: The schedule that it runs for, if any.
        window: Its window.
        overrides: Names and values that a person gave.
        deliver: Who is to get it.
        executed_by: Who asked for it.

    Raises:
        ConfigurationError: `parameters` has a malformed `filters`, `queries` and the like.
    """
    read = ReportParameters(config)
    read.options("format")
    return ReportPlan(
        execution_id=execution_id,
        config_id=config.id,
        schedule_id=schedule_id,
        datasource_id=config.datasource_id,
        report_name=config.name,
        queries=read.queries(),
        formats=read.formats(),
        file_name=read.text("filename_template") or config.file_name or "",
        window=window,
        variables=_variables(config.parameters, read.filters(), template_variables(window), overrides),
        parameters=config.parameters,
        timeout_seconds=config.timeout_seconds,
        max_rows=config.max_rows,
        deliver=deliver,
        executed_by=executed_by,
        compress=read.compression(),
        sources=read.sources(),
        script=read.script(),
        warnings=read.warnings(),
    )


def prepare_query(plan: ReportPlan, query: ReportQuery, dialect: str) -> BoundQuery:
    """A query of a plan as the data source gets it: values bound, one SELECT, conditions put in.

    Raises:
        ConfigurationError: What a person must change in `report_query` or `parameters`.
    """
    restrictions: dict[str, Any] = {
        "dialect": dialect,
        "window": plan.window,
        "date_field": query.date_field,
        "filters": query.filters,
        "values": plan.variables,
    }
    try:
        if dialect == DOCUMENTS:
            conditions = conditions_of(**restrictions)
            return prepare_document(query.sql, plan.variables, conditions, plan.window.timezone)
        bound = bind_template(query.sql, plan.variables, dialect)
        require_one_select(bound.text("named"), dialect)
        return replace(apply_conditions(bound, **restrictions), variables=plan.variables)
    except ConfigurationError as error:
        raise _placed(error, query).located(
            table="report_configs", row=plan.config_id, column=query.place
        ) from None


def visible_columns(
    wanted: Sequence[str], available: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a file shows, in their order, and those of `wanted` that are unknown.

    Names match as written, otherwise without regard to case when only one column then matches. Unknown names
    are left out; when none is known, all columns are shown.
    """
    found: dict[str, None] = {}
    unknown: list[str] = []
    for name in wanted:
        column = _match(name, available)
        if column is None:
            unknown.append(name)
        else:
            found[column] = None
    return tuple(found or available), tuple(unknown)


def _placed(error: ConfigurationError, query: ReportQuery) -> ConfigurationError:
    """The error of a condition, where it belongs to one of several queries, says to which."""
    if not query.name or error.column is None:
        return error
    key = re.match(r"parameters\.(\w+)", error.column)
    own = query.own.get(key[1]) if key else None
    return ConfigurationError(
        error.problem if own else f"in the query {query.name!r}: {error.problem}",
        column=error.column.replace(key[0], own, 1) if key and own else error.column,
        value=error.value,
        valid=error.valid if own else f"{error.valid}, or give that query one of its own, null for none",
    )


def _variables(
    parameters: Mapping[str, Any],
    filters: Sequence[Mapping[str, Any]],
    times: Mapping[str, TemplateValue],
    overrides: Mapping[str, Any],
) -> dict[str, TemplateValue]:
    defaults = {name: value for name, value in parameters.items() if name not in RESERVED_PARAMETERS}
    known = {**defaults, **times, **overrides}
    # A filter value with a variable that nobody knows is no variable itself; the query's own error says so.
    from_filters = {
        name: fill_value(value, known)
        for name, value in filter_variables(filters).items()
        if all(mentioned in known for mentioned in names_in(value))
    }
    return {**defaults, **from_filters, **times, **overrides}


def _match(name: str, available: Sequence[str]) -> str | None:
    if name in available:
        return name
    alike = [column for column in available if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None
