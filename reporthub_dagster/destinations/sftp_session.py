"""The session of an SFTP delivery: files put in place, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import PurePosixPath

import asyncssh

from reporthub_dagster.destinations.carrier import Session
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.network.ssh_session import SshSession
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import RenderedFile

_CLEAN_UP_SECONDS = 5.0


class SftpSession(SshSession, Session):
    """A connection, signed in.

    Attributes:
        create_directory: Folders that do not exist are made.
    """

    create_directory = False

    def put(self, file: RenderedFile, place: PurePosixPath, base: PurePosixPath) -> None:
        """Upload under a name that nobody looks for, check its size, rename it into place.

        Raises:
            asyncssh.Error, OSError: See `sftp_errors`.
            PermanentError: The file is not what was rendered.
            TransientError: It cannot be read, or did not arrive as it is.
        """
        self.run(self._put(file, place, base))

    def probe(self, base: PurePosixPath) -> None:
        """Write a file below `base` and remove it."""
        self.run(self._probe(base))

    def free_bytes(self, base: PurePosixPath) -> int | None:
        """What the disk there has left, where the server says so."""
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            found = self.run(self.limited(self.sftp.statvfs(str(base))))
            return found.bavail * found.frsize
        return None

    async def _put(self, file: RenderedFile, place: PurePosixPath, base: PurePosixPath) -> None:
        sftp = self.sftp
        await self._require_folder(place.parent, base)
        hidden = str(place.parent / f".reporthub-{secrets.token_hex(8)}.part")
        try:
            async with await self.limited(sftp.open(hidden, "wb")) as out:
                for chunk in chunks_of(file):
                    await self.limited(out.write(chunk))
                with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                    await self.limited(out.fsync())
            await self._require_size(hidden, file.size)
            await self._rename(hidden, str(place))
        except BaseException:
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                await asyncio.wait_for(sftp.remove(hidden), _CLEAN_UP_SECONDS)
            raise

    async def _require_size(self, path: str, size: int) -> None:
        found = await self.limited(self.sftp.getsize(path))
        if found != size:
            raise TransientError(f"{found} of {size} bytes arrived")

    async def _rename(self, hidden: str, place: str) -> None:
        try:
            await self.limited(self.sftp.posix_rename(hidden, place))
        except asyncssh.SFTPOpUnsupported:  # such a server cannot replace in one step
            if await self.limited(self.sftp.exists(place)):
                await self.limited(self.sftp.remove(place))
            await self.limited(self.sftp.rename(hidden, place))

    async def _require_folder(self, folder: PurePosixPath, base: PurePosixPath) -> None:
        create = self.create_directory
        if not create and await self.limited(self.sftp.isdir(str(base))) is False:
            raise asyncssh.SFTPNoSuchPath(f"{base} is not there")
        if create or folder != base:
            await self.limited(self.sftp.makedirs(str(folder), exist_ok=True))

    async def _probe(self, base: PurePosixPath) -> None:
        await self._require_folder(base, base)
        name = str(base / f".reporthub-{secrets.token_hex(8)}.probe")
        async with await self.limited(self.sftp.open(name, "wb")) as out:
            await self.limited(out.write(b"reporthub\n"))
        await self.limited(self.sftp.remove(name))
