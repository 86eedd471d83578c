"""SFTP: files appear on the other machine whole, under their own names, over one connection."""

from __future__ import annotations

import asyncssh

from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.carrier import Carrier
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.remote_files import RemoteFiles
from reporthub_dagster.destinations.remote_path import RemotePath
from reporthub_dagster.destinations.sftp_errors import working
from reporthub_dagster.destinations.sftp_session import SftpSession
from reporthub_dagster.destinations.sftp_settings import SftpSettings
from reporthub_dagster.network.ssh_session import Access
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import Delivery, RenderedFile


class SftpDestination(RemoteFiles[Carrier[SftpSession]]):
    """Recipients are the rows, each a label or an absolute path; without rows, `remote_path`."""

    method = "sftp"
    overrides = ("remote_path", "path")

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
        login, refuse_unknown = config.login(delivery.id), settings.refuse_unknown_hosts
        self._access = Access.of(login, settings.egress, settings.host_keys, refuse_unknown=refuse_unknown)
        if self._access.trusted is None and login.fingerprint is None and not refuse_unknown:
            self._warn("delivery_config.host_key is not set: the key of the first connection is kept")
        common = RemotePath(
            config.remote_path, "report_deliveries", delivery.id, "delivery_config.remote_path"
        )
        self._paths = self._find_paths(common, config.host)

    def check(self) -> str:
        """Connect, recognise the machine, sign in, write a probe into every folder and remove it."""
        carrier = self._way()
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

    def server_of(self, recipient: str) -> str:  # noqa: ARG002 - one machine takes all
        """The SFTP server."""
        return f"sftp://{self._config.host.lower()}:{self._config.port}"

    def _way(self) -> Carrier[SftpSession]:
        return Carrier(self._open)

    def _open(self) -> SftpSession:
        session = SftpSession.open(self._access)
        session.create_directory = self._config.create_directory
        return session

    def _deliver(self, way: Carrier[SftpSession], parcel: Parcel, path: RemotePath) -> str:
        places = path.places(parcel.files, self.values(parcel))
        session = way.session()
        for file, place in places:
            try:
                session.put(file, place, path.base)
            except (asyncssh.Error, OSError) as error:
                raise self._failure(error, way, session, path, file) from None
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

    def _is_path(self, name: str) -> bool:
        return name.startswith("/")
