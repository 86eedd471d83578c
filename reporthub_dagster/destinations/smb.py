"""A share of an SMB 3 server, without mounting it: files appear there whole, under their own names."""

from __future__ import annotations

from pathlib import PurePosixPath

from smbprotocol.exceptions import SMBException

from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.carrier import Carrier
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.file_share_settings import FileShareSettings
from reporthub_dagster.destinations.remote_files import RemoteFiles
from reporthub_dagster.destinations.remote_path import RemotePath
from reporthub_dagster.destinations.smb_errors import translated
from reporthub_dagster.destinations.smb_session import SmbAccess, SmbSession
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import Delivery, Recipient
from reporthub_dagster.reporting.redaction import revealed

_FAILURES = (SMBException, OSError, ValueError)
"""What smbprotocol raises; a ValueError when it cannot connect."""


class SmbDestination(RemoteFiles[Carrier[SmbSession]]):
    """Recipients are the rows, each a label or a path from the share's root; without rows, `path`."""

    method = "file_share"
    overrides = ("path",)

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = config = FileShareSettings.of_row(delivery.options, delivery.id)
        server, share, path = config.location()
        for name, value in (("server", server), ("share", share), ("username", config.username)):
            if not value:
                raise self._misconfigured("it is missing", name, valid="SMB needs server, share and username")
        if not config.encrypt:
            self._warn("delivery_config.encrypt is false: the files travel unencrypted")
        user = f"{config.domain}\\{config.username}" if config.domain else str(config.username)
        self._access = SmbAccess(
            server=server,
            share=share,
            port=config.port,
            username=user,
            password=revealed(config.password) or "",
            encrypt=config.encrypt,
            timeout=config.timeout,
            egress=settings.egress,
        )
        self._where = f"\\\\{server}\\{share}"
        common = RemotePath(path, "report_deliveries", delivery.id, "delivery_config.path")
        self._paths = self._find_paths(common, self._where)

    def check(self) -> str:
        """Connect, sign in, write a probe into every folder and remove it."""
        carrier = self._way()
        try:
            session = carrier.session()
            for path in {path.base: path for path in self._paths.values()}.values():
                try:
                    session.probe(path.base, create=self._config.create_directory)
                except _FAILURES as error:
                    raise self._failure(error, path) from None
        finally:
            carrier.close()
        return f"{self._where} can be written"

    def server_of(self, recipient: str) -> str:  # noqa: ARG002 - one server has all
        """The SMB server."""
        return f"smb://{self._access.server.lower()}:{self._access.port}"

    def _connect(self) -> SmbSession:
        try:
            return SmbSession(self._access)
        except _FAILURES as error:
            raise translated(error, self._where, self.delivery.id) from None

    def _way(self) -> Carrier[SmbSession]:
        return Carrier(self._connect)

    def _deliver(self, way: Carrier[SmbSession], parcel: Parcel, path: RemotePath) -> str:
        places = path.places(parcel.files, self.values(parcel))
        session = way.session()
        for file, place in places:
            try:
                session.put(file, place, path.base, create=self._config.create_directory)
            except _FAILURES as error:
                way.close()
                raise self._failure(error, path) from None
        return ", ".join(self._shown(place) for _, place in places)

    def _failure(self, error: Exception, path: RemotePath) -> ReportHubError:
        stands = ConfigurationError(
            "", table=path.table, row=path.row, column=path.column, value=path.template or "\\"
        )
        return translated(error, self._where, self.delivery.id, place=stands)

    def _shown(self, place: PurePosixPath) -> str:
        return "\\".join([self._where, *(part for part in place.parts if part != "/")])

    def _is_path(self, name: str) -> bool:
        return name.startswith(("/", "\\"))

    def _own_path(self, row: Recipient, template: str, column: str) -> RemotePath:
        return super()._own_path(row, template.replace("\\", "/").strip("/"), column)
