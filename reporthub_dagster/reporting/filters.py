"""`date_field` and `filters` of a report's parameters, put into its query as conditions with bound values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlglot import exp

from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filter_values import OPERATORS, TYPES, MisfitError, operands, type_of
from reporthub_dagster.reporting.records import TemplateValue, TimeWindow
from reporthub_dagster.reporting.sql_clauses import clauses_of, marked
from reporthub_dagster.reporting.sql_gate import one_statement
from reporthub_dagster.reporting.sql_lexer import BACKTICKS, tokens
from reporthub_dagster.reporting.sql_scopes import Field, selects_for
from reporthub_dagster.reporting.sql_template import BindNames
from reporthub_dagster.reporting.template_values import fill_value, text_of
from reporthub_dagster.reporting.time_window import template_variables

_FIELD_NAME = re.compile(r"[^\W\d][\w$]*(?:\.[^\W\d][\w$]*){0,3}")


class Condition(NamedTuple):
    """A condition before it has a place: `field operator binds`."""

    column: str
    """Where it is configured: `parameters.filters[2]`."""
    field: str
    operator: str
    values: Sequence[tuple[str, Any]]
    """Bind name and value."""
    dates: bool = False
    """True when the values are the texts of dates or times."""


def apply_conditions(
    query: BoundQuery,
    *,
    dialect: str,
    window: TimeWindow,
    date_field: str | None,
    filters: Sequence[Mapping[str, Any]],
    values: Mapping[str, TemplateValue],
) -> BoundQuery:
    """The query with the conditions of `date_field` and `filters`, joined with AND.

    sqlglot only finds the SELECT that a condition belongs to (see `sql_scopes`). The query's own text is not
    written anew: aliases, quotes, hints and comments stay, and nothing can change its meaning.

    Args:
        query: One SELECT.
        dialect: sqlglot's name of its SQL.
        window: What `date_field` covers: whole days for a daily, weekly or monthly report, otherwise and for
            an explicit window exactly [start, end).
        date_field: Column with an optional qualifier.
        filters: Mappings with `field`, `operator`, `type` and `value`.
        values: The variables that filter values may hold.

    Raises:
        ConfigurationError: A filter is malformed, its value is not of its type, or its field is not in the
            query; the column is `parameters.filters[2].operator` and the like.
    """
    conditions = conditions_of(
        dialect=dialect, window=window, date_field=date_field, filters=filters, values=values
    )
    return _Placing(query, dialect).with_conditions(conditions) if conditions else query


def conditions_of(
    *,
    dialect: str,
    window: TimeWindow,
    date_field: str | None,
    filters: Sequence[Mapping[str, Any]],
    values: Mapping[str, TemplateValue],
) -> list[Condition]:
    """What `apply_conditions` puts into a query.

    Raises:
        ConfigurationError: As there, but for fields that are not in the query.
    """
    return [*_date_conditions(date_field, window), *_filter_conditions(filters, values, dialect)]


def filter_variables(filters: Sequence[Mapping[str, Any]]) -> dict[str, TemplateValue]:
    """Each filter's value as a variable under the bare name of its field, lists joined with `, `."""
    return {
        str(one["field"]).rpartition(".")[2]: text_of(one["value"])
        if isinstance(one["value"], list)
        else one["value"]
        for one in filters
        if one.get("field") and one.get("value") is not None
    }


def _date_conditions(date_field: str | None, window: TimeWindow) -> Iterator[Condition]:
    if not date_field:
        return
    times = template_variables(window)
    if window.method == "explicit" or window.granularity == "hourly":
        first, end = times["start_datetime"], times["end_datetime"]
    elif window.granularity == "daily":
        first, end = times["yesterday"], times["execution_date"]
    else:
        first, end = times["start_date"], times["end_date"]
    _field_name(date_field, "parameters.date_field")
    yield Condition("parameters.date_field", date_field, ">=", [("date_from", first)], dates=True)
    yield Condition("parameters.date_field", date_field, "<", [("date_until", end)], dates=True)


def _filter_conditions(
    filters: Sequence[Mapping[str, Any]], values: Mapping[str, TemplateValue], dialect: str
) -> Iterator[Condition]:
    for number, one in enumerate(filters):
        column = f"parameters.filters[{number}]"
        try:
            value = fill_value(one.get("value"), values)
        except ConfigurationError as error:
            raise error.located(column=f"{column}.value") from None
        if value is not None:
            yield _filter_condition(one, value, column, dialect)


