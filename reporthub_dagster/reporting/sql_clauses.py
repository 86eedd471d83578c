"""Where the clauses of every SELECT stand, so that a condition can go in and all else stay as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reporthub_dagster.reporting.sql_lexer import Token, for_parser

_WORD = re.compile(r"[^\W\d]\w*|[^\s\w]|\w+")
_SET_OPERATIONS = frozenset({"UNION", "INTERSECT", "EXCEPT", "MINUS"})
_AFTER_WHERE: dict[str, frozenset[str]] = {
    "GROUP": frozenset({"BY", "ALL"}),
    "ORDER": frozenset({"BY", "SIBLINGS"}),
    "FETCH": frozenset({"FIRST", "NEXT"}),
    "HAVING": frozenset(),
    "QUALIFY": frozenset(),
    "WINDOW": frozenset(),
    "LIMIT": frozenset(),
    "OFFSET": frozenset(),
}
"""First word of a clause that follows WHERE → its second words; empty when any may follow."""
_NO_OFFSET_ALONE = frozenset({"mysql", "sqlite"})
"""Dialects where OFFSET only follows LIMIT, and so may name a column."""


class SelectClauses(NamedTuple):
    """The places of one SELECT.

    Attributes:
        keyword_end: Offset after the word SELECT.
        where: Span of the condition after WHERE, None without one.
        end: Offset at which a WHERE clause may be put.
    """

    keyword_end: int
    where: tuple[int, int] | None
    end: int


class _Word(NamedTuple):
    """A word or sign of the code; the text is empty for strings, quoted names and binds."""

    text: str
    start: int
    end: int
    depth: int


def clauses_of(items: Iterable[Token], dialect: str) -> list[SelectClauses]:
    """The clauses of every SELECT of a text, in the order of their SELECT words."""
    words = list(_words(items))
    return [
        _clauses(words, number, dialect)
        for number, word in enumerate(words)
        if word.text == "SELECT" and not _is_member(words, number)
    ]


def marked(items: list[Token], clauses: Iterable[SelectClauses]) -> str:
    """The text for sqlglot, each SELECT followed by a comment with its number in `clauses`.

    sqlglot keeps such a comment with the node of its SELECT: this is how a node finds its place in the text.
    """
    text, done, parts = for_parser(items), 0, []
    for number, select in enumerate(clauses):
        parts += [text[done : select.keyword_end], f" /* {number} */ "]
        done = select.keyword_end
    return "".join([*parts, text[done:]])


def _words(items: Iterable[Token]) -> Iterator[_Word]:
    depth = 0
    for token in items:
        if token.kind == "comment":
            continue
        if token.kind != "code":
            yield _Word("", token.start, token.end, depth)
            continue
        for match in _WORD.finditer(token.text):
            depth -= match[0] == ")"
            yield _Word(match[0].upper(), token.start + match.start(), token.start + match.end(), depth)
            depth += match[0] == "("


def _clauses(words: list[_Word], number: int, dialect: str) -> SelectClauses:
    select, where = words[number], None
    last = number
    for following in range(number + 1, len(words)):
        word = words[following]
        if word.depth < select.depth or _ends_select(words, following, select.depth, dialect):
            break
        if word.text == "WHERE" and word.depth == select.depth and where is None:
            where = following
        last = following
    end = words[last].end
    condition = (words[where + 1].start, end) if where is not None and where < last else None
    return SelectClauses(select.end, condition, end)


def _ends_select(words: list[_Word], number: int, depth: int, dialect: str) -> bool:
    """True at the first word after which no WHERE clause of the SELECT can come."""
    word = words[number]
    if word.depth != depth or _is_member(words, number):
        return False
    if word.text == ";" or word.text in _SET_OPERATIONS:
        return True
    if word.text not in _AFTER_WHERE or (word.text == "OFFSET" and dialect in _NO_OFFSET_ALONE):
        return False
    second = _AFTER_WHERE[word.text]
    if word.text == "WINDOW":
        return _text(words, number + 2) == "AS"
    return not second or _text(words, number + 1) in second


def _is_member(words: list[_Word], number: int) -> bool:
    """True for what is a name by its place: `t.order`, `AS limit`."""
    return _text(words, number - 1) in (".", "AS", "@") if number else False


def _text(words: list[_Word], number: int) -> str:
    return words[number].text if number < len(words) else ""
