"""The places of clauses, in the text of every SELECT."""

from __future__ import annotations

import pytest

from reporthub_dagster.reporting.sql_clauses import clauses_of, marked
from reporthub_dagster.reporting.sql_lexer import tokens


def with_condition(sql: str, dialect: str = "postgres") -> list[str]:
    """The text with a condition at every SELECT in turn."""
    written = []
    for clause in clauses_of(tokens(sql, dialect), dialect):
        if clause.where is None:
            written.append(f"{sql[: clause.end]} WHERE C{sql[clause.end :]}")
        else:
            first, end = clause.where
            written.append(f"{sql[:first]}({sql[first:end]}) AND C{sql[end:]}")
    return written


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        pytest.param("SELECT a FROM t", "SELECT a FROM t WHERE C", id="plain"),
        pytest.param("SELECT a FROM t ;", "SELECT a FROM t WHERE C ;", id="semicolon"),
        pytest.param("SELECT a FROM t -- b\n", "SELECT a FROM t WHERE C -- b\n", id="before-a-comment"),
        pytest.param("SELECT a FROM t WHERE b OR c", "SELECT a FROM t WHERE (b OR c) AND C", id="where"),
        pytest.param(
            "SELECT a FROM t WHERE b -- x\n OR c /* y */ GROUP BY a",
            "SELECT a FROM t WHERE (b -- x\n OR c) AND C /* y */ GROUP BY a",
            id="comments-in-where",
        ),
        pytest.param("SELECT a FROM t GROUP BY a", "SELECT a FROM t WHERE C GROUP BY a", id="group-by"),
        pytest.param("SELECT a FROM t HAVING b", "SELECT a FROM t WHERE C HAVING b", id="having"),
        pytest.param("SELECT a FROM t ORDER BY a", "SELECT a FROM t WHERE C ORDER BY a", id="order-by"),
        pytest.param("SELECT a FROM t LIMIT 5", "SELECT a FROM t WHERE C LIMIT 5", id="limit"),
        pytest.param("SELECT a FROM t OFFSET 5", "SELECT a FROM t WHERE C OFFSET 5", id="offset"),
        pytest.param(
            "SELECT a FROM t FETCH FIRST ROW ONLY", "SELECT a FROM t WHERE C FETCH FIRST ROW ONLY", id="fetch"
        ),
        pytest.param("SELECT a FROM t WINDOW w AS ()", "SELECT a FROM t WHERE C WINDOW w AS ()", id="window"),
        pytest.param(
            "SELECT 'FROM x WHERE y' FROM t", "SELECT 'FROM x WHERE y' FROM t WHERE C", id="words-in-a-string"
        ),
        pytest.param('SELECT "LIMIT" FROM t', 'SELECT "LIMIT" FROM t WHERE C', id="words-in-a-name"),
        pytest.param("SELECT t.limit FROM t", "SELECT t.limit FROM t WHERE C", id="keyword-as-a-member"),
        pytest.param(
            "SELECT a AS having FROM t", "SELECT a AS having FROM t WHERE C", id="keyword-as-an-alias"
        ),
        pytest.param(
            "SELECT COUNT(*) FILTER (WHERE b) FROM t",
            "SELECT COUNT(*) FILTER (WHERE b) FROM t WHERE C",
            id="filter",
        ),
        pytest.param(
            "SELECT PERCENTILE_CONT(1) WITHIN GROUP (ORDER BY a) FROM t",
            "SELECT PERCENTILE_CONT(1) WITHIN GROUP (ORDER BY a) FROM t WHERE C",
            id="within-group",
        ),
        pytest.param(
            "SELECT a FROM t JOIN u ON t.a IS DISTINCT FROM u.a",
            "SELECT a FROM t JOIN u ON t.a IS DISTINCT FROM u.a WHERE C",
            id="join",
        ),
    ],
)
def test_a_condition_goes_where_sql_wants_it(sql: str, expected: str) -> None:
    assert with_condition(sql) == [expected]


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_offset_may_be_a_column_where_it_only_follows_limit(dialect: str) -> None:
    sql = "SELECT offset FROM t WHERE offset > 1 LIMIT 2 OFFSET 3"

    assert with_condition(sql, dialect) == ["SELECT offset FROM t WHERE (offset > 1) AND C LIMIT 2 OFFSET 3"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        pytest.param(
            "SELECT a FROM t UNION ALL SELECT b FROM u WHERE x ORDER BY 1",
            [
                "SELECT a FROM t WHERE C UNION ALL SELECT b FROM u WHERE x ORDER BY 1",
                "SELECT a FROM t UNION ALL SELECT b FROM u WHERE (x) AND C ORDER BY 1",
            ],
            id="union",
        ),
        pytest.param(
            "(SELECT a FROM t) ORDER BY 1",
            ["(SELECT a FROM t WHERE C) ORDER BY 1"],
            id="order-outside-the-parentheses",
        ),
        pytest.param(
            "SELECT a FROM (SELECT b FROM t WHERE c LIMIT 1) x",
            [
                "SELECT a FROM (SELECT b FROM t WHERE c LIMIT 1) x WHERE C",
                "SELECT a FROM (SELECT b FROM t WHERE (c) AND C LIMIT 1) x",
            ],
            id="subquery",
        ),
        pytest.param(
            "WITH x AS (SELECT b FROM t) SELECT a FROM x WHERE EXISTS (SELECT 1 FROM u)",
            [
                "WITH x AS (SELECT b FROM t WHERE C) SELECT a FROM x WHERE EXISTS (SELECT 1 FROM u)",
                "WITH x AS (SELECT b FROM t) SELECT a FROM x WHERE (EXISTS (SELECT 1 FROM u)) AND C",
                "WITH x AS (SELECT b FROM t) SELECT a FROM x WHERE EXISTS (SELECT 1 FROM u WHERE C)",
            ],
            id="with-and-exists",
        ),
    ],
)
def test_every_select_has_its_own_place(sql: str, expected: list[str]) -> None:
    assert with_condition(sql) == expected


def test_marks_follow_their_selects_and_nothing_else() -> None:
    items = list(tokens("SELECT 'SELECT' /* SELECT */ FROM (SELECT :b) t", "postgres"))

    text = marked(items, clauses_of(items, "postgres"))

    assert " ".join(text.split()) == "SELECT /* 0 */ 'SELECT' FROM (SELECT /* 1 */ :b) t"
