"""The lexer sees quotes and comments as each server does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.sql_lexer import for_parser, masked, position, tokens

DIALECTS = ["mysql", "postgres", "sqlite", "tsql", "oracle", "duckdb", "bigquery", "snowflake", "clickhouse"]


def found(sql: str, dialect: str) -> list[tuple[str, str]]:
    """Everything but plain code."""
    return [(token.kind, token.text) for token in tokens(sql, dialect) if token.kind != "code"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        pytest.param("a = :x", [("bind", ":x")], id="bind"),
        pytest.param("a = {{ x }}", [("variable", "{{ x }}")], id="variable"),
        pytest.param("'it''s :x {{y}}'", [("string", "'it''s :x {{y}}'")], id="doubled-quote"),
        pytest.param("a /* :x ' */ b", [("comment", "/* :x ' */")], id="block-comment"),
        pytest.param("a -- :x '\n b", [("comment", "-- :x '")], id="line-comment-ends-with-its-line"),
        pytest.param("a::text", [], id="cast"),
        pytest.param("@a := 1", [], id="assignment"),
        pytest.param("x[1:2], y:z", [], id="colon-inside-an-expression"),
        pytest.param("a/b - c", [], id="signs-that-begin-comments"),
        pytest.param("{ d }", [], id="single-brace"),
    ],
)
def test_tokens_that_every_dialect_has(dialect: str, sql: str, expected: list[tuple[str, str]]) -> None:
    if dialect in ("tsql", "sqlite") and "[" in sql:
        expected = [("identifier", "[1:2]")]
    assert found(sql, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        pytest.param("mysql", 'a = ":x"', [("string", '":x"')], id="mysql-double-quotes-are-strings"),
        pytest.param("postgres", 'a = ":x"', [("identifier", '":x"')], id="postgres-double-quotes-are-names"),
        pytest.param("mysql", r"'it\'s :x'", [("string", r"'it\'s :x'")], id="mysql-backslash"),
        pytest.param("sqlite", r"'\' || :x", [("string", r"'\'"), ("bind", ":x")], id="sqlite-no-backslash"),
        pytest.param(
            "postgres", r"'\' || :x", [("string", r"'\'"), ("bind", ":x")], id="postgres-no-backslash"
        ),
        pytest.param("postgres", r"E'it\'s :x'", [("string", r"'it\'s :x'")], id="postgres-e-string"),
        pytest.param("postgres", r"E'\\'':x'", [("string", r"'\\'':x'")], id="postgres-e-string-doubled"),
        pytest.param(
            "postgres", r"LIKE'\' :x", [("string", r"'\'"), ("bind", ":x")], id="e-of-a-word-is-none"
        ),
        pytest.param("mysql", "a # :x\n b", [("comment", "# :x")], id="mysql-hash-comment"),
        pytest.param("postgres", "a #>> '{b}'", [("string", "'{b}'")], id="postgres-hash-operator"),
        pytest.param("mysql", "5--1 :x", [("bind", ":x")], id="mysql-two-dashes-are-no-comment"),
        pytest.param("mysql", "5 --", [("comment", "--")], id="mysql-dashes-at-the-end"),
        pytest.param("postgres", "5--1 :x", [("comment", "--1 :x")], id="postgres-two-dashes-are"),
        pytest.param(
            "postgres", "--a\r:x", [("comment", "--a"), ("bind", ":x")], id="postgres-ends-at-return"
        ),
        pytest.param("sqlite", "--a\r:x", [("comment", "--a\r:x")], id="sqlite-ends-at-line-feed-only"),
        pytest.param("postgres", "/* /* */ :x */", [("comment", "/* /* */ :x */")], id="postgres-nests"),
        pytest.param(
            "sqlite", "/* /* */ :x", [("comment", "/* /* */"), ("bind", ":x")], id="sqlite-does-not"
        ),
        pytest.param("postgres", "$$ :q ' $$", [("dollar", "$$ :q ' $$")], id="dollar-quotes"),
        pytest.param("postgres", "$t$ $$ :q $t$", [("dollar", "$t$ $$ :q $t$")], id="tagged-dollar-quotes"),
        pytest.param("mysql", "a$$ :x $$", [("bind", ":x")], id="mysql-dollar-is-a-letter"),
        pytest.param(
            "sqlite", "[a':b] `c':d`", [("identifier", "[a':b]"), ("identifier", "`c':d`")], id="names"
        ),
        pytest.param("mysql", "`it``s :x`", [("identifier", "`it``s :x`")], id="doubled-backtick"),
    ],
)
def test_tokens_that_are_a_dialects_own(dialect: str, sql: str, expected: list[tuple[str, str]]) -> None:
    assert found(sql, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "sql", "problem"),
    [
        pytest.param("sqlite", "a\n = 'b", "begins at line 2, column 4 has no end", id="string"),
        pytest.param("postgres", r"E'abc\'", "begins at line 1, column 2 has no end", id="e-string"),
        pytest.param("mysql", "a `b", "begins at line 1, column 3 has no end", id="name"),
        pytest.param("sqlite", "a [b", "begins at line 1, column 3 has no end", id="bracket"),
        pytest.param("postgres", "/* /* */", "begins at line 1, column 1 has no end", id="nested-comment"),
        pytest.param(
            "mysql", "a /*!50000 b */", "execute the comment at line 1, column 3", id="mysql-version"
        ),
        pytest.param(
            "mysql", "/*M!100100 b */", "execute the comment at line 1, column 1", id="mariadb-version"
        ),
        pytest.param(
            "sqlite", "a {{b.c}}", "expression at line 1, column 3 is not a variable", id="attribute"
        ),
        pytest.param("sqlite", "{{a | ident}}", "at line 1, column 1 is not a variable", id="jinja-filter"),
        pytest.param("sqlite", "{% if a %}", "at line 1, column 1 is not a variable", id="jinja-statement"),
        pytest.param("sqlite", "{{1}}", "at line 1, column 1 is not a variable", id="number"),
        pytest.param("mysql", "a \x00", "NUL character at line 1, column 3", id="nul"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(dialect: str, sql: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        list(tokens(sql, dialect))


def test_an_executable_comment_is_plain_outside_mysql() -> None:
    assert found("/*! a */", "postgres") == [("comment", "/*! a */")]


@given(
    sql=st.text(st.sampled_from("ab :x'\"`[]-/*#${}\\\n\r.1"), max_size=40),
    dialect=st.sampled_from(DIALECTS),
)
def test_tokens_are_the_text_without_gaps_or_a_refusal(sql: str, dialect: str) -> None:
    try:
        pieces = list(tokens(sql, dialect))
    except ConfigurationError:
        return

    assert "".join(piece.text for piece in pieces) == sql
    assert [piece.start for piece in pieces] == [
        sum(len(p.text) for p in pieces[:i]) for i in range(len(pieces))
    ]
    assert len(for_parser(pieces)) == len(masked(sql, dialect, ("comment", "string"))) == len(sql)


def test_masking_keeps_lines_and_quotes() -> None:
    sql = "a 'b\nc' -- d\n/* e\n */ {{f}}"

    assert masked(sql, "sqlite", ("comment", "string")) == "a ' \n '     \n    \n    {{f}}"


def test_the_parser_gets_no_comments_and_no_binds_named_like_keywords() -> None:
    sql = "SELECT :select /* x */ FROM t -- y"

    assert for_parser(tokens(sql, "mysql")) == "SELECT :bbbbbb         FROM t     "


@pytest.mark.parametrize(
    ("offset", "place"), [(0, "line 1, column 1"), (3, "line 2, column 1"), (5, "line 2, column 3")]
)
def test_positions_count_from_one(offset: int, place: str) -> None:
    assert position("ab\ncde", offset) == place