def _filter_condition(one: Mapping[str, Any], value: TemplateValue, column: str, dialect: str) -> Condition:
    field = _field_name(one.get("field"), f"{column}.field")
    operator = str(one.get("operator") or "=").strip().upper()
    kind = str(one.get("type") or type_of(value)).strip().lower()
    if operator not in OPERATORS:
        raise _invalid(
            "unknown operator", f"{column}.operator", one["operator"], f"use {' '.join(OPERATORS)}"
        )
    if kind not in TYPES:
        raise _invalid("unknown type", f"{column}.type", one["type"], f"use {', '.join(TYPES)}")
    try:
        bound = operands(operator, kind, value, dialect)
    except MisfitError as error:
        valid = f"give a value of type {kind}, as operator {operator} takes it"
        raise _invalid(f"the value is {error}", f"{column}.value", value, valid) from None
    name = f"filter_{field.rpartition('.')[2]}"
    return Condition(f"{column}.field", field, operator, [(name, item) for item in bound], kind == "date")


class _Edit(NamedTuple):
    offset: int
    parts: list[str | Bind]


class _Placing:
    """One query that conditions go into."""

    def __init__(self, query: BoundQuery, dialect: str) -> None:
        items = list(tokens(query.text("named"), dialect))
        self.query = query
        self.dialect = dialect
        self.names = BindNames(query.values)
        self.clauses = clauses_of(items, dialect)
        self.statement = one_statement(marked(items, self.clauses), dialect)
        self.quoted = {
            name.name for name in self.statement.find_all(exp.Identifier) if name.args.get("quoted")
        }

    def with_conditions(self, conditions: Sequence[Condition]) -> BoundQuery:
        by_select: dict[int, list[str | Bind]] = {}
        for condition in conditions:
            written = self._written(condition)
            for number in self._selects(condition):
                parts = by_select.setdefault(number, [])
                parts += [" AND ", *written] if parts else written
        edits = [edit for number, parts in by_select.items() for edit in self._edits(number, parts)]
        return _spliced(self.query, sorted(edits, key=lambda edit: edit.offset))

    def _selects(self, condition: Condition) -> list[int]:
        try:
            selects = selects_for(self.statement, Field.of(condition.field))
        except ConfigurationError as error:
            raise error.located(column=condition.column) from None
        return [int((select.comments or [""])[0]) for select in selects]

    def _edits(self, number: int, parts: list[str | Bind]) -> list[_Edit]:
        where, end = self.clauses[number].where, self.clauses[number].end
        if where is None:
            return [_Edit(end, [" WHERE ", *parts])]
        return [_Edit(where[0], ["("]), _Edit(where[1], [") AND ", *parts])]

    def _written(self, condition: Condition) -> list[str | Bind]:
        field = ".".join(self._name(part) for part in condition.field.split("."))
        binds = [self.names.bind(name, value) for name, value in condition.values]
        if condition.operator != "IN":
            return [f"{field} {condition.operator} ", binds[0]]
        if not binds:
            return ["1 = 0"]
        items = [part for bind in binds for part in (", ", bind)][1:]
        return [f"{field} IN (", *items, ")"]

    def _name(self, part: str) -> str:
        """A name quoted where that cannot change what it means: reserved words become usable.

        Not with double quotes in SQLite, which takes an unknown `"name"` for a string; and a database that
        folds names gets quotes only where they make no difference, or where the query has them itself.
        """
        if self.dialect in BACKTICKS:
            return f"`{part}`"
        folded = self.dialect == "postgres" and part == part.lower()
        return f'"{part}"' if folded or part in self.quoted else part


def _spliced(query: BoundQuery, edits: list[_Edit]) -> BoundQuery:
    parts: list[str | Bind] = []
    waiting, start = list(edits), 0
    for part in query.parts:
        done, end = start, start + len(part if isinstance(part, str) else f":{part.name}")
        while waiting and waiting[0].offset < end:
            edit = waiting.pop(0)
            if isinstance(part, str):
                parts.append(part[done - start : edit.offset - start])
                done = edit.offset
            parts += edit.parts
        parts.append(part[done - start :] if isinstance(part, str) else part)
        start = end
    return BoundQuery.of([*parts, *(new for edit in waiting for new in edit.parts)])


def _field_name(field: Any, column: str) -> str:
    if isinstance(field, str) and _FIELD_NAME.fullmatch(field):
        return field
    raise _invalid("not a column's name", column, field, "write a column, or table.column, without quotes")


def _invalid(problem: str, column: str, value: object, valid: str) -> ConfigurationError:
    return ConfigurationError(problem, column=column, value=value, valid=valid)
