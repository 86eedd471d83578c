"""Turns a report's SQL template into a query with bound values: no value ever becomes SQL text.

| written | becomes |
|---|---|
| `{{x}}`, `:x` | one bind that keeps the value's type |
| `'{{x}}'`, `'%{{x}}%'` | one bind of the whole string, as text |
| `DATE '{{x}}'` | `CAST(bind AS DATE)`: a typed literal takes no bind |
| `IN ({{x}})`, `IN {{x}}`, `IN ('{{x}}')` | one bind per element of a list |
| `IN` / `NOT IN` of an empty list | a condition that matches nothing / everything |

A placeholder in a comment stays as it is. What cannot be a value (a table, a column, an order) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import TemplateValue
from reporthub_dagster.reporting.sql_lexer import Token, masked, position, tokens
from reporthub_dagster.reporting.sql_strings import decoded, string_prefix, typed_literal
from reporthub_dagster.reporting.template_values import VARIABLE, is_scalar, text_of

_HARMLESS_PREFIXES = ("", "E", "N")
_TEMPLATE_LIKE = re.compile(r"\{\{\s*[^\W\d]")
_IN_LIST = re.compile(r"(?P<negated>\bnot\s+)?\bin\s*(?P<open>\(\s*)?$", re.IGNORECASE)
_LIST_END = re.compile(r"\s*\)")
_SORT_KEY = re.compile(r"\b(?:order|group)\s+by\s+(?:(?:(?!\blimit\b)[^()])*,\s*)?$", re.IGNORECASE)
_NEW_NAME = re.compile(r"\bas\s+$", re.IGNORECASE)
_GLUED_BEFORE = re.compile(r"[\w.`\"@$\]]$")
_GLUED_AFTER = re.compile(r"[\w.`\"\[(]")
_EMPTY_QUERY = {
    "mysql": "(SELECT NULL FROM DUAL WHERE 1 = 0)",
    "oracle": "(SELECT NULL FROM DUAL WHERE 1 = 0)",
}


class BindNames:
    """Gives out bind names so that binds of one name hold one value."""

    def __init__(self, taken: Mapping[str, Any] | None = None) -> None:
        self._values = dict(taken or {})

    def bind(self, wanted: str, value: TemplateValue) -> Bind:
        """A bind of `value` under the wanted name, or under that name with a number."""
        base = re.sub(r"\W", "_", wanted, flags=re.ASCII)[:50]
        name, number = base, 1
        while name in self._values and not _same(self._values[name], value):
            number += 1
            name = f"{base}_{number}"
        self._values[name] = value
        return Bind(name, value)


def bind_template(sql: str, values: Mapping[str, TemplateValue], dialect: str) -> BoundQuery:
    """The query of a template, its values bound.

    Args:
        sql: The template.
        values: Name → scalar or list of scalars; those that the template does not use do not matter.
        dialect: sqlglot's name of the SQL.

    Raises:
        ConfigurationError: A placeholder has no value or stands where no value can; names it and its place.
    """
    template = _Template(sql, values, dialect)
    parts: list[str | Bind] = []
    done = 0
    for piece in template.pieces():
        parts += [sql[done : piece.start], *piece.parts]
        done = piece.end
    return BoundQuery.of([*parts, sql[done:]])


def placeholders(sql: str, dialect: str) -> tuple[str, ...]:
    """The names that a template uses, each once, in order.

    Raises:
        ConfigurationError: The template cannot be read; says where.
    """
    names: dict[str, None] = {}
    for token in tokens(sql, dialect):
        if token.name:
            names[token.name] = None
        elif token.kind == "string":
            names.update(dict.fromkeys(match["name"] for match in VARIABLE.finditer(token.text)))
    return tuple(names)


class _Piece(NamedTuple):
    """What stands in the place of `[start, end)` of the template."""

    start: int
    end: int
    parts: Sequence[str | Bind]


class _Place(NamedTuple):
    """A placeholder: how people wrote it, and the span that its value replaces."""

    label: str
    offset: int
    start: int
    end: int


class _Template:
    """One reading of a template."""

    def __init__(self, sql: str, values: Mapping[str, TemplateValue], dialect: str) -> None:
        self.sql = sql
        self.values = values
        self.dialect = dialect
        self.names = BindNames()
        # The same length as the template: what surrounds a place can be looked at without minding comments.
        self.plain = masked(sql, dialect, ("comment", "string"))

    def pieces(self) -> Iterator[_Piece]:
        for token in tokens(self.sql, self.dialect):
            if token.name:
                yield self._bare(token)
            elif _TEMPLATE_LIKE.search(token.text):
                if token.kind == "string":
                    yield self._quoted(token)
                elif token.kind in ("identifier", "dollar"):
                    raise self._refusal(
                        "a variable stands inside a quoted name or a dollar-quoted string",
                        token.start,
                        "only values can vary: use single quotes around a value",
                    )

    def _bare(self, token: Token) -> _Piece:
        place = _Place(token.text, token.start, token.start, token.end)
        value = self._value(token.name, place)
        before, after = self.plain[: token.start], self.plain[token.end : token.end + 1]
        if token.kind == "variable" and (_GLUED_BEFORE.search(before[-1:]) or _GLUED_AFTER.match(after)):
            raise self._refusal(
                f"{token.text} is part of a name", token.start, "only values can vary, never names"
            )
        if isinstance(value, (list, tuple)):
            return self._list(token.name, value, place)
        return _Piece(place.start, place.end, [self.names.bind(token.name, value)])

    def _quoted(self, token: Token) -> _Piece:
        """A string with variables: one bind of its text, or a list's when it is nothing but that variable."""
        found = list(VARIABLE.finditer(token.text))
        if len(found) != len(_TEMPLATE_LIKE.findall(token.text)):
            raise self._refusal("a template expression in the string is not a variable", token.start)
        prefix = string_prefix(self.plain[: token.start])
        if prefix.upper() not in _HARMLESS_PREFIXES:
            raise self._refusal(f"a variable stands in a {prefix}'…' string", token.start, "use plain quotes")
        first = found[0]
        place = _Place(first[0], token.start + first.start(), token.start - len(prefix), token.end)
        value = self._value(first["name"], place)
        if isinstance(value, (list, tuple)) and first[0] == token.text[1:-1]:
            return self._list(first["name"], [text_of(item) for item in value], place)
        typed = typed_literal(self.plain, place.start, place.end, self.dialect)
        text = self._composed(token, prefix) + (typed.unit if typed else "")
        name = first["name"] if text == value else f"{'_'.join(match['name'] for match in found)}_text"
        bind = self.names.bind(name, text)
        if typed:
            return _Piece(typed.start, typed.end, ["CAST(", bind, f" AS {typed.type})"])
        return _Piece(place.start, place.end, [bind])

    def _composed(self, token: Token, prefix: str) -> str:
        """The string's own text with values put in; the values themselves are never decoded."""
        quote, text, done = token.text[0], "", 1
        for match in VARIABLE.finditer(token.text):
            place = _Place(match[0], token.start + match.start(), token.start, token.end)
            value = self._value(match["name"], place)
            if value is None or not is_scalar(value):
                kind = "NULL" if value is None else "a list"
                raise self._refusal(
                    f"{place.label} is {kind} inside a string", place.offset, "give one value"
                )
            text += self._decoded(token, token.text[done : match.start()], quote, prefix) + text_of(value)
            done = match.end()
        return text + self._decoded(token, token.text[done:-1], quote, prefix)

    def _decoded(self, token: Token, raw: str, quote: str, prefix: str) -> str:
        text = decoded(raw, quote, prefix, self.dialect)
        if text is None:
            raise self._refusal(
                "a string has both backslash escapes and variables", token.start, "write it without escapes"
            )
        return text

    def _list(self, name: str, items: Sequence[TemplateValue], place: _Place) -> _Piece:
        head = _IN_LIST.search(self.plain[: place.start])
        end = _LIST_END.match(self.plain, place.end)
        if not items:
            if head is None or (head["open"] and not end):
                raise self._refusal(
                    f"{place.label} is an empty list",
                    place.offset,
                    "let it stand alone in IN (…), or fill it",
                )
            return self._empty_list(head, end.end() if head["open"] and end else place.end)
        if head is None and self.plain[: place.start].rstrip()[-1:] not in ("(", ",", "["):
            raise self._refusal(f"{place.label} is a list", place.offset, "lists stand in IN (…)")
        parts: list[str | Bind] = []
        for number, item in enumerate(items):
            parts += [", " if number else "", self.names.bind(f"{name}_{number}", item)]
        return _Piece(place.start, place.end, ["(", *parts, ")"] if head and not head["open"] else parts)

    def _empty_list(self, head: re.Match[str], end: int) -> _Piece:
        """Unlike `IN (NULL)`, right for NOT IN as well; PostgreSQL would give the NULL of a query a type."""
        if self.dialect == "postgres":
            text = "<> ALL ('{}')" if head["negated"] else "= ANY ('{}')"
        else:
            text = f"{head['negated'] or ''}IN {_EMPTY_QUERY.get(self.dialect, '(SELECT NULL WHERE 1 = 0)')}"
        return _Piece(head.start(), end, [text])

    def _value(self, name: str, place: _Place) -> TemplateValue:
        """The value of a placeholder that stands where a value can."""
        if name not in self.values:
            known = ", ".join(sorted(self.values)) or "none"
            raise self._refusal(f"{place.label} has no value", place.offset, f"known are {known}")
        value, before = self.values[name], self.plain[: place.start]
        items = value if isinstance(value, (list, tuple)) else [value]
        if not all(map(is_scalar, items)) or (None in items and items is value):
            raise self._refusal(
                f"{place.label} is not a value", place.offset, "give one value, or a list of them"
            )
        if _SORT_KEY.search(before):
            raise self._refusal(
                f"{place.label} in ORDER BY or GROUP BY would be a constant", place.offset, "name the column"
            )
        if _NEW_NAME.search(before):
            raise self._refusal(f"{place.label} stands where a name belongs", place.offset, "write the name")
        return value

    def _refusal(self, problem: str, offset: int, valid: str = "only {{name}} is") -> ConfigurationError:
        return ConfigurationError(f"{problem} at {position(self.sql, offset)}", valid=valid)


def _same(one: TemplateValue, other: TemplateValue) -> bool:
    return type(one) is type(other) and bool(one == other)
