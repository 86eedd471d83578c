"""A share of an SMB 3 server, without mounting it: files appear there whole, under their own names."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from smbprotocol.exceptions import SMBException

from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.destinations.carrier import Carrier
from reporthub_dagster.destinations.file_share_settings import FileShareSettings
from reporthub_dagster.destinations.remote_path import RemotePath, override_of
from reporthub_dagster.destinations.smb_errors import translated
from reporthub_dagster.destinations.smb_session import SmbAccess, SmbSession
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt

_FAILURES = (SMBException, OSError, ValueError)
"""What smbprotocol raises; a ValueError when it cannot connect."""


class SmbDestination(Destination):
    """Recipients are the rows, each a label or a path from the share's root; without rows, `path`."""

    method = "file_share"
    repeatable = True

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
            password=config.password.get_secret_value() if config.password else "",
            encrypt=config.encrypt,
            timeout=config.timeout,
            egress=settings.egress,
        )
        self._where = f"\\\\{server}\\{share}"
        self._paths = self._find_paths(path)

    def recipients(self) -> tuple[str, ...]:
        """Labels and paths."""
        return tuple(self._paths)

    def templates(self) -> Mapping[str, str]:
        """The paths."""
        paths = self._paths.values()
        return {f"{path.table} {path.row}, {path.column}": path.template for path in paths}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Put every file where each recipient wants it; a file of the same name is replaced in one step."""
        carrier = Carrier(self._connect)
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
        """Connect, sign in, write a probe into every folder and remove it."""
        carrier = Carrier(self._connect)
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

    def _connect(self) -> SmbSession:
        try:
            return SmbSession(self._access)
        except _FAILURES as error:
            raise translated(error, self._where, self.delivery.id) from None

    def _deliver(self, carrier: Carrier[SmbSession], parcel: Parcel, path: RemotePath) -> str:
        places = path.places(parcel.files, self.values(parcel))
        session = carrier.session()
        for file, place in places:
            try:
                session.put(file, place, path.base, create=self._config.create_directory)
            except _FAILURES as error:
                carrier.close()
                raise self._failure(error, path) from None
        return ", ".join(self._shown(place) for _, place in places)

    def _failure(self, error: Exception, path: RemotePath) -> ReportHubError:
        stands = ConfigurationError(
            "", table=path.table, row=path.row, column=path.column, value=path.template or "\\"
        )
        return translated(error, self._where, self.delivery.id, place=stands)

    def _shown(self, place: PurePosixPath) -> str:
        return "\\".join([self._where, *(part for part in place.parts if part != "/")])

    def _find_paths(self, path: str) -> dict[str, RemotePath]:
        common = RemotePath(path, "report_deliveries", self.delivery.id, "delivery_config.path")
        found: dict[str, RemotePath] = {}
        for row in self.delivery.recipients:
            name = row.value.strip()
            own = override_of(row, "path")
            if own is None and name.startswith(("/", "\\")):
                own = (name, "recipient_value")
            place = common
            if own is not None:
                template = own[0].replace("\\", "/").strip("/")
                place = RemotePath(template, "report_delivery_recipients", row.id, own[1])
            if name:
                found.setdefault(name, place)
        return found or {common.template or self._where: common}
