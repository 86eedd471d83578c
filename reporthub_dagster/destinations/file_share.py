"""A mounted folder, or one on an SMB server: files appear there whole, under their own names."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.file_share_settings import FileShareSettings
from reporthub_dagster.destinations.folder import Folder
from reporthub_dagster.destinations.parcel_files import chunks_of, is_same
from reporthub_dagster.plugins import Entry, Registry
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, RenderedFile
from reporthub_dagster.storage.atomic import atomic_file

_SMB: Registry[Destination] = Registry(
    "destination",
    table="report_deliveries",
    column="delivery_config.server",
    entries={"SMB": Entry("reporthub_dagster.destinations.smb:SmbDestination", extra="smb")},
)
"""Loaded for the rows that name a server."""


class FileShareDestination(Destination):
    """Recipients are the rows, each a label or an absolute path instead of `path`; without rows, `path`.

    A row that names a server is delivered by `SmbDestination`.
    """

    method = "file_share"
    repeatable = True

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = FileShareSettings.of_row(delivery.options, delivery.id)
        self._warn(*(f"delivery_config.{key} is not known to file_share" for key in self._config.unknown()))
        self._refuse_url()
        self._folders: dict[str, Folder] = {}
        self._remote = _SMB.get("SMB", row=delivery.id)(delivery, settings) if self._config.is_smb else None
        if self._remote:
            self._warn(*self._remote.warnings)
            return
        for row in delivery.recipients:
            own = Folder(row.value.strip(), "report_delivery_recipients", row.id, "recipient_value")
            if own.template:
                absolute = PurePath(own.template).is_absolute()
                self._folders.setdefault(own.template, own if absolute else self._common_folder())
        if not self._folders:
            common = self._common_folder()
            self._folders[common.template] = common

    def recipients(self) -> tuple[str, ...]:
        """Labels and paths."""
        return self._remote.recipients() if self._remote else tuple(self._folders)

    def server_of(self, recipient: str) -> str | None:
        """The SMB server; a mounted folder has none."""
        return self._remote.server_of(recipient) if self._remote else None

    def templates(self) -> Mapping[str, str]:
        """The paths."""
        if self._remote:
            return self._remote.templates()
        folders = self._folders.values()
        return {f"{folder.table} {folder.row}, {folder.column}": folder.template for folder in folders}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Write every file into each recipient's folder; `detail` says where they are.

        A file of the same name is replaced; with `overwrite` false it is left alone, and the delivery is
        refused unless that file is the same already.
        """
        if self._remote:
            yield from self._remote.send(parcel, recipients)
            return
        for recipient in recipients:
            folder = self._folders.get(recipient)
            if folder is None:
                yield self._stranger(recipient)
            else:
                yield self._attempted(recipient, partial(self._write, parcel, folder))

    def check(self) -> str:
        """Write a probe into every folder and remove it."""
        if self._remote:
            return self._remote.check()
        bases = {folder.base: folder for folder in self._folders.values()}
        for base, folder in bases.items():
            try:
                self._require(base)
                probe = base / f".reporthub-{secrets.token_hex(8)}.probe"
                try:
                    probe.write_bytes(b"reporthub\n")
                finally:
                    probe.unlink(missing_ok=True)
            except OSError as error:
                raise folder.failure(error) from None
        return f"{', '.join(map(str, bases))} can be written"

    def _write(self, parcel: Parcel, folder: Folder) -> str:
        try:
            self._require(folder.base)
            target = folder.filled(self.values(parcel))
            target.mkdir(parents=True, exist_ok=True)
            return ", ".join(str(self._put(file, target)) for file in parcel.files)
        except OSError as error:
            raise folder.failure(error) from None

    def _put(self, file: RenderedFile, folder: Path) -> Path:
        target = folder / file.name
        if PurePath(file.name).name != file.name or file.name in ("", ".."):
            raise PermanentError(f"{file.name!r} is not the name of a file")
        if not self._config.overwrite and target.exists():
            if is_same(target, file):
                return target
            raise PermanentError(f"{target} exists already, and delivery_config.overwrite is false")
        with atomic_file(target) as out:
            for chunk in chunks_of(file):
                out.write(chunk)
        return target

    def _require(self, base: Path) -> None:
        if self._config.create_directory:
            base.mkdir(parents=True, exist_ok=True)
        if not stat.S_ISDIR(base.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _common_folder(self) -> Folder:
        """The one of `delivery_config.path`."""
        path = (self._config.path or "").strip()
        if not path:
            raise self._misconfigured("there is no folder", "path", valid="give the path of a mounted folder")
        if not PurePath(path).is_absolute():
            path = str(Path.cwd() / path)
            self._warn(f"delivery_config.path is not absolute, taken as {path}")
        return Folder(path, "report_deliveries", self.delivery.id, "delivery_config.path")

    def _refuse_url(self) -> None:
        """It may hold a password, so it is never shown."""
        if "://" in (self._config.path or ""):
            raise self._misconfigured(
                "a URL is not a folder", "path", valid="give server, share, username and password beside it"
            )
