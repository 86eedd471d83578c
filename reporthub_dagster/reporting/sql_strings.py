"""Strings of SQL that hold variables: their prefixes, their escapes, and literals with a type before them."""

from __future__ import annotations

import re
from typing import NamedTuple

from reporthub_dagster.reporting.sql_lexer import BACKSLASH_STRINGS

_PREFIX = re.compile(r"(?<![\w$])(?:[eEnNbBxX]|[uU]&|_\w+)$")
_TYPED_LITERAL = re.compile(
    r"\b(?P<type>date|timestamptz|timestamp(?:\s+with(?:out)?\s+time\s+zone)?|datetime|time|interval)\s+$",
    re.IGNORECASE,
)
_INTERVAL_FIELDS = re.compile(
    r"\s+(?P<unit>year|month|day|hour|minute|second)\b(?P<to>\s+to\s+(?:month|hour|minute|second)\b)?",
    re.IGNORECASE,
)
_MYSQL_TYPES = {"TIMESTAMP": "DATETIME(6)", "DATETIME": "DATETIME(6)", "TIME": "TIME(6)"}
_MYSQL_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}


class TypedLiteral(NamedTuple):
    """The span of `DATE '…'`, the type that its value is cast to, and a unit that its text needs."""

    start: int
    end: int
    type: str
    unit: str = ""


def string_prefix(before: str) -> str:
    """The prefix of a string that follows `before`: the E of `E'…'`, or nothing."""
    found = _PREFIX.search(before)
    return found[0] if found else ""


def decoded(raw: str, quote: str, prefix: str, dialect: str) -> str | None:
    """What the inside of a string means, without its doubled quotes and escapes.

    None when it has backslash escapes that are not worked out: those of MySQL are, other dialects have more.
    """
    text = raw.replace(quote * 2, quote)
    if "\\" not in text or not (dialect in BACKSLASH_STRINGS or prefix.upper() == "E"):
        return text
    if dialect != "mysql":
        return None
    return re.sub(r"\\(.)", lambda match: _MYSQL_ESCAPES.get(match[1], match[1]), text, flags=re.DOTALL)


def typed_literal(plain: str, start: int, end: int, dialect: str) -> TypedLiteral | None:
    """The typed literal whose string is `plain[start:end]`, if it is one that takes no bind.

    SQLite has none, and MySQL's `INTERVAL '1' DAY` does take a bind.
    """
    literal = _TYPED_LITERAL.search(plain, 0, start)
    kind = " ".join(literal["type"].upper().split()) if literal else ""
    if literal is None or dialect == "sqlite" or (dialect == "mysql" and kind == "INTERVAL"):
        return None
    if kind == "INTERVAL" and (fields := _INTERVAL_FIELDS.match(plain, end)):
        # A bound '1' cast to INTERVAL DAY would be one second, cut to no day at all.
        return TypedLiteral(literal.start(), fields.end(), kind, "" if fields["to"] else f" {fields['unit']}")
    return TypedLiteral(literal.start(), end, _MYSQL_TYPES.get(kind, kind) if dialect == "mysql" else kind)
