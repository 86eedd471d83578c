"""`date_field` restricts every shape of query: judged by the rows that SQLite then returns."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Granularity
from reporthub_dagster_tests.reporting.builders import window
from reporthub_dagster_tests.reporting.orders import applied, ids

YESTERDAY = {2, 3, 4, 6}


@pytest.mark.parametrize(
    ("sql", "field", "expected"),
    [
        pytest.param("SELECT id FROM orders", "created_at", YESTERDAY, id="no-where"),
        pytest.param("SELECT t.id FROM orders t", "t.created_at", YESTERDAY, id="qualified"),
        pytest.param("SELECT t.id FROM orders AS T", "t.CREATED_AT", YESTERDAY, id="case-does-not-matter"),
        pytest.param("SELECT id FROM orders", "orders.created_at", YESTERDAY, id="table-name-as-qualifier"),
        pytest.param(
            "SELECT id FROM main.orders", "main.orders.created_at", YESTERDAY, id="schema-and-table"
        ),
        pytest.param(
            "SELECT id FROM orders WHERE id = 1 OR id = 3", "created_at", {3}, id="or-is-parenthesised"
        ),
        pytest.param(
            "SELECT id FROM orders WHERE id > 1 -- x\n ;", "created_at", YESTERDAY, id="comment-and-semicolon"
        ),
        pytest.param(
            "SELECT id FROM orders ORDER BY id DESC LIMIT 2", "created_at", {6, 4}, id="order-and-limit"
        ),
        pytest.param("SELECT COUNT(*) FROM orders GROUP BY merchant_id", "created_at", {1, 2}, id="group-by"),
        pytest.param(
            "SELECT merchant_id FROM orders GROUP BY 1 HAVING COUNT(*) > 1",
            "created_at",
            {"M-77"},
            id="having",
        ),
        pytest.param("SELECT COUNT(*) FROM orders WHERE id <> :n", "created_at", {3}, id="own-binds-stay"),
        pytest.param("SELECT DISTINCT 7 FROM orders", "created_at", {7}, id="distinct"),
        pytest.param(
            "SELECT r.id FROM orders o JOIN refunds r ON r.order_id = o.id",
            "o.created_at",
            {91, 92},
            id="join-left",
        ),
        pytest.param(
            "SELECT r.id FROM orders o JOIN refunds r ON r.order_id = o.id",
            "r.created_at",
            {91},
            id="join-right",
        ),
        pytest.param(
            "SELECT o.id FROM orders o LEFT JOIN (SELECT order_id FROM refunds) r ON r.order_id = o.id",
            "created_at",
            YESTERDAY,
            id="unqualified-beside-a-table",
        ),
        pytest.param(
            "SELECT id FROM orders UNION ALL SELECT id FROM refunds ORDER BY 1",
            "created_at",
            {*YESTERDAY, 91},
            id="union",
        ),
        pytest.param(
            "SELECT id FROM orders t WHERE id = 1 OR id > 1 UNION SELECT id FROM refunds t WHERE 1 OR id=9",
            "t.created_at",
            {*YESTERDAY, 91},
            id="union-with-wheres",
        ),
        pytest.param(
            "SELECT id FROM orders EXCEPT SELECT order_id FROM refunds", "created_at", {3, 4, 6}, id="except"
        ),
        pytest.param(
            "SELECT x.id FROM (SELECT id, amount FROM orders t WHERE id = 1 OR id > 1) x",
            "t.created_at",
            YESTERDAY,
            id="subquery-by-its-alias",
        ),
        pytest.param(
            "SELECT id FROM (SELECT id, created_at FROM orders) x", "created_at", YESTERDAY, id="projected"
        ),
        pytest.param(
            "SELECT id FROM (SELECT * FROM orders LIMIT 2) x", "created_at", {2}, id="star-has-everything"
        ),
        pytest.param(
            "SELECT n FROM (SELECT COUNT(*) AS n FROM orders) x",
            "created_at",
            {4},
            id="descends-where-it-is-lacking",
        ),
        pytest.param(
            "SELECT n FROM (SELECT * FROM (SELECT COUNT(*) AS n FROM orders) y) x",
            "created_at",
            {4},
            id="descends-twice-through-a-star",
        ),
        pytest.param(
            "SELECT t.n FROM (SELECT COUNT(*) AS n FROM orders t) t",
            "t.created_at",
            {4},
            id="alias-used-at-both-levels",
        ),
        pytest.param(
            "WITH c AS (SELECT id FROM orders t) SELECT id FROM c",
            "t.created_at",
            YESTERDAY,
            id="with-by-its-alias",
        ),
        pytest.param(
            "WITH c AS (SELECT id FROM orders) SELECT id FROM c", "created_at", YESTERDAY, id="with-descends"
        ),
        pytest.param(
            "WITH c AS (SELECT id, created_at FROM orders) SELECT id FROM c k",
            "k.created_at",
            YESTERDAY,
            id="with-alias",
        ),
        pytest.param(
            "WITH a AS (SELECT id FROM orders), b AS (SELECT id FROM a) SELECT id FROM b",
            "created_at",
            YESTERDAY,
            id="with-of-with",
        ),
        pytest.param(
            "WITH c (i, made) AS (SELECT id, created_at FROM orders) SELECT i FROM c",
            "made",
            YESTERDAY,
            id="with-columns",
        ),
        pytest.param(
            "WITH orders AS (SELECT id FROM main.orders) SELECT id FROM orders",
            "created_at",
            YESTERDAY,
            id="with-of-the-tables-own-name",
        ),
        pytest.param(
            "WITH c AS (SELECT id FROM orders t UNION ALL SELECT id FROM refunds t) SELECT id FROM c",
            "t.created_at",
            {*YESTERDAY, 91},
            id="union-inside-with",
        ),
        pytest.param(
            "WITH c AS (SELECT id FROM orders) SELECT id FROM c WHERE id < 4 UNION SELECT id FROM c",
            "created_at",
            YESTERDAY,
            id="with-used-twice-gets-one-condition",
        ),
        pytest.param(
            "SELECT id FROM orders WHERE id IN (SELECT order_id FROM refunds r)",
            "r.created_at",
            {2},
            id="subquery-in-where",
        ),
        pytest.param(
            "SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM refunds r WHERE r.order_id = o.id OR 1 = 0)",
            "r.created_at",
            {2},
            id="exists",
        ),
        pytest.param(
            "SELECT o.id FROM (orders o JOIN refunds r ON r.order_id = o.id)",
            "o.created_at",
            {2, 3},
            id="joined",
        ),
        pytest.param(
            "SELECT id FROM (VALUES (1)) v, orders t", "t.created_at", YESTERDAY, id="beside-values"
        ),
    ],
)
def test_a_date_field_restricts_every_shape_of_query(
    database: sqlite3.Connection, sql: str, field: str, expected: set[Any]
) -> None:
    query = applied(sql, date_field=field, values={"n": 4})

    assert ids(database, query) == expected


@pytest.mark.parametrize(
    ("sql", "field", "problem"),
    [
        pytest.param(
            "SELECT id FROM orders t", "q.created_at", "no part.*the outermost SELECT reads t", id="alias"
        ),
        pytest.param("SELECT 1", "created_at", "the outermost SELECT reads no table", id="no-table"),
        pytest.param("VALUES (1)", "created_at", "has no SELECT", id="values"),
        pytest.param(
            "SELECT x FROM (SELECT 1 AS x) y", "created_at", "no part of the query", id="nothing-below"
        ),
        pytest.param(
            "SELECT id FROM orders t UNION SELECT id FROM refunds r",
            "t.created_at",
            "no part",
            id="half-of-a-union",
        ),
        pytest.param(
            "SELECT id FROM (SELECT id FROM orders t UNION SELECT id FROM refunds r) x",
            "t.created_at",
            "only some branches of a UNION",
            id="half-of-a-union-inside",
        ),
        pytest.param(
            "SELECT 1 FROM (SELECT id FROM orders) x JOIN (SELECT id FROM refunds) y ON x.id = y.id",
            "created_at",
            "may be in more than one subquery.*alias",
            id="either-of-two-subqueries",
        ),
        pytest.param(
            "WITH RECURSIVE r AS (SELECT 1 AS n) SELECT n FROM r", "x", "no part", id="recursion-ends"
        ),
        pytest.param("SELECT id FROM orders", "created_at; DROP", "not a column's name", id="no-name"),
        pytest.param("SELECT id FROM orders", "DATE(created_at)", "not a column's name", id="expression"),
    ],
)
def test_a_date_field_that_is_not_in_the_query_is_refused(sql: str, field: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        applied(sql, date_field=field)

    assert (caught.value.column, caught.value.value) == ("parameters.date_field", field)


@pytest.mark.parametrize(
    ("granularity", "bounds"),
    [
        pytest.param("daily", ("2025-01-30", "2025-01-31"), id="daily-is-yesterday"),
        pytest.param("hourly", ("2025-01-24 08:00:00", "2025-01-31 09:00:00"), id="hourly-is-the-window"),
        pytest.param("weekly", ("2025-01-24", "2025-01-31"), id="weekly-is-whole-days"),
        pytest.param("monthly", ("2025-01-24", "2025-01-31"), id="monthly-is-whole-days"),
    ],
)
def test_what_a_date_field_covers_depends_on_the_granularity(
    granularity: Granularity, bounds: tuple[str, str]
) -> None:
    week = window("2025-01-24 08:00", "2025-01-31 09:00", granularity=granularity)

    query = applied("SELECT id FROM orders", date_field="created_at", of=week)

    assert query.text("named").endswith("WHERE `created_at` >= :date_from AND `created_at` < :date_until")
    assert query.sequence() == bounds


@pytest.mark.parametrize("granularity", ["hourly", "daily", "weekly", "monthly"])
def test_an_explicit_window_is_exact_in_its_zone(granularity: Granularity) -> None:
    explicit = window("2025-01-01", "2025-01-08", "Asia/Jakarta", "explicit", granularity)

    query = applied("SELECT id FROM orders", date_field="created_at", of=explicit)

    assert query.sequence() == ("2025-01-01 07:00:00", "2025-01-08 07:00:00")


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        pytest.param(
            "mysql", 'SELECT /*+ NO_MERGE(t) */ a AS `A b`, 5 DIV 2, "x" FROM t USE INDEX (i)§', id="mysql"
        ),
        pytest.param(
            "mysql", "SELECT a FROM t, (SELECT NULL FROM DUAL WHERE 1 = 0) d§ LIMIT 1, 2", id="mysql-dual"
        ),
        pytest.param("postgres", "SELECT a::date, b->>'x', \"F\"(1), now() FROM t§ -- note", id="postgres"),
        pytest.param(
            "postgres", "WITH t AS (SELECT 1 FROM t§) SELECT * FROM (SELECT 2) x, t", id="with-of-own-name"
        ),
        pytest.param("sqlite", "SELECT strftime('%Y', [a b]), ifnull(x, 'y') FROM t§", id="sqlite"),
    ],
)
def test_the_querys_own_text_stays_as_it_is(dialect: str, sql: str) -> None:
    before, after = sql.split("§")

    text = applied(before + after, date_field="t.made", dialect=dialect).text("null")

    name = {"postgres": '"t"."made"'}.get(dialect, "`t`.`made`")
    assert text == f"{before} WHERE {name} >= NULL AND {name} < NULL{after}"


def test_a_query_that_is_read_twice_gets_its_condition_once() -> None:
    query = applied(
        "WITH c AS (SELECT 1 AS x FROM t) SELECT x FROM c UNION SELECT x FROM c", date_field="made"
    )

    assert query.text("named").count("date_from") == 1


def test_queries_that_define_each_other_do_not_hold_us_up() -> None:
    with pytest.raises(ConfigurationError, match="no part of the query"):
        applied(
            "WITH RECURSIVE a AS (SELECT x FROM b), b AS (SELECT x FROM a) SELECT x FROM a",
            date_field="q.made",
        )
