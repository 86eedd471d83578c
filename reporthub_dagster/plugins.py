"""Lazy registries: a kind is a dotted path that is imported when somebody first asks for it.

A package that is installed beside this one may bring kinds of its own: entry points of the group that is
named after the family's folder, `reporthub_dagster.renderers` and the like. They are looked for when a kind
is asked for that is not one of ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from reporthub_dagster.reporting.errors import ConfigurationError

T = TypeVar("T")
_MEND = "mend that package, or remove it"


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
        base: `package.module:Class` of what each of them is; empty where other packages have no part in it.
        word: The class attribute that says the word for it.
    """

    def __init__(
        self,
        family: str,
        *,
        table: str,
        column: str,
        entries: Mapping[str, Entry],
        base: str = "",
        word: str = "",
    ) -> None:
        self.group = base.rpartition(".")[0]
        self._family = family
        self._base = base
        self._word = word
        self._table = table
        self._column = column
        self._entries = dict(entries)

    def kinds(self) -> tuple[str, ...]:
        """Every kind there is, those of other packages last."""
        return (*self._entries, *(name for name in self._foreign if name not in self._entries))

    def get(self, kind: str, *, row: int | str | None = None, column: str | None = None) -> type[T]:
        """The class of a kind, imported now if it was not yet.

        Args:
            kind: The word for it.
            row: The row that names it, for messages.
            column: Where in the row, when it is not the family's own column.

        Raises:
            ConfigurationError: There is no such kind, its extra is not installed, or the package that brings
                it is broken.
        """
        try:
            entry = self._entries.get(kind)
            return self._ours(kind, entry) if entry else self._of_a_package(kind)
        except ConfigurationError as error:
            raise error.located(table=self._table, row=row, column=column or self._column) from None

    def passed_over(self) -> tuple[str, ...]:
        """Kinds of other packages that nobody can get, since their word is taken, one sentence each."""
        return tuple(
            f"the {self._family} {name!r} of {_package(point)} is not used: the word is taken"
            for name, points in self._foreign.items()
            for point in points
            if name in self._entries
        )

    @cached_property
    def _foreign(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group) if self.group else ():
            found.setdefault(point.name, []).append(point)
        return found

    def _ours(self, kind: str, entry: Entry) -> type[T]:
        try:
            return cast("type[T]", _loaded(entry.path))
        except ModuleNotFoundError as missing:
            if not entry.extra:
                raise
            raise ConfigurationError(
                f"the {self._family} {kind!r} needs the package {missing.name!r}",
                valid=f"install it with: pip install 'reporthub-dagster[{entry.extra}]'",
            ) from None

    def _of_a_package(self, kind: str) -> type[T]:
        points = self._foreign.get(kind, [])
        if not points:
            valid = f"valid: {', '.join(self.kinds())}"
            raise ConfigurationError(f"there is no {self._family} of this kind", value=kind, valid=valid)
        if len(points) > 1:
            problem = f"several packages bring this {self._family}: {', '.join(map(_package, points))}"
            raise ConfigurationError(problem, value=kind, valid="remove all but one")
        (point,) = points
        what = f"the {self._family} {kind!r} of {_package(point)}"
        try:
            found = point.load()
        except Exception as error:  # noqa: BLE001 - whatever code of others does, other kinds go on
            problem = f"{what} cannot be imported: {type(error).__name__}: {error}"
            raise ConfigurationError(problem, valid=_MEND) from None
        problem = self._fault(found, kind)
        if problem:
            raise ConfigurationError(f"{what} cannot be used: {point.value} {problem}", valid=_MEND)
        return cast("type[T]", found)

    def _fault(self, found: object, kind: str) -> str:
        """What keeps something from being a class of this family; empty where nothing does."""
        base = _loaded(self._base)
        if not isinstance(found, type) or not issubclass(found, base):
            return f"is no subclass of {self._base.replace(':', '.')}"
        missing = sorted({*_unset(found), *getattr(found, "__abstractmethods__", ())})
        if missing:
            return f"lacks {', '.join(missing)}"
        word = getattr(found, self._word)
        return "" if word == kind else f"has {self._word} = {word!r}, and its entry point is named {kind!r}"


def _loaded(path: str) -> type:
    module, _, name = path.partition(":")
    found: type = getattr(import_module(module), name)
    return found


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name} {point.dist.version}" if point.dist else "a package"


def _unset(found: type) -> set[str]:
    """Class attributes that its bases ask for and that have no value."""
    return {
        name
        for base in found.__mro__
        for name, annotation in inspect.get_annotations(base).items()
        if str(annotation).startswith("ClassVar") and not hasattr(found, name)
    }
