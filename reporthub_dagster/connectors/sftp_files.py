"""Files on a machine that is reached over SFTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import cast

import asyncssh

from reporthub_dagster.connectors.file_formats import new_file
from reporthub_dagster.connectors.file_places import FilePlace, RowPlace, fixed_part
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.network.ssh_errors import words_of
from reporthub_dagster.network.ssh_session import Access, SshSession
from reporthub_dagster.reporting.errors import ReportHubError, TransientError

_PIECE = 1 << 18
_ABSENT = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


class _Reading(SshSession):
    """A session that reads."""

    def names(self, pattern: str) -> list[str]:
        """The files that a path with wildcards names; none where there is none."""
        return self.run(self._names(pattern))

    def copy(self, name: str, target: Path, budget: Budget) -> None:
        """Bring a file here, piece by piece."""
        self.run(self._copy(name, target, budget))

    async def _names(self, pattern: str) -> list[str]:
        try:
            found = await self.limited(self.sftp.glob(pattern))
        except _ABSENT:
            return []
        names = sorted(str(name) for name in found)
        return [name for name in names if await self.limited(self.sftp.isfile(name))]

    async def _copy(self, name: str, target: Path, budget: Budget) -> None:
        async with await self.limited(self.sftp.open(name, "rb")) as source:
            with target.open("wb") as out:
                while piece := await self.limited(source.read(_PIECE)):
                    budget.spend(len(piece))
                    out.write(cast("bytes", piece))


class SftpFiles(FilePlace):
    """The files of a machine, as its user sees them.

    Args:
        access: How to get in.
        place: For messages.
    """

    def __init__(self, access: Access, place: RowPlace) -> None:
        self._access = access
        self._place = place

    def fetch(self, path: str, scratch: Path, budget: Budget) -> dict[Path, str]:
        """See `FilePlace.fetch`."""
        with self._session() as session:
            names = session.names(path)
            if not names:
                pattern = PurePosixPath(path)
                folder = str(PurePosixPath(fixed_part(path)) if path != fixed_part(path) else pattern.parent)
                there = session.names(f"{folder}/*")
                shown = [PurePosixPath(name).name for name in there]
                raise self._place.absent(pattern.name, f"{self._where}{pattern.parent}", shown)
            files = {}
            for name in names:
                target = new_file(scratch, name)
                session.copy(name, target, budget)
                files[target] = name
            return files

    def check(self, path: str) -> str:
        """See `FilePlace.check`."""
        with self._session() as session:
            session.names(fixed_part(path))
            return session.describe()

    @property
    def _where(self) -> str:
        return f"{self._access.login.host}:{self._access.login.port}"

    @contextmanager
    def _session(self) -> Iterator[_Reading]:
        session = _Reading.open(self._access)
        try:
            yield session
        except (asyncssh.Error, TimeoutError, ConnectionError) as error:
            failure = self._explained(error)
        else:
            return
        finally:
            session.close()
        raise failure

    def _explained(self, error: Exception) -> ReportHubError:
        if isinstance(error, asyncssh.SFTPPermissionDenied):
            user = self._access.login.username
            return self._place.wrong(f"{self._where}: {user} may not read there", "give that user the right")
        if isinstance(error, _ABSENT):
            return self._place.wrong(f"{self._where}: the folder does not exist", "correct the path")
        return TransientError(f"{self._where} hung up before everything was there: {words_of(error)}")
