"""Every placeholder form is bound, none is pasted, and what cannot be a value is refused with its place."""

from __future__ import annotations

import sqlite3
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.sql_template import BindNames, bind_template, placeholders

DIALECTS = ["mysql", "postgres", "sqlite"]
DAY = date(2025, 1, 31)
HOSTILE = [
    "x'; DROP TABLE t; --",
    "' OR '1'='1",
    "\\' OR 1=1 -- ",
    "1) OR (1=1",
    "{{x}}",
    ":x",
    "'||(SELECT 1)||'",
    "a\x00b",
    "\u2019 OR 1=1",
    "x*/ OR 1=1 /*",
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("template", "values", "sql", "binds"),
    [
        pytest.param("d >= {{d}}", {"d": DAY}, "d >= :d", {"d": DAY}, id="bare-keeps-its-type"),
        pytest.param("d >= :d", {"d": DAY}, "d >= :d", {"d": DAY}, id="named-keeps-its-type"),
        pytest.param(
            "d >= '{{ d }}'", {"d": DAY}, "d >= :d_text", {"d_text": "2025-01-31"}, id="quoted-is-text"
        ),
        pytest.param("a = '{{x}}'", {"x": "b"}, "a = :x", {"x": "b"}, id="quoted-text"),
        pytest.param("a = '{{x}}'", {"x": True}, "a = :x_text", {"x_text": "true"}, id="quoted-boolean"),
        pytest.param(
            "d = '{{d}} 00:00:00'",
            {"d": DAY},
            "d = :d_text",
            {"d_text": "2025-01-31 00:00:00"},
            id="composed",
        ),
        pytest.param("a LIKE '%{{q}}%'", {"q": "a'b"}, "a LIKE :q_text", {"q_text": "%a'b%"}, id="like"),
        pytest.param(
            "'{{a}}-{{b}}'", {"a": 1, "b": "x"}, ":a_b_text", {"a_b_text": "1-x"}, id="two-in-one-string"
        ),
        pytest.param("'it''s {{x}}'", {"x": "a''b"}, ":x_text", {"x_text": "it's a''b"}, id="doubled-quotes"),
        pytest.param("a = {{x}} OR b = :x", {"x": 5}, "a = :x OR b = :x", {"x": 5}, id="one-value-one-bind"),
        pytest.param(
            "a = '{{x}}' OR b = {{x}}",
            {"x": 5},
            "a = :x_text OR b = :x",
            {"x_text": "5", "x": 5},
            id="both-types",
        ),
        pytest.param(
            "a = ':x' -- {{y}} :y\n", {}, "a = ':x' -- {{y}} :y\n", {}, id="inert-in-string-and-comment"
        ),
        pytest.param("/* {{ :no '{{x}}' */ 1", {}, "/* {{ :no '{{x}}' */ 1", {}, id="inert-in-block-comment"),
        pytest.param("a::text = :x::text", {"x": 1}, "a::text = :x::text", {"x": 1}, id="casts"),
        pytest.param("a = {{x}}", {"x": None}, "a = :x", {"x": None}, id="null"),
        pytest.param("a = {{x}}", {"x": Decimal("1.10")}, "a = :x", {"x": Decimal("1.10")}, id="decimal"),
        pytest.param("LIMIT {{a}}, {{b}}", {"a": 1, "b": 2}, "LIMIT :a, :b", {"a": 1, "b": 2}, id="limit"),
        pytest.param(
            "ORDER BY a LIMIT :a, {{b}}",
            {"a": 1, "b": 2},
            "ORDER BY a LIMIT :a, :b",
            {"a": 1, "b": 2},
            id="order-limit",
        ),
        pytest.param("a = {{größe}}", {"größe": 1}, "a = :gr__e", {"gr__e": 1}, id="letters-of-any-script"),
        pytest.param(
            "'{\"a\": {{{}}}' = :x", {"x": 1}, "'{\"a\": {{{}}}' = :x", {"x": 1}, id="braces-of-json"
        ),
    ],
)
def test_a_placeholder_becomes_a_bind(
    dialect: str, template: str, values: dict[str, Any], sql: str, binds: dict[str, Any]
) -> None:
    query = bind_template(template, values, dialect)

    assert (query.text("named"), query.values) == (sql, binds)


