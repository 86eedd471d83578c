"""S3, and whatever speaks its protocol: an object for each file, whole or not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError, InvalidRegionError
from pydantic import AliasChoices, Field

from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.destinations.remote_files import RemoteFiles
from reporthub_dagster.destinations.remote_path import RemotePath
from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.destinations.s3_errors import translated
from reporthub_dagster.network.s3_client import s3_client
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import Delivery, Recipient, RenderedFile
from reporthub_dagster.reporting.redaction import revealed

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


class S3Destination(RemoteFiles[Any]):
    """Recipients are the rows, each a label or a prefix or key of its own (with a `/`); else the bucket's."""

    method = "s3"
    overrides = ("key", "prefix")

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = config = S3Settings.of_row(delivery.options, delivery.id)
        self._warn(*(f"delivery_config.{key} is not known to s3" for key in config.unknown()))
        if not config.bucket:
            raise self._misconfigured("it is missing", "bucket", valid="give the bucket's name")
        if (config.access_key is None) != (config.secret_key is None):
            missing = "secret_key" if config.secret_key is None else "access_key"
            raise self._misconfigured("it is missing", missing, valid="give both, or neither")
        self._paths = self._find_paths(self._common_path(), config.bucket)
        self._client = self._connected()

    def server_of(self, recipient: str) -> str:  # noqa: ARG002 - one endpoint takes all
        """The endpoint."""
        parts = urlsplit(self._client.meta.endpoint_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def publish(self, parcel: Parcel, lifetime: timedelta) -> list[tuple[str, str]]:
        """Put every file there; its name and a link that gives it to whoever has it, for so long.

        Raises:
            ConfigurationError, TransientError, PermanentError: A file cannot be put there.
        """
        with contextlib.closing(self._client):
            places = self._put_all(parcel, self._common_path())
            return [(file.name, self._signed(file, place, lifetime)) for file, place in places]

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

    def _signed(self, file: RenderedFile, place: PurePosixPath, lifetime: timedelta) -> str:
        name = quote(file.name)
        wanted = {
            "Bucket": self._config.bucket,
            "Key": str(place).lstrip("/"),
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{name}",
        }
        seconds = int(lifetime.total_seconds())
        try:
            return str(self._client.generate_presigned_url("get_object", wanted, ExpiresIn=seconds))
        except BotoCoreError as error:
            raise translated(error, self._where, self.delivery.id) from None

    def _way(self) -> Any:
        return self._client

    def _deliver(self, way: Any, parcel: Parcel, path: RemotePath) -> str:  # noqa: ARG002 - the client is one
        places = self._put_all(parcel, path)
        return ", ".join(f"s3://{self._config.bucket}/{place}" for _, place in places)

    def _put_all(self, parcel: Parcel, path: RemotePath) -> list[tuple[RenderedFile, PurePosixPath]]:
        places = path.places(parcel.files, self.values(parcel))
        for file, place in places:
            try:
                self._put(file, place, parcel.execution_id)
            except (ClientError, BotoCoreError, OSError) as error:
                raise translated(error, self._where, self.delivery.id) from None
        return places

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

    def _common_path(self) -> RemotePath:
        config = self._config
        setting = "key" if config.key else "prefix"
        return RemotePath(
            (config.key or config.prefix or "").strip("/"),
            "report_deliveries",
            self.delivery.id,
            f"delivery_config.{setting}",
            names_file=bool(config.key),
        )

    def _is_path(self, name: str) -> bool:
        return "/" in name

    def _own_path(self, row: Recipient, template: str, column: str) -> RemotePath:
        own = template.removeprefix(f"s3://{self._config.bucket}").strip("/")
        is_key = column.endswith(".key") or row.kind.lower() == "key"
        return replace(super()._own_path(row, own, column), names_file=is_key)

    def _connected(self) -> Any:
        config = self._config
        try:
            return s3_client(
                self.settings.egress,
                self.settings.timeout_seconds,
                region=config.region,
                endpoint_url=config.endpoint_url,
                access_key=revealed(config.access_key),
                secret_key=revealed(config.secret_key),
                session_token=revealed(config.session_token),
                ca_file=config.tls_ca_file,
            )
        except InvalidRegionError as error:
            raise self._misconfigured(str(error), "region", valid="for example eu-central-1") from None
        except (ValueError, BotoCoreError) as error:
            raise self._misconfigured(
                f"it is not usable: {error}", "endpoint_url", valid="give https://host[:port]"
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
