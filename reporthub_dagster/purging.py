"""Retention: removes the folders of executions that are old, over, and nobody's but ours."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal

from reporthub_dagster.db.uses import Use
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.storage.execution_folder import is_ours

_EXECUTION = re.compile(r"[0-9A-Za-z-]{1,36}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DYING = re.compile(r"\.[0-9A-Za-z-]{1,36}\.purged")
"""What a folder is called while it is removed: a purge that died in the middle is finished by the next."""
_AT_ONCE = 500
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_500)

Fate = Literal["purged", "young", "needed", "foreign"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a folder.

    Attributes:
        fate: `purged`; `young`; `needed` by an execution that has no outcome yet; `foreign` when it is no
            execution's, or holds something that ReportHub did not write.
        bytes: What its files take.
    """

    name: str
    fate: Fate
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Purge:
    """A look at the output folder.

    Attributes:
        output: The folder that holds one folder per execution.
        uses: Execution ids → what their rows say; those without a row are left out.
        before: A folder is old when it was last used before this.
        dry: Only say what would be removed.
    """

    output: Path
    uses: Callable[[Sequence[str]], Mapping[str, Use]]
    before: datetime
    dry: bool = False

    def run(self) -> Iterator[Verdict]:
        """Judge every folder, and remove those that are to go as their verdict is given out.

        Raises:
            ConfigurationError, TransientError: The database does not answer; nothing is removed unasked.
            OSError: A folder cannot be read or removed.
        """
        if not self.output.is_dir():
            return
        entries = self.output.iterdir()
        while portion := sorted(islice(entries, _AT_ONCE)):
            known = self.uses([path.name for path in portion if _EXECUTION.fullmatch(path.name)])
            for path in portion:
                if not path.is_dir() or path.is_symlink():
                    continue
                if _DYING.fullmatch(path.name):
                    self._remove(path)
                else:
                    yield self._judged(path, known.get(path.name))

    def _judged(self, path: Path, use: Use | None) -> Verdict:
        kept = self._kept(path, use)
        if kept is not None:
            return Verdict(path.name, kept)
        size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        if not self.dry:
            # Asked again at the last moment: a person may have started the execution anew.
            again = self.uses([path.name]).get(path.name)
            if again is not None and again.is_open:
                return Verdict(path.name, "needed")
            self._remove(path.rename(path.with_name(f".{path.name}.purged")))
        return Verdict(path.name, "purged", size)

    def _kept(self, path: Path, use: Use | None) -> Fate | None:
        """Why a folder stays; None when it goes. One without a row must have the name of an execution."""
        if use is not None and use.is_open:
            return "needed"
        if use is not None and use.at is not None and use.at >= self.before:
            return "young"
        if (use is None and not _UUID.fullmatch(path.name)) or not is_ours(path):
            return "foreign"
        return "young" if _last_change(path) >= self.before else None

    def _remove(self, path: Path) -> None:
        if not self.dry:
            shutil.rmtree(path)


def parse_age(text: str) -> timedelta:
    """`30d`, `12h` or `2w` as a time.

    Raises:
        ConfigurationError: It is something else.
    """
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip().lower())
    age = int(found[1]) * _UNITS[found[2]] if found else timedelta()
    if not timedelta() < age <= _LONGEST:
        raise ConfigurationError(
            "not an age", column="--older-than", value=text, valid="for example 30d, 12h or 8w"
        )
    return age


def _last_change(path: Path) -> datetime:
    newest = max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
    return datetime.fromtimestamp(newest, UTC)
