"""One SSH connection to a machine that is recognised, with SFTP on it; every step has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Self, TypeVar

import asyncssh

from reporthub_dagster.destinations.base import DestinationSettings
from reporthub_dagster.destinations.carrier import Session
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.destinations.sftp_errors import changed_key, connecting, unknown_key
from reporthub_dagster.destinations.sftp_settings import SftpSettings
from reporthub_dagster.network.egress import EgressError
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import RenderedFile

T = TypeVar("T")
_CLEAN_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Access:
    """How one delivery gets in.

    Attributes:
        key: Private key, if one is used.
        trusted: Keys that a person gave for the machine; None when they gave none.
    """

    config: SftpSettings = field(repr=False)
    key: asyncssh.SSHKey | None = field(repr=False)
    trusted: list[asyncssh.SSHKey] | None
    row: int
    surroundings: DestinationSettings = field(repr=False)


class SftpSession(Session):
    """A connection, signed in.

    Attributes:
        note: What a receipt should say about the machine's key, or empty.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._timeout = access.config.timeout
        self._runner = asyncio.Runner()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient
        self.note = ""

    @classmethod
    def open(cls, access: Access) -> Self:
        """Connect, recognise the machine, sign in.

        Raises:
            ConfigurationError: It or we refuse; a person must change the row.
            TransientError: It is not there, or not now.
        """
        with contextlib.ExitStack() as opened:
            session = cls(access)
            opened.callback(session.close)
            session._begin()
            opened.pop_all()
        return session

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(Exception):  # it may be broken in any way
            if self._connection is not None:
                self._connection.abort()
                self._runner.run(asyncio.wait_for(self._connection.wait_closed(), _CLEAN_UP_SECONDS))
        self._runner.close()

    def describe(self) -> str:
        """What answered, for people."""
        config = self._access.config
        version = self._connection and self._connection.get_extra_info("server_version")
        return f"{config.host}:{config.port} answered as {version}, signed in as {config.username}"

    def put(self, file: RenderedFile, place: PurePosixPath, base: PurePosixPath) -> None:
        """Upload under a name that nobody looks for, check its size, rename it into place.

        Raises:
            asyncssh.Error, OSError: See `sftp_errors`.
            PermanentError: The file is not what was rendered.
            TransientError: It cannot be read, or did not arrive as it is.
        """
        self._run(self._put(file, place, base))

    def probe(self, base: PurePosixPath) -> None:
        """Write a file below `base` and remove it."""
        self._run(self._probe(base))

    def free_bytes(self, base: PurePosixPath) -> int | None:
        """What the disk there has left, where the server says so."""
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            found = self._run(self._limited(self._sftp.statvfs(str(base))))
            return found.bavail * found.frsize
        return None

    def _begin(self) -> None:
        access, config = self._access, self._access.config
        machine = _Machine(self._known_keys(), config.fingerprint, self._accepts_unknown)
        try:
            socket = access.surroundings.egress.connect(config.host, config.port, self._timeout)
            socket.setblocking(False)
            self._connection = self._run(self._limited(self._connect(machine, socket)))
            self._sftp = self._run(self._limited(self._connection.start_sftp_client()))
        except EgressError as error:
            raise error from None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            if machine.refused:
                raise self._refusal(machine.refused) from None
            raise connecting(error, config, access.row, pinned=bool(machine.known)) from None
        if machine.accepted:
            self._pin(machine.accepted)

    def _known_keys(self) -> list[asyncssh.SSHKey]:
        access = self._access
        if access.trusted is not None:
            return access.trusted
        store = access.surroundings.host_keys
        pinned = store.find(access.config.host, access.config.port) if store else None
        return [asyncssh.import_public_key(pinned)] if pinned else []

    @property
    def _accepts_unknown(self) -> bool:
        surroundings = self._access.surroundings
        return surroundings.host_keys is not None and not surroundings.refuse_unknown_hosts

    def _pin(self, key: asyncssh.SSHKey) -> None:
        store, config = self._access.surroundings.host_keys, self._access.config
        line = _line(key)
        if store is None or config.fingerprint:
            return
        if store.pin(config.host, config.port, line, datetime.now(UTC)) != line:
            raise self._refusal(key)
        self.note = f"first connection: host key {key.get_fingerprint()} is kept from now on"

    def _refusal(self, key: asyncssh.SSHKey) -> Exception:
        access = self._access
        known = self._known_keys()
        if known or access.config.fingerprint:
            return changed_key(key, access.config, access.row, given=access.trusted is not None)
        return unknown_key(key, access.config, access.row)

    async def _connect(self, machine: _Machine, socket: Any) -> asyncssh.SSHClientConnection:
        access, config = self._access, self._access.config
        return await asyncssh.connect(
            config.host,
            config.port,
            sock=socket,
            client_factory=lambda: machine,
            known_hosts=(machine.known, [], []),
            username=config.username,
            password=config.password.get_secret_value() if config.password else None,
            client_keys=[access.key] if access.key else None,
            agent_path=None,
            config=None,
            login_timeout=self._timeout,
            keepalive_interval=self._timeout,
        )

    async def _put(self, file: RenderedFile, place: PurePosixPath, base: PurePosixPath) -> None:
        sftp = self._sftp
        await self._require_folder(place.parent, base)
        hidden = str(place.parent / f".reporthub-{secrets.token_hex(8)}.part")
        try:
            async with await self._limited(sftp.open(hidden, "wb")) as out:
                for chunk in chunks_of(file):
                    await self._limited(out.write(chunk))
                with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                    await self._limited(out.fsync())
            await self._require_size(hidden, file.size)
            await self._rename(hidden, str(place))
        except BaseException:
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                await asyncio.wait_for(sftp.remove(hidden), _CLEAN_UP_SECONDS)
            raise

    async def _require_size(self, path: str, size: int) -> None:
        found = await self._limited(self._sftp.getsize(path))
        if found != size:
            raise TransientError(f"{found} of {size} bytes arrived")

    async def _rename(self, hidden: str, place: str) -> None:
        try:
            await self._limited(self._sftp.posix_rename(hidden, place))
        except asyncssh.SFTPOpUnsupported:  # such a server cannot replace in one step
            if await self._limited(self._sftp.exists(place)):
                await self._limited(self._sftp.remove(place))
            await self._limited(self._sftp.rename(hidden, place))

    async def _require_folder(self, folder: PurePosixPath, base: PurePosixPath) -> None:
        create = self._access.config.create_directory
        if not create and await self._limited(self._sftp.isdir(str(base))) is False:
            raise asyncssh.SFTPNoSuchPath(f"{base} is not there")
        if create or folder != base:
            await self._limited(self._sftp.makedirs(str(folder), exist_ok=True))

    async def _probe(self, base: PurePosixPath) -> None:
        await self._require_folder(base, base)
        name = str(base / f".reporthub-{secrets.token_hex(8)}.probe")
        async with await self._limited(self._sftp.open(name, "wb")) as out:
            await self._limited(out.write(b"reporthub\n"))
        await self._limited(self._sftp.remove(name))

    async def _limited(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout):
            return await step

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


class _Machine(asyncssh.SSHClient):
    """Decides about the other machine's key, once it has shown it."""

    def __init__(self, known: list[asyncssh.SSHKey], fingerprint: str | None, accepts: bool) -> None:
        self.known = known
        self.accepted: asyncssh.SSHKey | None = None
        self.refused: asyncssh.SSHKey | None = None
        self._fingerprint = fingerprint
        self._accepts = accepts

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - asyncssh's
        """Asked only about keys that are not among the known ones."""
        good = key.get_fingerprint() == self._fingerprint if self._fingerprint else self._accepts
        if good and not self.known:
            self.accepted = key
            return True
        self.refused = key
        return False


def _line(key: asyncssh.SSHKey) -> str:
    """`ssh-ed25519 AAAA…`, without a comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])
