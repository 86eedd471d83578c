"""A query whose values travel beside its text, in whatever style the driver wants them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ParamStyle = Literal["named", "pyformat", "qmark", "null"]


@dataclass(frozen=True, slots=True)
class Bind:
    """A value at its place in the text; `name` is what people see, `:name`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """SQL as a sequence of text and binds; no value ever becomes text.

    Binds of one name hold one value.

    Attributes:
        variables: Every variable of the report, for sources whose address holds some.
    """

    parts: tuple[str | Bind, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[str | Bind]) -> BoundQuery:
        """A query with neighbouring texts joined."""
        joined: list[str | Bind] = []
        for part in parts:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            elif part != "":
                joined.append(part)
        return cls(tuple(joined))

    @property
    def values(self) -> dict[str, Any]:
        """Bind name → value, in order of first use."""
        return {part.name: part.value for part in self.parts if isinstance(part, Bind)}

    def text(self, style: ParamStyle) -> str:
        """The SQL with its binds written in a driver's style.

        `named` is `:name`, `pyformat` is `%(name)s` with `%` doubled elsewhere, `qmark` is `?`; `null` puts a
        literal NULL, for asking a database what columns a query has without running it.
        """
        write = {"named": ":{}", "pyformat": "%({})s", "qmark": "?", "null": "NULL"}[style]
        return "".join(
            write.format(part.name)
            if isinstance(part, Bind)
            else (part.replace("%", "%%") if style == "pyformat" else part)
            for part in self.parts
        )

    def sequence(self) -> tuple[Any, ...]:
        """The values in order of appearance, for `qmark`."""
        return tuple(part.value for part in self.parts if isinstance(part, Bind))
