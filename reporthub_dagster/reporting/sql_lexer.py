"""Cuts SQL into the tokens that a template must tell apart: it knows quotes and comments, no grammar."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.template_values import VARIABLE

TokenKind = Literal["code", "comment", "string", "identifier", "dollar", "variable", "bind"]

NESTED_COMMENTS = frozenset({"postgres", "duckdb", "tsql"})
DOLLAR_QUOTES = frozenset({"postgres", "duckdb", "snowflake"})
BACKTICKS = frozenset({"mysql", "sqlite", "bigquery", "clickhouse"})
BRACKETS = frozenset({"tsql", "sqlite"})
DOUBLE_QUOTED_STRINGS = frozenset({"mysql", "bigquery"})
BACKSLASH_STRINGS = frozenset({"mysql", "bigquery", "clickhouse", "snowflake"})

_E_PREFIX = re.compile(r"(?<![\w$])[eE]$")
_LINE_COMMENT = {
    # MySQL: two dashes are a comment only before white space; `5--1` is six.
    "mysql": r"--(?![^\s\x00-\x1f])[^\n]*|\#[^\n]*",
    "postgres": r"--[^\r\n]*",
}
_ANY_LINE_COMMENT = r"--[^\n]*"
_NEVER = r"(?!)"
_KINDS: dict[str | None, TokenKind] = {
    "line": "comment",
    "string": "string",
    "identifier": "identifier",
    "dollar": "dollar",
    "variable": "variable",
    "bind": "bind",
    "code": "code",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL; `name` is that of a `{{variable}}` or a `:bind`."""

    kind: TokenKind
    text: str
    start: int
    name: str = ""

    @property
    def end(self) -> int:
        """Offset after the last character."""
        return self.start + len(self.text)


def tokens(sql: str, dialect: str) -> Iterator[Token]:
    """The tokens of `sql`, without gaps.

    A `{{variable}}` is a token of its own in code only: inside a string it belongs to the string.

    Args:
        sql: The text.
        dialect: sqlglot's name of it.

    Raises:
        ConfigurationError: A quote or comment without an end, a comment that MySQL would execute, a template
            expression other than `{{name}}`; says where.
    """
    start = 0
    while start < len(sql):
        token = _token_at(sql, start, dialect)
        yield token
        start = token.end


def masked(sql: str, dialect: str, kinds: Collection[TokenKind]) -> str:
    """`sql` with every token of `kinds` blanked: the same length, line ends and quotes kept."""
    return "".join(_blank(token) if token.kind in kinds else token.text for token in tokens(sql, dialect))


def for_parser(items: Iterable[Token]) -> str:
    """Tokens as sqlglot can read them: comments blanked, binds under a name that is no keyword.

    The text keeps its length. sqlglot never sees a comment, so it passes over what a server passes over.
    """
    return "".join(_parsable(token) for token in items)


def position(sql: str, offset: int) -> str:
    """Where `offset` is, for people: `line 3, column 8`."""
    line_start = sql.rfind("\n", 0, offset) + 1
    return f"line {sql.count(chr(10), 0, offset) + 1}, column {offset - line_start + 1}"


def _token_at(sql: str, start: int, dialect: str) -> Token:
    if sql[start] == "'" and dialect == "postgres" and _E_PREFIX.search(sql, max(0, start - 2), start):
        escaped = _quoted("'", backslash=True).match(sql, start)
        if escaped:
            return Token("string", escaped[0], start)
        raise _unreadable(sql, start)
    match = _pattern(dialect).match(sql, start)
    if match is None:
        raise _unreadable(sql, start)
    if match.lastgroup == "block":
        return Token("comment", _block_comment(sql, start, dialect), start)
    return Token(_KINDS[match.lastgroup], match[0], start, match["name"] or match["bound"] or "")


@cache
def _pattern(dialect: str) -> re.Pattern[str]:
    strings = ["'", '"'] if dialect in DOUBLE_QUOTED_STRINGS else ["'"]
    identifiers = [quote for quote in _identifier_quotes(dialect) if quote not in strings]
    brackets = r"\[[^\]]*\]" if dialect in BRACKETS else _NEVER
    openers = "".join(strings + identifiers) + (r"\[" if dialect in BRACKETS else "")
    dollar = r"(?<![\w$])(?P<fence>\$(?:[^\W\d]\w*)?\$).*?(?P=fence)" if dialect in DOLLAR_QUOTES else _NEVER
    return re.compile(
        rf"(?P<line>{_LINE_COMMENT.get(dialect, _ANY_LINE_COMMENT)})"
        r"|(?P<block>/\*)"
        rf"|(?P<string>{_any_quoted(strings, backslash=dialect in BACKSLASH_STRINGS)})"
        rf"|(?P<identifier>{_any_quoted(identifiers, backslash=False)}|{brackets})"
        rf"|(?P<dollar>{dollar})"
        rf"|(?P<variable>{VARIABLE.pattern})"
        r"|(?P<bind>(?<![\w:\]]):(?P<bound>[^\W\d]\w*))"
        # What no other kind begins with: a run of plain characters, or one that turned out to be plain.
        rf"|(?P<code>::|\{{(?![{{%#])|[^'\"`\[$\-/#:{{\x00]+|[^{openers}{{\x00])",
        re.DOTALL,
    )


def _identifier_quotes(dialect: str) -> tuple[str, ...]:
    return ('"', "`") if dialect in BACKTICKS else ('"',)


def _any_quoted(quotes: Iterable[str], *, backslash: bool) -> str:
    return "|".join(_quoted(quote, backslash=backslash).pattern for quote in quotes) or _NEVER


@cache
def _quoted(quote: str, *, backslash: bool) -> re.Pattern[str]:
    body = rf"(?:[^{quote}\\]|\\.|{quote}{quote})*+" if backslash else rf"(?:[^{quote}]|{quote}{quote})*+"
    return re.compile(rf"{quote}{body}{quote}", re.DOTALL)


def _block_comment(sql: str, start: int, dialect: str) -> str:
    if dialect == "mysql" and sql.startswith(("/*!", "/*M!"), start):
        raise ConfigurationError(
            f"MySQL would execute the comment at {position(sql, start)}", valid="write a plain comment"
        )
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[start:]):
        if mark[0] == "*/":
            depth -= 1
        elif depth == 0 or dialect in NESTED_COMMENTS:
            depth += 1
        if depth == 0:
            return sql[start : start + mark.end()]
    raise _unreadable(sql, start)


def _blank(token: Token) -> str:
    blank = re.sub(r"[^\n]", " ", token.text)
    return token.text[0] + blank[1:-1] + token.text[-1] if token.kind == "string" else blank


def _parsable(token: Token) -> str:
    if token.kind == "comment":
        return _blank(token)
    return ":" + "b" * len(token.name) if token.kind == "bind" else token.text


def _unreadable(sql: str, start: int) -> ConfigurationError:
    place = position(sql, start)
    if sql.startswith("{", start):
        return ConfigurationError(
            f"the template expression at {place} is not a variable",
            value=sql[start : start + 40].partition("\n")[0],
            valid="only {{name}} is; names have letters, digits and underscores",
        )
    if sql[start] == "\x00":
        return ConfigurationError(f"the query has a NUL character at {place}", valid="take it out")
    return ConfigurationError(f"the quote or comment that begins at {place} has no end", valid="close it")