@pytest.mark.parametrize(
    ("dialect", "template", "sql", "value"),
    [
        pytest.param("postgres", "DATE '{{x}}'", "CAST(:x AS DATE)", "1", id="postgres-date"),
        pytest.param("postgres", "timestamp  '{{x}}'", "CAST(:x AS TIMESTAMP)", "1", id="postgres-timestamp"),
        pytest.param(
            "postgres",
            "timestamp with time zone '{{x}}'",
            "CAST(:x AS TIMESTAMP WITH TIME ZONE)",
            "1",
            id="zone",
        ),
        pytest.param(
            "postgres", "INTERVAL '{{x}} days'", "CAST(:x_text AS INTERVAL)", "1 days", id="interval"
        ),
        pytest.param(
            "postgres",
            "INTERVAL '{{x}}' DAY - 1",
            "CAST(:x_text AS INTERVAL) - 1",
            "1 DAY",
            id="interval-unit",
        ),
        pytest.param(
            "postgres",
            "INTERVAL '{{x}} 2:3' DAY TO MINUTE",
            "CAST(:x_text AS INTERVAL)",
            "1 2:3",
            id="interval-span",
        ),
        pytest.param(
            "mysql", "INTERVAL '{{x}}' DAY", "INTERVAL :x DAY", "1", id="mysql-interval-takes-a-bind"
        ),
        pytest.param("mysql", "TIMESTAMP '{{x}}'", "CAST(:x AS DATETIME(6))", "1", id="mysql-timestamp"),
        pytest.param("mysql", "DATE /* c */ '{{x}}'", "CAST(:x AS DATE)", "1", id="comment-between"),
        pytest.param(
            "mysql", "a -- date\n '{{x}}'", "a -- date\n :x", "1", id="the-word-in-a-comment-is-none"
        ),
        pytest.param("postgres", "x = E'{{x}}'", "x = :x", "1", id="postgres-e-string"),
        pytest.param("mysql", "x = N'{{x}}'", "x = :x", "1", id="national-string"),
        pytest.param("mysql", 'x = "{{x}}"', "x = :x", "1", id="mysql-double-quotes"),
        pytest.param("mysql", r"'\'\%\\{{x}}\n'", ":x_text", "'\\%\\1\n", id="mysql-escapes"),
        pytest.param("sqlite", r"LIKE'\{{x}}'", "LIKE:x_text", "\\1", id="no-escapes-in-sqlite"),
        pytest.param("mysql", "@a := {{x}}", "@a := :x", "1", id="mysql-variable"),
    ],
)
def test_a_dialects_own_literals_are_bound(dialect: str, template: str, sql: str, value: str) -> None:
    query = bind_template(template, {"x": "1"}, dialect)

    assert (query.text("named"), query.sequence()) == (sql, (value,))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("template", "sql", "binds"),
    [
        pytest.param("a IN ({{i}})", "a IN (:i_0, :i_1)", (1, 2), id="with-parentheses"),
        pytest.param("a IN {{i}}", "a IN (:i_0, :i_1)", (1, 2), id="without"),
        pytest.param("a in :i", "a in (:i_0, :i_1)", (1, 2), id="named"),
        pytest.param("a IN ('{{i}}')", "a IN (:i_0, :i_1)", ("1", "2"), id="quoted-elements-are-text"),
        pytest.param("a NOT IN (0, {{i}})", "a NOT IN (0, :i_0, :i_1)", (1, 2), id="beside-other-values"),
        pytest.param("COALESCE({{i}})", "COALESCE(:i_0, :i_1)", (1, 2), id="arguments"),
    ],
)
def test_a_list_is_one_bind_per_element(
    dialect: str, template: str, sql: str, binds: tuple[Any, ...]
) -> None:
    query = bind_template(template, {"i": [1, 2]}, dialect)

    assert (query.text("named"), query.sequence()) == (sql, binds)


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        pytest.param("v IN ({{i}})", 0, id="in"),
        pytest.param("v IN {{i}}", 0, id="in-without-parentheses"),
        pytest.param("v IN ('{{i}}')", 0, id="in-quoted"),
        pytest.param("v NOT IN ({{i}})", 3, id="not-in-matches-null-too"),
        pytest.param("v not in :i", 3, id="not-in-named"),
        pytest.param("NOT (v IN ({{i}}))", 3, id="negated-in"),
        pytest.param("v IN ({{i}}) OR v = 1", 1, id="in-or"),
    ],
)
def test_an_empty_list_matches_nothing_and_its_negation_everything(condition: str, matches: int) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE t (v); INSERT INTO t VALUES (1), ('a'), (NULL)")

    query = bind_template(f"SELECT COUNT(*) FROM t WHERE {condition}", {"i": []}, "sqlite")

    assert database.execute(query.text("qmark"), query.sequence()).fetchone() == (matches,)
    database.close()


