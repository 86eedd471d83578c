"""SFTP: files appear on the other machine whole, under their own names, over one connection."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial

import asyncssh

from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.destinations.carrier import Carrier
from reporthub_dagster.destinations.remote_path import RemotePath, override_of
from reporthub_dagster.destinations.sftp_errors import working
from reporthub_dagster.destinations.sftp_session import Access, SftpSession
from reporthub_dagster.destinations.sftp_settings import SftpSettings, client_key, given_keys
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, RenderedFile


class SftpDestination(Destination):
    """Recipients are the rows, each a label or an absolute path; without rows, `remote_path`."""

    method = "sftp"
    repeatable = True

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = config = SftpSettings.of_row(delivery.options, delivery.id)
        self._warn(*(f"delivery_config.{key} is not known to sftp" for key in config.unknown()))
        for name in ("host", "username"):
            if not getattr(config, name).strip():
                raise self._misconfigured("it is missing", name, valid="give the machine, and who signs in")
        if config.password is None and config.private_key is None:
            raise self._misconfigured(
                "there is nothing to sign in with", "password", valid="or set private_key"
            )
        trusted = given_keys(config, delivery.id)
        if trusted is None and config.fingerprint is None and not settings.refuse_unknown_hosts:
            self._warn("delivery_config.host_key is not set: the key of the first connection is kept")
        key = client_key(config, delivery.id)
        self._access = Access(config, key, trusted, delivery.id, settings)
        self._paths = self._find_paths()

    def recipients(self) -> tuple[str, ...]:
        """Labels and paths."""
        return tuple(self._paths)

    def templates(self) -> Mapping[str, str]:
        """The paths."""
        paths = self._paths.values()
        return {f"{path.table} {path.row}, {path.column}": path.template for path in paths}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Put every file where each recipient wants it; a file of the same name is replaced in one step."""
        carrier = Carrier(partial(SftpSession.open, self._access))
        try:
            for recipient in recipients:
                path = self._paths.get(recipient)
                if path is None:
                    yield self._stranger(recipient)
                else:
                    yield self._attempted(recipient, partial(self._deliver, carrier, parcel, path))
        finally:
            carrier.close()

    def check(self) -> str:
        """Connect, recognise the machine, sign in, write a probe into every folder and remove it."""
        carrier = Carrier(partial(SftpSession.open, self._access))
        try:
            session = carrier.session()
            for path in {path.base: path for path in self._paths.values()}.values():
                try:
                    session.probe(path.base)
                except (asyncssh.Error, OSError) as error:
                    raise working(error, path, self._config, free=None, needed=0) from None
            return "; ".join(filter(None, (session.describe(), session.note)))
        finally:
            carrier.close()

    def _deliver(self, carrier: Carrier[SftpSession], parcel: Parcel, path: RemotePath) -> str:
        places = path.places(parcel.files, self.values(parcel))
        session = carrier.session()
        for file, place in places:
            try:
                session.put(file, place, path.base)
            except (asyncssh.Error, OSError) as error:
                raise self._failure(error, carrier, session, path, file) from None
        told = f"{self._config.host}: {', '.join(str(place) for _, place in places)}"
        return f"{told} ({session.note})" if session.note else told

    def _failure(
        self,
        error: Exception,
        carrier: Carrier[SftpSession],
        session: SftpSession,
        path: RemotePath,
        file: RenderedFile,
    ) -> ReportHubError:
        free = session.free_bytes(path.base) if isinstance(error, asyncssh.SFTPFailure) else None
        if not isinstance(error, asyncssh.SFTPError):
            carrier.close()
        return working(error, path, self._config, free=free, needed=file.size)

    def _find_paths(self) -> dict[str, RemotePath]:
        common = RemotePath(
            self._config.remote_path, "report_deliveries", self.delivery.id, "delivery_config.remote_path"
        )
        found: dict[str, RemotePath] = {}
        for row in self.delivery.recipients:
            name = row.value.strip()
            own = override_of(row, "remote_path", "path")
            if own is None and name.startswith("/"):
                own = (name, "recipient_value")
            place = RemotePath(own[0], "report_delivery_recipients", row.id, own[1]) if own else common
            if name:
                found.setdefault(name, place)
        return found or {common.template or self._config.host: common}
