"""`filters` select their rows: judged by what SQLite then returns."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filters import apply_conditions, filter_variables
from reporthub_dagster.reporting.sql_template import bind_template
from reporthub_dagster_tests.reporting.builders import window
from reporthub_dagster_tests.reporting.orders import SCHEMA, applied, ids

PAID: dict[str, Any] = {"field": "t.status", "operator": "=", "type": "string", "value": "PAID"}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param({"operator": "=", "value": "M-77"}, {1, 2, 3, 5}, id="equal"),
        pytest.param({"value": "M-77"}, {1, 2, 3, 5}, id="no-operator-and-type-is-equal"),
        pytest.param({"operator": "!=", "value": "M-77"}, {4}, id="not-equal"),
        pytest.param(
            {"field": "amount", "operator": ">", "type": "number", "value": "40"}, {5, 6}, id="greater"
        ),
        pytest.param(
            {"field": "amount", "operator": ">=", "type": "number", "value": 40}, {4, 5, 6}, id="at-least"
        ),
        pytest.param(
            {"field": "amount", "operator": "<", "type": "number", "value": 20.5}, {1, 2}, id="less"
        ),
        pytest.param(
            {"field": "amount", "operator": "<=", "type": "number", "value": 20}, {1, 2}, id="at-most"
        ),
        pytest.param({"operator": "LIKE", "value": "7"}, {1, 2, 3, 5}, id="like-contains"),
        pytest.param({"operator": "like", "value": "M_8"}, {4}, id="like-keeps-wildcards"),
        pytest.param({"operator": "IN", "value": ["M-88", "M-99"]}, {4}, id="in"),
        pytest.param({"operator": "IN", "value": []}, set(), id="in-nothing"),
        pytest.param({"operator": "IN", "value": None}, {1, 2, 3, 4, 5, 6}, id="null-is-skipped"),
        pytest.param({"operator": "="}, {1, 2, 3, 4, 5, 6}, id="no-value-is-skipped"),
        pytest.param({"value": "{{merchant}}"}, {4}, id="variable"),
        pytest.param({"value": "M-{{number}}"}, {4}, id="variable-in-a-text"),
        pytest.param(
            {"operator": "IN", "value": "{{merchants}}"}, {1, 2, 3, 4, 5}, id="variable-that-is-a-list"
        ),
        pytest.param({"value": "{{nothing}}"}, {1, 2, 3, 4, 5, 6}, id="variable-that-is-null"),
        pytest.param(
            {"field": "created_at", "operator": ">=", "type": "date", "value": "2025-01-31T00:00"},
            {5},
            id="date",
        ),
        pytest.param(
            {"field": "order", "operator": "=", "type": "number", "value": 3}, {3}, id="reserved-word"
        ),
        pytest.param({"field": "id", "operator": "=", "type": "boolean", "value": "true"}, {1}, id="boolean"),
        pytest.param({"value": "x' OR 1=1 --"}, set(), id="hostile-value"),
    ],
)
def test_a_filter_selects_its_rows(
    database: sqlite3.Connection, one: dict[str, Any], expected: set[int]
) -> None:
    values = {"merchant": "M-88", "number": 88, "merchants": ["M-77", "M-88"], "nothing": None}

    query = applied("SELECT id FROM orders", filters=[{"field": "merchant_id", **one}], values=values)

    assert ids(database, query) == expected


def test_filters_and_the_date_field_are_joined_with_and(database: sqlite3.Connection) -> None:
    filters = [
        PAID,
        {"field": "t.merchant_id", "operator": "IN", "type": "string", "value": ["M-77", "M-88"]},
    ]

    query = applied("SELECT id FROM orders t WHERE 1=1", date_field="t.created_at", filters=filters)

    assert ids(database, query) == {2}


def test_conditions_go_each_to_their_own_select(database: sqlite3.Connection) -> None:
    sql = "SELECT t.id FROM orders t JOIN (SELECT order_id FROM refunds r) x ON x.order_id = t.id"
    filters: list[dict[str, Any]] = [{"field": "r.id", "operator": "=", "type": "number", "value": 91}, PAID]

    query = applied(sql, date_field="t.created_at", filters=filters)

    assert ids(database, query) == {2}


def test_two_filters_on_one_field_keep_their_own_values(database: sqlite3.Connection) -> None:
    filters: list[dict[str, Any]] = [
        {"field": "amount", "operator": ">=", "type": "number", "value": 20},
        {"field": "amount", "operator": "<=", "type": "number", "value": 40},
    ]

    query = applied(
        "SELECT id FROM orders WHERE amount <> :filter_amount", filters=filters, values={"filter_amount": 30}
    )

    assert ids(database, query) == {2, 4}
    assert query.values == {"filter_amount": 30, "filter_amount_2": 20, "filter_amount_3": 40}


@pytest.mark.parametrize(
    ("one", "column", "valid"),
    [
        pytest.param({"operator": "~"}, "operator", "use = != > >= < <= LIKE IN", id="operator"),
        pytest.param({"type": "money"}, "type", "use number, string, date, boolean", id="type"),
        pytest.param({"type": "number", "value": "x"}, "value", "of type number", id="value"),
        pytest.param({"operator": "=", "value": ["x"]}, "value", "as operator = takes it", id="list"),
        pytest.param({"value": ["x"]}, "value", "the value is a list, which only IN takes", id="one"),
        pytest.param({"value": {"x": 1}}, "value", "the value is an object", id="object"),
        pytest.param({"value": "{{nope}}"}, "value", "known are none", id="variable"),
        pytest.param({"field": "a b"}, "field", "write a column", id="field"),
        pytest.param({"field": "`a`"}, "field", "write a column", id="quoted-field"),
        pytest.param({"field": None}, "field", "write a column", id="no-field"),
        pytest.param({"field": "q.status"}, "field", "reads t", id="field-of-no-table"),
    ],
)
def test_a_bad_filter_is_named_by_its_place(one: dict[str, Any], column: str, valid: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        applied("SELECT id FROM orders t", filters=[PAID, PAID, {**PAID, **one}])

    assert caught.value.column == f"parameters.filters[2].{column}"
    assert valid in str(caught.value)


def test_without_conditions_the_query_is_not_touched() -> None:
    query = bind_template("anything {{x}}", {"x": 1}, "sqlite")

    assert (
        apply_conditions(
            query, dialect="sqlite", window=window(), date_field=None, filters=[{"field": "a"}], values={}
        )
        is query
    )


@pytest.mark.parametrize(
    ("dialect", "sql", "field", "condition"),
    [
        pytest.param("mysql", "SELECT 1 FROM `t`", "t.order", "`t`.`order` >= ", id="mysql-quotes"),
        pytest.param(
            "postgres", "SELECT 1 FROM t", "t.order", '"t"."order" >= ', id="postgres-quotes-lower-case"
        ),
        pytest.param("postgres", "SELECT 1 FROM t", "T.Made", "T.Made >= ", id="postgres-folds-the-rest"),
        pytest.param(
            "postgres",
            'SELECT "T"."Made" FROM x AS "T"',
            "T.Made",
            '"T"."Made" >= ',
            id="postgres-as-the-query-quotes",
        ),
        pytest.param("oracle", "SELECT 1 FROM t", "t.made", "t.made >= ", id="oracle-folds-upwards"),
    ],
)
def test_names_are_quoted_as_their_database_reads_them(
    dialect: str, sql: str, field: str, condition: str
) -> None:
    query = applied(sql, date_field=field, dialect=dialect)

    assert query.text("named").startswith(f"{sql} WHERE {condition}")


def test_an_unknown_column_is_an_error_in_sqlite_and_no_string(database: sqlite3.Connection) -> None:
    query = applied("SELECT id FROM orders", filters=[{"field": "nope", "value": "nope"}])

    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        ids(database, query)


@given(
    merchants=st.lists(st.sampled_from(["M-77", "M-88", "M-99", "x'y", "%", ""]), max_size=3),
    least=st.integers(0, 70),
    statuses=st.lists(st.sampled_from(["PAID", "FAILED", "SETTLED"]), min_size=1, max_size=3),
)
def test_filters_return_what_python_would(merchants: list[str], least: int, statuses: list[str]) -> None:
    filters: list[dict[str, Any]] = [
        {"field": "t.merchant_id", "operator": "IN", "type": "string", "value": merchants},
        {"field": "t.amount", "operator": ">=", "type": "number", "value": least},
        {"field": "t.status", "operator": "IN", "type": "string", "value": statuses},
    ]
    query = applied("SELECT t.id FROM orders t WHERE 1 = 1 OR 1 = 0", filters=filters)

    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    found = ids(connection, query)
    every = connection.execute("SELECT id, merchant_id, status, amount FROM orders").fetchall()
    connection.close()
    assert found == {
        row[0] for row in every if row[1] in merchants and row[2] in statuses and row[3] >= least
    }


def test_each_filters_value_is_a_variable_under_the_bare_field_name() -> None:
    filters: list[dict[str, Any]] = [
        {"field": "t.merchant_id", "value": "M-77"},
        {"field": "status", "operator": "IN", "value": ["PAID", "SETTLED"]},
        {"field": "s.t.amount", "value": 5},
        {"field": "skipped", "value": None},
        {"value": "no field"},
    ]

    assert filter_variables(filters) == {"merchant_id": "M-77", "status": "PAID, SETTLED", "amount": 5}