@pytest.mark.parametrize(
    ("dialect", "template", "sql"),
    [
        ("postgres", "a NOT IN ( {{i}} )", "a <> ALL ('{}')"),
        ("postgres", "a IN :i", "a = ANY ('{}')"),
        ("mysql", "a NOT IN ({{i}})", "a NOT IN (SELECT NULL FROM DUAL WHERE 1 = 0)"),
        ("oracle", "a IN {{i}}", "a IN (SELECT NULL FROM DUAL WHERE 1 = 0)"),
    ],
)
def test_an_empty_list_is_written_as_its_database_takes_it(dialect: str, template: str, sql: str) -> None:
    assert bind_template(template, {"i": []}, dialect).text("named") == sql


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        pytest.param(
            "a\n = {{missing}}", r"\{\{missing\}\} has no value at line 2, column 4; known are", id="missing"
        ),
        pytest.param("a = :missing", ":missing has no value at line 1, column 5", id="missing-named"),
        pytest.param(
            "'a {{missing}}'", r"\{\{missing\}\} has no value at line 1, column 4", id="missing-quoted"
        ),
        pytest.param("FROM t_{{x}}", "part of a name at line 1, column 8", id="glued-before"),
        pytest.param("FROM {{x}}_t", "part of a name at line 1, column 6", id="glued-after"),
        pytest.param("{{x}}.a", "part of a name", id="schema"),
        pytest.param("{{x}}(1)", "part of a name", id="function"),
        pytest.param("a AS {{x}}", "where a name belongs at line 1, column 6", id="alias"),
        pytest.param("a AS '{{x}}'", "where a name belongs", id="quoted-alias"),
        pytest.param("ORDER BY {{x}}", "would be a constant at line 1, column 10", id="order-by"),
        pytest.param("group by a, :x", "would be a constant", id="group-by"),
        pytest.param("`{{x}}`", "inside a quoted name", id="quoted-name"),
        pytest.param("X'{{x}}'", "in a X'…' string at line 1, column 2", id="hex-string"),
        pytest.param(
            "'{{x.y}}'", "expression in the string is not a variable at line 1, column 1", id="attribute"
        ),
        pytest.param("'{{n}}'", "is NULL inside a string", id="null-in-string"),
        pytest.param("'a{{i}}'", "is a list inside a string", id="list-in-string"),
        pytest.param("a = {{i}}", r"\{\{i\}\} is a list at line 1, column 5", id="list-outside-in"),
        pytest.param(
            "a IN (0, {{e}})", "is an empty list at line 1, column 10", id="empty-list-beside-others"
        ),
        pytest.param("a IN ({{holed}})", "is not a value", id="list-with-null"),
        pytest.param("a = {{o}}", "is not a value", id="object"),
        pytest.param("a IN ({{nested}})", "is not a value", id="list-of-lists"),
    ],
)
def test_what_cannot_be_a_value_is_refused_with_its_place(template: str, problem: str) -> None:
    values = {"x": "v", "n": None, "i": [1, 2], "e": [], "holed": [1, None], "o": {"a": 1}, "nested": [[1]]}

    with pytest.raises(ConfigurationError, match=problem):
        bind_template(template, values, "mysql")


def test_a_variable_in_a_postgres_string_with_escapes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="backslash escapes and variables at line 1, column 2"):
        bind_template(r"E'\t{{x}}'", {"x": 1}, "postgres")


@pytest.mark.parametrize(
    "form", ["v = '{{x}}'", "v = {{x}}", "v = :x", "v LIKE '{{x}}%'", "v IN ({{x}})", "v IN :x"]
)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_a_value(form: str, value: str) -> None:
    assert rows_that_match(form, value) == 0
    assert rows_that_match(form, "safe") == 1


@given(
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    form=st.sampled_from(["'{{x}}'", ":x"]),
)
def test_any_text_arrives_as_it_is(value: str, form: str) -> None:
    query = bind_template(f"SELECT {form} || ''", {"x": value}, "sqlite")

    with sqlite3.connect(":memory:") as database:
        found = database.execute(query.text("qmark"), query.sequence()).fetchone()[0]
    database.close()
    assert (found, query.text("qmark")) == (value, "SELECT ? || ''")


def test_the_names_of_a_template_are_listed_once_in_order() -> None:
    sql = "SELECT :b, '{{a}} {{b}}', {{ c }} -- {{no}}\n /* :no */ WHERE d = ':no'"

    assert placeholders(sql, "sqlite") == ("b", "a", "c")


def test_binds_of_one_name_hold_one_value() -> None:
    names = BindNames({"x": 1})

    assert [names.bind("x", value).name for value in (1, "1", 1.0, True, "1")] == [
        "x",
        "x_2",
        "x_3",
        "x_4",
        "x_2",
    ]


def rows_that_match(condition: str, value: str) -> int:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE t (v); INSERT INTO t VALUES ('safe')")
    query = bind_template(
        f"SELECT COUNT(*) FROM t WHERE {condition}", {"x": [value] if "IN" in condition else value}, "sqlite"
    )
    count = database.execute(query.text("named"), query.values).fetchone()[0]
    left = database.execute("SELECT COUNT(*) FROM t").fetchone()[0]
    database.close()
    assert left == 1
    return int(count)
