"""One SMB 3 connection with a cache of its own: encrypted, every step under a time limit."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import smbclient

from reporthub_dagster.destinations.carrier import Session
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import RenderedFile


@dataclass(frozen=True, slots=True)
class SmbAccess:
    """How one delivery gets in.

    Attributes:
        timeout: Seconds for connecting and for each answer.
    """

    server: str
    share: str
    port: int
    username: str
    password: str = field(repr=False)
    encrypt: bool
    timeout: float
    egress: EgressPolicy = field(repr=False)


class SmbSession(Session):
    """A connection, signed in; smbprotocol's exceptions and OSErrors pass, see `smb_errors`."""

    def __init__(self, access: SmbAccess) -> None:
        self._access = access
        self._cache: dict[str, Any] = {}
        self._connection: Any = None
        self._address = self._checked_address()
        smbclient.ClientConfig(skip_dfs=True)  # a referral would lead to a server that nobody checked
        with self._limited():
            smbclient.register_session(
                self._address,
                username=access.username,
                password=access.password,
                port=access.port,
                encrypt=access.encrypt,
                connection_timeout=int(access.timeout) or 1,
                connection_cache=self._cache,
                auth_protocol="ntlm",
            )
        (self._connection,) = self._cache.values()

    def close(self) -> None:
        """End the connection, in whatever state it is."""
        with contextlib.suppress(Exception), self._limited():  # it may be broken in any way
            smbclient.reset_connection_cache(fail_on_error=False, connection_cache=self._cache)
        self._cut()

    def put(self, file: RenderedFile, place: PurePosixPath, base: PurePosixPath, *, create: bool) -> None:
        """Write under a name that nobody looks for, check the size, rename in one step.

        Args:
            file: What is written.
            place: Where it goes, from the share's root.
            base: The part of `place` that must be there already, unless `create`.
            create: Make the whole folder.
        """
        self._require_folder(place.parent, base, create=create)
        hidden = self._unc(place.parent / f".reporthub-{secrets.token_hex(8)}.part")
        try:
            self._write(hidden, file)
            with self._limited():
                smbclient.replace(hidden, self._unc(place), **self._options)
        except BaseException:
            with contextlib.suppress(Exception), self._limited():  # the connection may be gone
                smbclient.remove(hidden, **self._options)
            raise

    def probe(self, base: PurePosixPath, *, create: bool) -> None:
        """Write a file into a folder and remove it."""
        self._require_folder(base, base, create=create)
        name = self._unc(base / f".reporthub-{secrets.token_hex(8)}.probe")
        with self._limited():
            with smbclient.open_file(name, mode="wb", **self._options) as out:
                out.write(b"reporthub\n")
            smbclient.remove(name, **self._options)

    def _write(self, hidden: str, file: RenderedFile) -> None:
        with self._limited():
            out = smbclient.open_file(hidden, mode="wb", buffering=0, **self._options)
        try:
            for chunk in chunks_of(file):
                with self._limited():
                    _write_all(out, chunk)
        finally:
            self._close(out)
        with self._limited():
            size = smbclient.stat(hidden, **self._options).st_size
        if size != file.size:
            raise TransientError(f"{size} of {file.size} bytes arrived")

    def _close(self, out: Any) -> None:
        try:
            with self._limited():
                out.close()
        except BaseException:
            out.fd._connected = False  # noqa: SLF001 - the handle went with its connection
            raise

    def _require_folder(self, folder: PurePosixPath, base: PurePosixPath, *, create: bool) -> None:
        with self._limited():
            if not create:
                smbclient.stat(self._unc(base), **self._options)
            if create or folder != base:
                smbclient.makedirs(self._unc(folder), exist_ok=True, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {"port": self._access.port, "connection_cache": self._cache}

    def _unc(self, path: PurePosixPath) -> str:
        parts = [part for part in path.parts if part != "/"]
        return "\\\\" + "\\".join([self._address, self._access.share, *parts])

    def _checked_address(self) -> str:
        """The address that the policy has checked; a UNC path has no room for IPv6, which stays a name."""
        access = self._access
        addresses = [a[0] for _, a in access.egress.addresses(access.server, access.port, guarded=False)]
        return next((address for address in addresses if ":" not in address), access.server)

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Cut the connection when a step takes too long: smbprotocol itself would wait for minutes.

        A connection that is lost stays lost: smbclient would make another one, signed in as nobody.
        """
        self._require_connection()
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            self._cut()

        timer = threading.Timer(self._access.timeout, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception:
            if overdue.is_set():
                raise TimeoutError from None
            self._require_connection()
            raise
        finally:
            timer.cancel()

    def _require_connection(self) -> None:
        if self._connection is not None and not self._connection.transport.connected:
            raise ConnectionResetError("the connection is lost") from None

    def _cut(self) -> None:
        for connection in list(self._cache.values()):
            with contextlib.suppress(Exception):  # it may be closed already
                connection.transport.close()


def _write_all(out: Any, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[out.write(view) :]
