"""Lazy registries: a kind is a dotted path that is imported when somebody first asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from reporthub_dagster.reporting.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a kind lives and what a person installs to have it.

    Attributes:
        path: `package.module:Class`.
        extra: Name of the extra of `reporthub-dagster` that brings its driver; empty when always there.
    """

    path: str
    extra: str = ""


class Registry(Generic[T]):
    """The kinds of one family, by the word that rows use for them.

    Args:
        family: What one of them is called, for messages: `connector`, `renderer`, `destination`.
        table: Shared table whose column names a kind.
        column: That column.
        entries: Kind → entry, in the order in which people read them.
    """

    def __init__(self, family: str, *, table: str, column: str, entries: Mapping[str, Entry]) -> None:
        self._family = family
        self._table = table
        self._column = column
        self._entries = dict(entries)

    def kinds(self) -> tuple[str, ...]:
        """Every kind there is."""
        return tuple(self._entries)

    def get(self, kind: str, *, row: int | str | None = None, column: str | None = None) -> type[T]:
        """The class of a kind, imported now if it was not yet.

        Args:
            kind: The word for it.
            row: The row that names it, for messages.
            column: Where in the row, when it is not the family's own column.

        Raises:
            ConfigurationError: There is no such kind, or its extra is not installed.
        """
        entry = self._entries.get(kind)
        if entry is None:
            raise ConfigurationError(
                f"there is no {self._family} of this kind",
                table=self._table,
                row=row,
                column=column or self._column,
                value=kind,
                valid=f"valid: {', '.join(self._entries)}",
            )
        module, _, name = entry.path.partition(":")
        try:
            found: type[T] = getattr(import_module(module), name)
        except ModuleNotFoundError as missing:
            if not entry.extra:
                raise
            raise ConfigurationError(
                f"the {self._family} {kind!r} needs the package {missing.name!r}",
                table=self._table,
                row=row,
                column=column or self._column,
                valid=f"install it with: pip install 'reporthub-dagster[{entry.extra}]'",
            ) from None
        return found
