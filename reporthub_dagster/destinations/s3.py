"""S3, and whatever speaks its protocol: an object for each file, whole or not there."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AliasChoices, Field

from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.destinations.remote_path import RemotePath, override_of
from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.destinations.s3_client import s3_client, translated
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, RenderedFile

PART = 16 << 20
"""Bytes of a part; a file that is larger goes in parts. The protocol takes 10,000 of them."""

Acl = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
]


class S3Settings(RowSettings):
    """Every key of an S3 row.

    Attributes:
        key: The object's key, a template; with several files it holds `{{file_name}}`.
        prefix: Instead of `key`: the folder, a template, that the file's name is added to.
        endpoint_url: Of a server that is not Amazon's.
        access_key: With `secret_key`; without them, the credentials of the environment.
    """

    bucket: str = ""
    key: str | None = None
    prefix: str | None = None
    region: str | None = Field(None, validation_alias=AliasChoices("region", "region_name"))
    endpoint_url: str | None = None
    access_key: Secret | None = Field(
        None, validation_alias=AliasChoices("access_key", "aws_access_key_id", "access_key_id")
    )
    secret_key: Secret | None = Field(
        None, validation_alias=AliasChoices("secret_key", "aws_secret_access_key", "secret_access_key")
    )
    session_token: Secret | None = None
    acl: Acl | None = None
    tls_ca_file: str | None = None


class S3Destination(Destination):
    """Recipients are the rows, each a label or a prefix or key of its own (with a `/`); else the bucket's."""

    method = "s3"
    repeatable = True

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = config = S3Settings.of_row(delivery.options, delivery.id)
        self._warn(*(f"delivery_config.{key} is not known to s3" for key in config.unknown()))
        if not config.bucket:
            raise self._misconfigured("it is missing", "bucket", valid="give the bucket's name")
        if (config.access_key is None) != (config.secret_key is None):
            missing = "secret_key" if config.secret_key is None else "access_key"
            raise self._misconfigured("it is missing", missing, valid="give both, or neither")
        self._paths = self._find_paths()
        self._client = self._connected()

    def recipients(self) -> tuple[str, ...]:
        """Labels, prefixes and keys."""
        return tuple(self._paths)

    def templates(self) -> Mapping[str, str]:
        """The keys and prefixes."""
        paths = self._paths.values()
        return {f"{path.table} {path.row}, {path.column}": path.template for path in paths}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Put every file where each recipient wants it; an object of the same key is replaced."""
        with contextlib.closing(self._client):
            for recipient in recipients:
                path = self._paths.get(recipient)
                if path is None:
                    yield self._stranger(recipient)
                else:
                    yield self._attempted(recipient, partial(self._deliver, parcel, path))

    def check(self) -> str:
        """Begin an upload below every prefix and abort it: nothing is left, and no event is set off."""
        for base in dict.fromkeys(path.base for path in self._paths.values()):
            key = str(base / ".reporthub-probe")
            try:
                started = self._client.create_multipart_upload(Bucket=self._config.bucket, Key=key)
                self._client.abort_multipart_upload(
                    Bucket=self._config.bucket, Key=key, UploadId=started["UploadId"]
                )
            except (ClientError, BotoCoreError, OSError) as error:
                raise translated(error, self._where, self.delivery.id) from None
        return f"{self._where} takes uploads"

    @property
    def _where(self) -> str:
        return f"the bucket {self._config.bucket}"

    def _deliver(self, parcel: Parcel, path: RemotePath) -> str:
        places = path.places(parcel.files, self.values(parcel))
        for file, place in places:
            try:
                self._put(file, place, parcel.execution_id)
            except (ClientError, BotoCoreError, OSError) as error:
                raise translated(error, self._where, self.delivery.id) from None
        return ", ".join(f"s3://{self._config.bucket}/{place}" for _, place in places)

    def _put(self, file: RenderedFile, place: PurePosixPath, execution_id: str) -> None:
        common = {"Bucket": self._config.bucket, "Key": str(place).lstrip("/")}
        about: dict[str, Any] = {
            **common,
            "ContentType": file.media_type,
            "Metadata": {"execution-id": execution_id, "sha256": file.sha256},
        }
        if self._config.acl:
            about["ACL"] = self._config.acl
        if file.size > PART:
            self._put_in_parts(file, about, common)
        else:
            self._client.put_object(**about, Body=b"".join(chunks_of(file)))
        size = self._client.head_object(**common)["ContentLength"]
        if size != file.size:
            raise TransientError(f"{self._where}: {size} of {file.size} bytes arrived")

    def _put_in_parts(self, file: RenderedFile, about: dict[str, Any], common: dict[str, str]) -> None:
        """What is not completed is aborted: parts that are left cost money and nobody sees them."""
        upload = {**common, "UploadId": self._client.create_multipart_upload(**about)["UploadId"]}
        try:
            parts = [
                {
                    "PartNumber": number,
                    "ETag": self._client.upload_part(**upload, PartNumber=number, Body=piece)["ETag"],
                }
                for number, piece in enumerate(_parts(file), start=1)
            ]
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(ClientError, BotoCoreError, OSError):
                self._client.abort_multipart_upload(**upload)
            raise

    def _find_paths(self) -> dict[str, RemotePath]:
        config, table = self._config, "report_deliveries"
        setting = "key" if config.key else "prefix"
        common = RemotePath(
            (config.key or config.prefix or "").strip("/"),
            table,
            self.delivery.id,
            f"delivery_config.{setting}",
            names_file=bool(config.key),
        )
        found: dict[str, RemotePath] = {}
        for row in self.delivery.recipients:
            name = row.value.strip()
            own = override_of(row, "key", "prefix")
            if own is None and "/" in name:
                own = (name, "recipient_value")
            place = common
            if own is not None:
                is_key = own[1].endswith(".key") or row.kind.lower() == "key"
                template = own[0].removeprefix(f"s3://{config.bucket}").strip("/")
                place = RemotePath(template, "report_delivery_recipients", row.id, own[1], names_file=is_key)
            if name:
                found.setdefault(name, place)
        return found or {common.template or config.bucket: common}

    def _connected(self) -> Any:
        config = self._config
        try:
            return s3_client(
                self.settings.egress,
                self.settings.timeout_seconds,
                region=config.region,
                endpoint_url=config.endpoint_url,
                access_key=config.access_key.get_secret_value() if config.access_key else None,
                secret_key=config.secret_key.get_secret_value() if config.secret_key else None,
                session_token=config.session_token.get_secret_value() if config.session_token else None,
                ca_file=config.tls_ca_file,
            )
        except (ValueError, BotoCoreError) as error:
            raise self._misconfigured(
                f"it is not usable: {error}", "endpoint_url", valid="give https://host[:port], and the region"
            ) from None


def _parts(file: RenderedFile) -> Iterator[bytes]:
    """The file in pieces of `PART` bytes; the last one comes when the whole file is what was rendered."""
    held = bytearray()
    for chunk in chunks_of(file):
        if len(held) + len(chunk) > PART:
            yield bytes(held)
            held.clear()
        held += chunk
    yield bytes(held)
