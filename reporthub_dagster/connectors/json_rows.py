"""The rows of a JSON document on disk, one after the other: what is around them is passed over, not kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from reporthub_dagster.reporting.errors import PermanentError

_PIECE = 1 << 20
_MOST_NAMED = 20
_LONGEST_VALUE = 100_000_000
"""One is in memory whole, several times over while it is read."""
_LONGEST_WORD = 16
"""So near to the end of a piece a fault may be a word, `-Infinity` or an escape, that goes on in the next."""
_SPACE = re.compile(r"[ \t\n\r]*")


def rows_in(document: Path, path: str) -> Iterator[Any]:
    """The items of the list at a path such as `data.items`; an object there is the one row.

    Args:
        document: UTF-8; it is read to its end, so that one that breaks off is no whole one.
        path: Names, and numbers of items. Empty or `$`: the document itself, or one after the other.

    Raises:
        ValueError: It is not JSON; says where, and nothing of what it holds.
        PermanentError: There is nothing at the path, or neither a list nor an object.
    """
    steps = [step for step in path.removeprefix("$").split(".") if step]
    with document.open(encoding="utf-8-sig") as file:
        reader = _Reader(file, path)
        if not steps and reader.next_mark() != "[":
            while reader.next_mark():
                yield reader.value()
        else:
            yield from reader.rows(steps)
        reader.end()


def value_at(document: Path, path: str) -> Any:
    """The value at a path of names, such as `meta.next`; None where there is none.

    Raises:
        ValueError: As `rows_in`.
    """
    with document.open(encoding="utf-8-sig") as file:
        reader = _Reader(file, path)
        found = reader.find(path.split("."))
        reader.end()
        return found


def exact_number(text: str) -> float | Decimal:
    """A number of JSON: a double where that shows the same number, else all of its digits."""
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else Decimal(text)


class _Reader:
    """Reads values from a text in pieces; holds one value at a time.

    Args:
        file: The text.
        path: For messages.
    """

    def __init__(self, file: TextIO, path: str) -> None:
        self._file = file
        self._path = path
        self._decoder = json.JSONDecoder(parse_float=exact_number)
        self._held, self._at, self._passed = "", 0, 0

    def next_mark(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            space = _SPACE.match(self._held, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The next value, whole."""
        self.next_mark()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                unfinished = (
                    error.msg.startswith("Unterminated") or error.pos > len(self._held) - _LONGEST_WORD
                )
                if not unfinished or not self._more():
                    raise self._broken(error.msg, error.pos) from None
            else:
                if end < len(self._held) or not self._more():  # a number at the end of a piece may go on
                    self._at = end
                    return value

    def rows(self, steps: list[str]) -> Iterator[Any]:
        """The rows at a path from here; what follows is read as well."""
        mark = self.next_mark()
        if not steps:
            if mark == "[":
                for _ in self._items():
                    yield self.value()
            elif (value := self.value()) is not None:
                if mark != "{":
                    raise PermanentError(f"what is at {self._path!r} is no list but {kind_of(value)}")
                yield value
            return
        there: list[str] = []
        found = False
        for name in self._steps(mark):
            if name == steps[0] and not found:
                found = True
                yield from self.rows(steps[1:])
            else:
                self._pass_over()
                there = [*there, name][:_MOST_NAMED]
        if not found:
            among = ", ".join(there) if mark == "{" else "a list" if mark == "[" else "a value"
            raise PermanentError(f"there is nothing at {self._path!r}: {steps[0]!r} is not among {among}")

    def find(self, steps: list[str]) -> Any:
        """The value at a path of names from here, None where there is none."""
        found = None
        for name in self._steps(self.next_mark()):
            if name != steps[0] or found is not None:
                self._pass_over()
            else:
                found = self.find(steps[1:]) if len(steps) > 1 else self.value()
        return found

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.next_mark():
            raise self._broken("Extra data", self._at)

    def _steps(self, mark: str) -> Iterator[str]:
        """The names of an object's members, or the numbers of a list's items, each before its value."""
        if mark == "{":
            yield from self._members()
        elif mark == "[":
            yield from map(str, self._items())
        else:
            self.value()

    def _members(self) -> Iterator[str]:
        self._take("{")
        if self.next_mark() == "}":
            self._take("}")
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self._broken("Expecting property name", self._at)
            self._take(":")
            yield name
            if self._take(",}") == "}":
                return

    def _items(self) -> Iterator[int]:
        self._take("[")
        number = 0
        if self.next_mark() == "]":
            self._take("]")
            return
        while True:
            yield number
            number += 1
            if self._take(",]") == "]":
                return

    def _pass_over(self) -> None:
        """What is not wanted, a member or an item at a time."""
        mark = self.next_mark()
        if mark not in "{[":
            self.value()
            return
        for _ in self._steps(mark):
            self.value()

    def _take(self, marks: str) -> str:
        mark = self.next_mark()
        if not mark or mark not in marks:
            raise self._broken(f"Expecting one of {marks}", self._at)
        self._at += 1
        return mark

    def _more(self) -> bool:
        if len(self._held) - self._at > _LONGEST_VALUE:
            raise PermanentError(f"a single value has more than {_LONGEST_VALUE:,} characters")
        piece = self._file.read(max(_PIECE, len(self._held) - self._at))
        self._passed += self._at if piece else 0
        self._held, self._at = (self._held[self._at :] + piece, 0) if piece else (self._held, self._at)
        return bool(piece)

    def _broken(self, words: str, place: int) -> ValueError:
        return ValueError(f"{words} at character {self._passed + place + 1}")


def kind_of(value: Any) -> str:
    """What a value is, for people."""
    return {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )
