"""A plan from a row: which value wins, what is malformed, the query as the source gets it, the columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.plan import make_plan, prepare_query, visible_columns
from reporthub_dagster.reporting.records import ReportConfig, ReportPlan
from reporthub_dagster.reporting.report_parameters import RESERVED_PARAMETERS
from reporthub_dagster_tests.reporting.builders import config, window
from reporthub_dagster_tests.reporting.orders import ids

CONTRACT_PARAMETERS: Mapping[str, Any] = {
    "date_field": "t.created_at",
    "filters": [
        {"field": "t.merchant_id", "operator": "=", "type": "string", "value": "M-77"},
        {"field": "t.status", "operator": "IN", "type": "string", "value": ["PAID", "SETTLED"]},
    ],
    "display_columns": ["trx_id", "amount", "status"],
    "filename_template": "{{report_name}}_{{merchant_id}}_{{yesterday}}",
    "start_date": "2025-01-01",
}


def plan(row: ReportConfig, **overrides: Any) -> ReportPlan:
    return make_plan(
        execution_id="6f1c",
        config=row,
        schedule_id=7,
        window=window(),
        overrides=overrides,
        deliver="all",
        executed_by="tests",
    )


def test_a_plan_takes_over_the_row_and_holds_what_was_decided() -> None:
    made = plan(config("SELECT :x", CONTRACT_PARAMETERS))

    assert (made.execution_id, made.config_id, made.schedule_id, made.datasource_id) == ("6f1c", 42, 7, 3)
    assert (made.queries[0].sql, made.report_name, made.formats) == ("SELECT :x", "Daily orders", ("csv",))
    assert (made.timeout_seconds, made.max_rows, made.deliver, made.executed_by) == (
        300,
        10_000,
        "all",
        "tests",
    )
    assert made.window == window()
    (query,) = made.queries
    assert (query.name, query.date_field) == ("", "t.created_at")
    assert query.display_columns == ("trx_id", "amount", "status")
    assert made.file_name == "{{report_name}}_{{merchant_id}}_{{yesterday}}"
    assert [one["field"] for one in query.filters] == ["t.merchant_id", "t.status"]
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("parameters", "overrides", "name", "value"),
    [
        pytest.param({"region": "EU"}, {}, "region", "EU", id="default"),
        pytest.param(
            {"region": "EU"}, {"region": "US"}, "region", "US", id="a-persons-value-beats-a-default"
        ),
        pytest.param(CONTRACT_PARAMETERS, {}, "start_date", "2025-01-30", id="the-window-beats-a-default"),
        pytest.param(
            CONTRACT_PARAMETERS,
            {"start_date": "2024-12-24"},
            "start_date",
            "2024-12-24",
            id="person-beats-all",
        ),
        pytest.param(CONTRACT_PARAMETERS, {}, "merchant_id", "M-77", id="filter"),
        pytest.param(CONTRACT_PARAMETERS, {}, "status", "PAID, SETTLED", id="filter-list"),
        pytest.param(
            {**CONTRACT_PARAMETERS, "merchant_id": "M-1"},
            {},
            "merchant_id",
            "M-77",
            id="filter-beats-default",
        ),
        pytest.param(
            CONTRACT_PARAMETERS, {"merchant_id": "M-9"}, "merchant_id", "M-9", id="person-beats-filter"
        ),
        pytest.param(
            {"filters": [{"field": "a.yesterday", "value": 1}]}, {}, "yesterday", "2025-01-30", id="time-wins"
        ),
        pytest.param(
            {"filters": [{"field": "d", "value": "{{yesterday}}"}]}, {}, "d", "2025-01-30", id="filled-filter"
        ),
        pytest.param({"region": "EU"}, {"region": None}, "region", None, id="a-persons-null"),
        pytest.param({"ids": [1, 2]}, {}, "ids", [1, 2], id="list"),
    ],
)
def test_which_value_a_variable_has(
    parameters: Mapping[str, Any], overrides: Mapping[str, Any], name: str, value: Any
) -> None:
    assert plan(config(parameters=parameters), **overrides).variables[name] == value


def test_parameters_with_a_meaning_of_their_own_are_no_variables() -> None:
    made = plan(config(parameters=dict.fromkeys(RESERVED_PARAMETERS)))

    assert not RESERVED_PARAMETERS & set(made.variables)


def test_a_filter_on_an_unknown_variable_is_no_variable() -> None:
    made = plan(config(parameters={"filters": [{"field": "a", "value": "{{nobody}}"}]}))

    assert "a" not in made.variables


@pytest.mark.parametrize(
    ("parameters", "file_name", "expected"),
    [
        ({"filename_template": "a"}, "b", "a"),
        ({}, "b", "b"),
        ({"filename_template": None}, None, ""),
        ({"filename_template": " "}, "b", "b"),
    ],
)
def test_the_file_name_comes_from_the_parameters_or_the_column(
    parameters: dict[str, Any], file_name: str | None, expected: str
) -> None:
    assert plan(config(parameters=parameters, file_name=file_name)).file_name == expected


@pytest.mark.parametrize(
    ("parameters", "column"),
    [
        ({"filters": {"field": "a"}}, "parameters.filters"),
        ({"filters": "a"}, "parameters.filters"),
        ({"filters": [{"field": "a"}, "b"]}, "parameters.filters[1]"),
        ({"display_columns": "a"}, "parameters.display_columns"),
        ({"display_columns": ["a", 1]}, "parameters.display_columns[1]"),
        ({"date_field": ["a"]}, "parameters.date_field"),
        ({"filename_template": 5}, "parameters.filename_template"),
    ],
)
def test_a_malformed_parameter_is_named_with_its_row(parameters: dict[str, Any], column: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(config(parameters=parameters))

    assert (caught.value.table, caught.value.row, caught.value.column) == ("report_configs", 42, column)


def test_a_key_of_a_filter_that_means_nothing_is_told() -> None:
    mistaken = {"field": "a", "op": "!=", "values": [1]}
    sound = {"field": "a", "operator": "=", "type": "number", "value": 1}
    parameters = {
        "filters": [sound, mistaken],
        "queries": {"A": None, "B": {"filters": [mistaken]}, "C": None},
    }

    assert plan(config(parameters=parameters)).warnings == tuple(
        f"{place}: the unknown key {key!r} was passed over; give field, operator, type and value"
        for place in ("parameters.filters[1]", "parameters.queries.B.filters[0]")
        for key in ("op", "values")
    )
    assert plan(config(parameters={"filters": [sound]})).warnings == ()


@pytest.mark.parametrize("value", [None, [], ""])
def test_empty_parameters_are_none_at_all(value: Any) -> None:
    made = plan(
        config(
            parameters={"filters": value or None, "display_columns": value or None, "date_field": value or ""}
        )
    )

    (query,) = made.queries
    assert (query.filters, query.display_columns, query.date_field) == ((), (), None)


def test_a_query_is_bound_checked_and_restricted(database: sqlite3.Connection) -> None:
    sql = (
        "SELECT t.id FROM orders t WHERE t.created_at >= '{{start_date}}' AND t.amount < :most -- {{not_me}}"
    )
    made = plan(config(sql, {**CONTRACT_PARAMETERS, "most": 100}))

    query = prepare_query(made, made.queries[0], "sqlite")

    assert ids(database, query) == {2}
    assert query.values["most"] == 100


@pytest.mark.parametrize(
    ("sql", "parameters", "column", "problem"),
    [
        pytest.param(
            "SELECT {{nope}}", {}, "report_query", "has no value at line 1, column 8", id="variable"
        ),
        pytest.param("DROP TABLE t", {}, "report_query", "DROP is not a query", id="statement"),
        pytest.param(
            "SELECT 1 FROM t", {"date_field": "q.a"}, "parameters.date_field", "no part", id="date-field"
        ),
        pytest.param(
            "SELECT 1 FROM t",
            {"filters": [{"field": "a", "operator": "~", "value": 1}]},
            "parameters.filters[0].operator",
            "unknown operator",
            id="filter",
        ),
    ],
)
def test_what_is_wrong_with_a_query_is_named_with_its_row(
    sql: str, parameters: dict[str, Any], column: str, problem: str
) -> None:
    made = plan(config(sql, parameters))
    with pytest.raises(ConfigurationError, match=problem) as caught:
        prepare_query(made, made.queries[0], "sqlite")

    assert (caught.value.table, caught.value.row, caught.value.column) == ("report_configs", 42, column)


@pytest.mark.parametrize(
    ("wanted", "shown", "unknown"),
    [
        pytest.param([], ("id", "Amount", "status"), 0, id="none-wanted-shows-all"),
        pytest.param(["status", "id"], ("status", "id"), 0, id="in-the-order-wanted"),
        pytest.param(["id", "nope"], ("id",), 1, id="unknown-is-left-out"),
        pytest.param(["nope", "no"], ("id", "Amount", "status"), 2, id="none-known-shows-all"),
        pytest.param(["amount"], ("Amount",), 0, id="case-does-not-matter"),
        pytest.param(["id", "id"], ("id",), 0, id="each-once"),
    ],
)
def test_the_columns_that_a_file_shows(wanted: list[str], shown: tuple[str, ...], unknown: int) -> None:
    columns, told = visible_columns(wanted, ["id", "Amount", "status"])

    assert columns == shown
    assert len(told) == unknown


def test_columns_that_differ_in_case_only_must_be_written_exactly() -> None:
    assert visible_columns(["ID", "Id"], ["id", "Id"]) == (("Id",), ("ID",))
