from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.plan import make_plan, prepare_query
from reporthub_dagster.reporting.records import Compression, ReportPlan
from reporthub_dagster.reporting.report_parameters import MOST_QUERIES, ReportParameters
from reporthub_dagster_tests.reporting.builders import config, window


def read(**parameters: Any) -> ReportParameters:
    return ReportParameters(config("SELECT 1 AS main", parameters))


def plan(**parameters: Any) -> ReportPlan:
    return make_plan(
        execution_id="6f1c",
        config=config("SELECT t.id FROM t", parameters),
        schedule_id=None,
        window=window(),
        overrides={},
        deliver="all",
        executed_by="tests",
    )


def test_without_formats_there_is_the_one_of_the_column() -> None:
    row = replace(config(), output_format="xlsx")
    assert ReportParameters(row).formats() == ("xlsx",)
    assert ReportParameters(replace(row, parameters={"formats": None})).formats() == ("xlsx",)


def test_formats_stand_for_the_column_in_their_own_order() -> None:
    assert read(formats=["PDF ", "xlsx"]).formats() == ("pdf", "xlsx")


@pytest.mark.parametrize(
    ("formats", "column"),
    [
        ([], "parameters.formats"),
        ("xlsx", "parameters.formats"),
        (["xlsx", 1], "parameters.formats[1]"),
        (["xlsx", "pdf", "XLSX"], "parameters.formats[2]"),
    ],
)
def test_malformed_formats_are_named(formats: Any, column: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(formats=formats).formats()
    assert (caught.value.table, caught.value.row, caught.value.column) == ("report_configs", 42, column)


@pytest.mark.parametrize("queries", [None, {}, []])
def test_without_queries_there_is_the_one_of_the_column(queries: Any) -> None:
    (query,) = read(queries=queries).queries()
    assert (query.name, query.sql, query.place) == ("", "SELECT 1 AS main", "report_query")


def test_queries_say_which_there_are_and_null_is_the_one_of_the_column() -> None:
    one, main, other = read(
        queries={"One": "SELECT 2", "Main": None, "Other": {"sql": "SELECT 3", "date_field": "c.at"}},
        date_field="t.at",
        display_columns=["a"],
    ).queries()
    assert [(query.name, query.sql) for query in (one, main, other)] == [
        ("One", "SELECT 2"),
        ("Main", "SELECT 1 AS main"),
        ("Other", "SELECT 3"),
    ]
    assert [query.place for query in (one, main)] == ["parameters.queries.One", "report_query"]
    assert [query.date_field for query in (one, main, other)] == ["t.at", "t.at", "c.at"]
    assert other.display_columns == ("a",)


def test_a_list_keeps_the_order_that_a_database_may_not() -> None:
    queries = read(queries=[{"name": "Zebra", "sql": "SELECT 1"}, {"name": "Ant"}]).queries()
    assert [(query.name, query.sql) for query in queries] == [
        ("Zebra", "SELECT 1"),
        ("Ant", "SELECT 1 AS main"),
    ]


def test_a_query_may_have_no_conditions_where_the_report_has_some() -> None:
    (query,) = read(
        queries={"All": {"date_field": None, "filters": []}},
        date_field="t.at",
        filters=[{"field": "t.a", "value": 1}],
    ).queries()
    assert (query.date_field, query.filters) == (None, ())


@pytest.mark.parametrize(
    ("queries", "column", "problem"),
    [
        ("SELECT 1", "queries", "not an object"),
        ({"A": 5}, "queries.A", "not a query"),
        ({"A": " "}, "queries.A", "not a query"),
        ({"A": {"query": "SELECT 1"}}, "queries.A.query", "no such option"),
        ({"A": {"filters": "x"}}, "queries.A.filters", "not a list"),
        ({"A": {"display_columns": ["x", 1]}}, "queries.A.display_columns[1]", "not a text"),
        (["SELECT 1"], "queries[0]", "not an object"),
        ([{"sql": "SELECT 1"}], "queries[0]", "no name"),
        ([{"name": "A"}, {"name": " a "}], "queries[1]", "named twice"),
        ({"Caf\u00e9": None, "CAFE\u0301": None}, "queries.CAFE\u0301", "named twice"),
        ({str(number): None for number in range(MOST_QUERIES + 1)}, "queries", "too many"),
    ],
)
def test_malformed_queries_are_named(queries: Any, column: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read(queries=queries).queries()
    assert caught.value.column == f"parameters.{column}"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "x" * 32, "😀" * 16, "a/b", "a\\b", "a?b", "a*b", "a:b", "a[b", "a]b"),
        *("'a", "a'", "History", "a\tb", "a\x00b"),
    ],
)
def test_what_excel_takes_for_no_sheets_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        read(queries={name: None}).queries()


@pytest.mark.parametrize("name", ["x" * 31, "😀" * 15, "it's", "Umsätze (2025)", "a.b", "{{x}}"])
def test_what_excel_takes_is_taken(name: str) -> None:
    assert read(queries={name: None}).queries()[0].name == name


@pytest.mark.parametrize(
    ("parameters", "column", "problem"),
    [
        pytest.param(
            {"queries": {"A": "SELECT 1 FROM q"}, "date_field": "t.at"},
            "parameters.date_field",
            "in the query 'A': no part.*give that query one of its own",
            id="a condition of the report that a query has no column for",
        ),
        pytest.param(
            {"queries": {"A": {"filters": [{"field": "q.a", "value": 1, "operator": "="}]}}},
            "parameters.queries.A.filters[0].field",
            "^report_configs 42, column .*: no part",
            id="a condition of its own",
        ),
        pytest.param(
            {"queries": {"A": "DELETE FROM t"}},
            "parameters.queries.A",
            "DELETE is not a query",
            id="a statement",
        ),
        pytest.param(
            {"queries": {"A": "SELECT {{nope}}"}}, "parameters.queries.A", "no value", id="a variable"
        ),
    ],
)
def test_what_is_wrong_with_one_of_several_queries_says_with_which(
    parameters: dict[str, Any], column: str, problem: str
) -> None:
    made = plan(**parameters)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        prepare_query(made, made.queries[0], "sqlite")
    assert (caught.value.row, caught.value.column) == (42, column)


@pytest.mark.parametrize(
    ("compress", "expected"),
    [
        (None, None),
        ("gzip", Compression("gzip")),
        ("zip", Compression("zip")),
        ({"method": "zip"}, Compression("zip")),
        ({"method": "zip", "password": {"env": "SALES_ZIP"}}, Compression("zip", "SALES_ZIP")),
    ],
)
def test_compression_is_read(compress: Any, expected: Compression | None) -> None:
    assert read(compress=compress).compression() == expected


@pytest.mark.parametrize(
    ("compress", "column"),
    [
        ("rar", "compress"),
        (5, "compress"),
        ({}, "compress"),
        ({"method": "zip", "level": 9}, "compress.level"),
        ({"method": "gzip", "password": {"env": "A"}}, "compress.password"),
        ({"method": "zip", "password": "canary-7731"}, "compress.password"),
        ({"method": "zip", "password": {"env": "canary-7731"}}, "compress.password"),
        ({"method": "zip", "password": {"env": "A", "value": "canary-7731"}}, "compress.password"),
        ({"method": {"password": "canary-7731"}}, "compress"),
    ],
)
def test_malformed_compression_is_named_and_no_password_is_shown(compress: Any, column: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(compress=compress).compression()
    assert caught.value.column == f"parameters.{column}"
    assert "canary" not in str(caught.value)
