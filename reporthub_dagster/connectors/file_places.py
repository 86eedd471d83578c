"""Where files lie: what every place can do, and the folders of this machine."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from reporthub_dagster.connectors.source_url import TABLE
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.template_values import VARIABLE, text_of

_MOST_NAMED = 8
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class RowPlace:
    """The row that names the files, for messages."""

    row: int

    def wrong(
        self, problem: str, valid: str, *, column: str = "connection_url", value: object = None
    ) -> ConfigurationError:
        """An error that says what a person must change."""
        return ConfigurationError(problem, table=TABLE, row=self.row, column=column, value=value, valid=valid)

    def absent(self, pattern: str, where: str, there: Sequence[str]) -> ConfigurationError:
        """No file fits: says what was looked for, and what there is."""
        shown = sorted(there)
        more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
        names = f"there are {', '.join(shown[:_MOST_NAMED])}{more}" if shown else "there is nothing"
        return self.wrong(
            f"no file fits {pattern} in {where}", f"{names}; correct the name, or wait for the file"
        )


class FilePlace(ABC):
    """A place that holds files."""

    @abstractmethod
    def fetch(self, path: str, scratch: Path, budget: Budget) -> dict[Path, str]:
        """The files that a path with wildcards names, on this machine, in the order of their names.

        Args:
            path: Its variables are filled in.
            scratch: Where to put what has to be fetched.
            budget: What that may have.

        Returns:
            Path → what people call it.

        Raises:
            ConfigurationError: No file fits, or nobody is let in.
            TransientError: The place cannot be reached now.
            PermanentError: It is too much.
        """

    @abstractmethod
    def check(self, path: str) -> str:
        """Look whether the place can be reached and read; returns what was seen.

        Args:
            path: As the row has it, with its variables.

        Raises:
            ConfigurationError, TransientError: As `fetch`.
        """

    def writes(self, path: str) -> str:
        """What of the place this account may write, as far as that is known without writing.

        Raises:
            ConfigurationError, TransientError: As `fetch`.
        """
        del path
        return ""


class LocalFiles(FilePlace):
    """Folders of this machine below those that an operator has named.

    Args:
        roots: These.
        place: For messages.
    """

    def __init__(self, roots: Sequence[Path], place: RowPlace) -> None:
        self._roots = [root.resolve() for root in roots]
        self._place = place

    def fetch(self, path: str, scratch: Path, budget: Budget) -> dict[Path, str]:  # noqa: ARG002 - nothing is copied
        """See `FilePlace.fetch`; the files are read where they are."""
        pattern = self._absolute(path)
        place = self._absolute(fixed_part(path))
        self._require_inside(place.resolve(), place)  # before anybody learns what is there
        found = [pattern]
        if _WILD.search(path):
            found = sorted(self._fitting(place, pattern, budget))
        files = {self._allowed(name): self._shown(name) for name in found if name.is_file()}
        for real, name in files.items():
            if not os.access(real, os.R_OK):
                raise self._place.wrong(
                    "the file may not be read by this process", "give its user the right", value=name
                )
        if not files:
            folder = _folder_of(place)
            there = [entry.name for entry in self._allowed(folder).iterdir()] if folder.is_dir() else []
            raise self._place.absent(pattern.name, str(pattern.parent), there)
        return files

    def writes(self, path: str) -> str:
        """See `FilePlace.writes`."""
        folder = _folder_of(self._absolute(fixed_part(path)))
        return f"the folder {folder}" if os.access(folder, os.W_OK) else ""

    def check(self, path: str) -> str:
        """See `FilePlace.check`."""
        folder = _folder_of(self._absolute(fixed_part(path)))
        if not folder.is_dir():
            raise self._place.wrong("the folder does not exist", "mount or create it", value=str(folder))
        if not os.access(self._allowed(folder), os.R_OK | os.X_OK):
            raise self._place.wrong("the folder may not be read by this process", "give its user the right")
        return f"the folder {folder} can be read"

    def _fitting(self, folder: Path, pattern: Path, budget: Budget) -> Iterator[Path]:
        """What fits a path with wildcards, looked for only where files may be read."""
        for path in folder.glob(str(pattern.relative_to(folder))):
            budget.spend(0)
            yield path

    def _absolute(self, path: str) -> Path:
        if not self._roots:
            raise self._place.wrong(
                "no folder may be read here", "an operator names them in REPORTHUB_FILE_ROOTS"
            )
        if ".." in PurePath(path).parts:
            raise self._place.wrong("the path leads upwards", "write the path without ..")
        return self._roots[0] / path

    def _shown(self, path: Path) -> str:
        root = self._roots[0]
        return str(path.relative_to(root) if path.is_relative_to(root) else path)

    def _allowed(self, path: Path) -> Path:
        """The real path, wherever links lead."""
        try:
            real = path.resolve(strict=True)
        except OSError as error:
            raise TransientError(f"{path} cannot be read now: {error.strerror}") from None
        self._require_inside(real, path)
        return real

    def _require_inside(self, real: Path, path: Path) -> None:
        if not any(real.is_relative_to(root) for root in self._roots):
            roots = ", ".join(map(str, self._roots))
            raise self._place.wrong(
                "the path leads out of the folders that may be read", f"they are {roots}", value=str(path)
            )


def filled_path(path: str, variables: Mapping[str, Any], place: RowPlace, *, in_url: bool = False) -> str:
    """A path with its variables; a value can name a file or a folder, never a way to one.

    Args:
        path: With `{{variables}}`.
        variables: Of the report.
        place: For messages.
        in_url: Values are encoded as URLs want them, and may then hold anything.

    Raises:
        ConfigurationError: A variable has no value, or one that is no name.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["name"] not in variables:
            known = ", ".join(sorted(variables)) or "none"
            raise place.wrong(f"the variable {match[0]} has no value", f"known are {known}")
        value = text_of(variables[match["name"]])
        if in_url:
            return quote(value, safe="")
        if not value or value in {".", ".."} or re.search(r"[/\\\x00*?\[\]]", value):
            raise place.wrong(f"{match[0]} is no part of a file's name", "give a plain value", value=value)
        return value

    return VARIABLE.sub(value_of, path)


def fixed_part(path: str) -> str:
    """What stands before the first part with a variable or a wildcard."""
    parts = path.split("/")
    fixed = next((n for n, part in enumerate(parts) if "{{" in part or _WILD.search(part)), None)
    return path if fixed is None else "/".join([*parts[:fixed], ""])


def _folder_of(path: Path) -> Path:
    """The folder that a path without wildcards names, or that of its file."""
    return path if path.is_dir() else path.parent
