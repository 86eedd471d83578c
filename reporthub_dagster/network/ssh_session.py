"""One SSH connection to a machine that is recognised, with SFTP on it; every step has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import asyncssh

from reporthub_dagster.network.egress import EgressError, EgressPolicy
from reporthub_dagster.network.ssh_errors import changed_key, connecting, unknown_key
from reporthub_dagster.network.ssh_login import SshLogin, client_key, given_keys
from reporthub_dagster.reporting.host_keys import HostKeys

T = TypeVar("T")
_CLEAN_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Access:
    """How one row gets in.

    Attributes:
        key: Private key, if one is used.
        trusted: Keys that a person gave for the machine; None when they gave none.
        host_keys: Keys of machines that were connected to; None where nothing can be kept.
        refuse_unknown: A machine whose key nobody gave is not connected to.
    """

    login: SshLogin
    key: asyncssh.SSHKey | None = field(repr=False)
    trusted: list[asyncssh.SSHKey] | None
    egress: EgressPolicy
    host_keys: HostKeys | None
    refuse_unknown: bool

    @classmethod
    def of(
        cls, login: SshLogin, egress: EgressPolicy, host_keys: HostKeys | None, *, refuse_unknown: bool
    ) -> Self:
        """With the keys read.

        Raises:
            ConfigurationError: A key cannot be read.
        """
        return cls(login, client_key(login), given_keys(login), egress, host_keys, refuse_unknown)


class SshSession:
    """A connection, signed in.

    Attributes:
        note: What a receipt should say about the machine's key, or empty.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._timeout = access.login.timeout
        self._runner = asyncio.Runner()
        self._connection: asyncssh.SSHClientConnection | None = None
        self.sftp: asyncssh.SFTPClient
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
        login = self._access.login
        version = self._connection and self._connection.get_extra_info("server_version")
        return f"{login.host}:{login.port} answered as {version}, signed in as {login.username}"

    def _begin(self) -> None:
        access, login = self._access, self._access.login
        machine = _Machine(self._known_keys(), login.fingerprint, self._accepts_unknown)
        try:
            socket = access.egress.connect(login.host, login.port, self._timeout)
            socket.setblocking(False)
            self._connection = self.run(self.limited(self._connect(machine, socket)))
            self.sftp = self.run(self.limited(self._connection.start_sftp_client()))
        except EgressError as error:
            raise error from None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            if machine.refused:
                raise self._refusal(machine.refused) from None
            raise connecting(error, login, pinned=bool(machine.known)) from None
        if machine.accepted:
            self._pin(machine.accepted)

    def _known_keys(self) -> list[asyncssh.SSHKey]:
        access = self._access
        if access.trusted is not None:
            return access.trusted
        store = access.host_keys
        pinned = store.find(access.login.host, access.login.port) if store else None
        return [asyncssh.import_public_key(pinned)] if pinned else []

    @property
    def _accepts_unknown(self) -> bool:
        return self._access.host_keys is not None and not self._access.refuse_unknown

    def _pin(self, key: asyncssh.SSHKey) -> None:
        store, login = self._access.host_keys, self._access.login
        line = _line(key)
        if store is None or login.fingerprint:
            return
        if store.pin(login.host, login.port, line, datetime.now(UTC)) != line:
            raise self._refusal(key)
        self.note = f"first connection: host key {key.get_fingerprint()} is kept from now on"

    def _refusal(self, key: asyncssh.SSHKey) -> Exception:
        access = self._access
        known = self._known_keys()
        if known or access.login.fingerprint:
            return changed_key(key, access.login, given=access.trusted is not None)
        return unknown_key(key, access.login)

    async def _connect(self, machine: _Machine, socket: Any) -> asyncssh.SSHClientConnection:
        access, login = self._access, self._access.login
        return await asyncssh.connect(
            login.host,
            login.port,
            sock=socket,
            client_factory=lambda: machine,
            known_hosts=(machine.known, [], []),
            username=login.username,
            password=login.password,
            client_keys=[access.key] if access.key else None,
            agent_path=None,
            config=None,
            login_timeout=self._timeout,
            keepalive_interval=self._timeout,
        )

    async def limited(self, step: Awaitable[T]) -> T:
        """A step within the time for an answer."""
        async with asyncio.timeout(self._timeout):
            return await step

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The end of some work."""
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
