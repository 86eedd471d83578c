"""Everything an execution needs to know, decided once from its row, its window and people's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filters import apply_conditions, filter_variables
from reporthub_dagster.reporting.records import ReportConfig, ReportPlan, TemplateValue, TimeWindow
from reporthub_dagster.reporting.sql_gate import require_one_select
from reporthub_dagster.reporting.sql_template import bind_template
from reporthub_dagster.reporting.template_values import fill_value, names_in
from reporthub_dagster.reporting.time_window import template_variables

RESERVED_PARAMETERS = frozenset(
    {
        "date_field",
        "filters",
        "display_columns",
        "filename_template",
        "format",
        "formats",
        "queries",
        "schedule",
        "sources",
        "script",
        "send_if",
        "notify",
        "link",
        "compress",
    }
)
"""Keys of `report_configs.parameters` with a meaning of their own; every other key is a default value."""


def make_plan(
    *,
    execution_id: str,
    config: ReportConfig,
    schedule_id: int | None,
    window: TimeWindow,
    overrides: Mapping[str, Any],
    deliver: Literal["all", "none"] | tuple[str, ...],
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
        ConfigurationError: `parameters` has a malformed `filters`, `display_columns` and the like.
    """
    read = _Parameters(config)
    read.options("format")
    filters = read.filters()
    return ReportPlan(
        execution_id=execution_id,
        config_id=config.id,
        schedule_id=schedule_id,
        datasource_id=config.datasource_id,
        report_name=config.name,
        query=config.query,
        output_format=config.output_format,
        file_name=read.text("filename_template") or config.file_name or "",
        window=window,
        variables=_variables(config.parameters, filters, template_variables(window), overrides),
        date_field=read.text("date_field") or None,
        filters=filters,
        display_columns=read.display_columns(),
        parameters=config.parameters,
        timeout_seconds=config.timeout_seconds,
        max_rows=config.max_rows,
        deliver=deliver,
        executed_by=executed_by,
    )


def prepare_query(plan: ReportPlan, dialect: str) -> BoundQuery:
    """The query of a plan as the data source gets it: values bound, one SELECT, conditions put in.

    Raises:
        ConfigurationError: What a person must change in `report_query` or `parameters`.
    """
    try:
        query = bind_template(plan.query, plan.variables, dialect)
        require_one_select(query.text("named"), dialect)
        return apply_conditions(
            query,
            dialect=dialect,
            window=plan.window,
            date_field=plan.date_field,
            filters=plan.filters,
            values=plan.variables,
        )
    except ConfigurationError as error:
        raise error.located(table="report_configs", row=plan.config_id, column="report_query") from None


def visible_columns(plan: ReportPlan, available: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that the file shows, in their order, and warnings.

    Names match as written, otherwise without regard to case when only one column then matches. Unknown names
    are left out; when none is known, all columns are shown.
    """
    found: dict[str, None] = {}
    unknown: list[str] = []
    for name in plan.display_columns:
        column = _match(name, available)
        if column is None:
            unknown.append(name)
        else:
            found[column] = None
    warnings = [f"display_columns: the result has no column {name}" for name in unknown]
    if plan.display_columns and not found:
        warnings.append("display_columns: none of its columns is known, so all are shown")
    return tuple(found or available), tuple(warnings)


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


class _Parameters:
    """`report_configs.parameters`, its shapes checked."""

    def __init__(self, config: ReportConfig) -> None:
        self.config = config

    def text(self, key: str) -> str:
        value = self.config.parameters.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._malformed(key, value, "not a text", "give one text")
        return value.strip()

    def options(self, key: str) -> Mapping[str, Any]:
        value = self.config.parameters.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._malformed(key, value, "not an object", "give an object of options")
        return value

    def filters(self) -> tuple[Mapping[str, Any], ...]:
        items = self._list("filters", "give a list of objects with field, operator, type and value")
        for number, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise self._malformed(
                    f"filters[{number}]", item, "not an object", "give field, operator, type and value"
                )
        return tuple(items)

    def display_columns(self) -> tuple[str, ...]:
        items = self._list("display_columns", "give a list of column names")
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise self._malformed(
                    f"display_columns[{number}]", item, "not a text", "give a column's name"
                )
        return tuple(items)

    def _list(self, key: str, valid: str) -> list[Any]:
        value = self.config.parameters.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._malformed(key, value, "not a list", valid)
        return value

    def _malformed(self, key: str, value: object, problem: str, valid: str) -> ConfigurationError:
        return ConfigurationError(
            problem,
            table="report_configs",
            row=self.config.id,
            column=f"parameters.{key}",
            value=value,
            valid=valid,
        )
