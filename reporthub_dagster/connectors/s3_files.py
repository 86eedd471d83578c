"""Files in S3, and in whatever speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from urllib3.exceptions import HTTPError, ReadTimeoutError

from reporthub_dagster.connectors.file_formats import new_file
from reporthub_dagster.connectors.file_places import FilePlace, RowPlace, fixed_part
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.network.egress import EgressError
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_PIECE = 1 << 20
_MOST_LISTED = 100_000
_HUNG_UP, _SILENT = (f"{word} before everything was there" for word in ("hung up", "fell silent"))
_RIGHTS = ("access_key", "give keys that may list and read it (s3:ListBucket, s3:GetObject)")
_TOKEN = ("session_token", "give a session_token that is valid, or take it out")
_NOT_LET_IN = {
    "InvalidAccessKeyId": ("access_key", "correct access_key: nobody has this one"),
    "SignatureDoesNotMatch": ("secret_key", "correct secret_key: it is not that of this access_key"),
    "ExpiredToken": _TOKEN,
    "InvalidToken": _TOKEN,
    "AccessDenied": _RIGHTS,
    "403": _RIGHTS,
}
"""Code of the server → the key of `connection_config` at fault, and the cure."""
_ABSENT = frozenset({"NoSuchBucket", "404"})
_SERVER_ERROR = 500


class S3Files(FilePlace):
    """The objects of a bucket; `*` stands for anything but a `/`, `**` for that too.

    Args:
        client: boto3's; closed after one fetch or one check.
        bucket: Its name.
        place: For messages.
    """

    def __init__(self, client: Any, bucket: str, place: RowPlace) -> None:
        self._client = client
        self._bucket = bucket
        self._place = place

    def fetch(self, path: str, scratch: Path, budget: Budget) -> dict[Path, str]:
        """See `FilePlace.fetch`."""
        with self._translated():
            prefix = fixed_part(path)
            keys = [key for key in self._keys(prefix) if _fits(key, path)]
            if not keys:
                folder = path.rpartition("/")[0]
                there = [key.rpartition("/")[2] for key in self._keys(prefix.rpartition("/")[0])]
                raise self._place.absent(path.rpartition("/")[2], f"s3://{self._bucket}/{folder}", there)
            return {self._fetched(key, scratch, budget): key for key in keys}

    def check(self, path: str) -> str:
        """See `FilePlace.check`."""
        with self._translated():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=fixed_part(path), MaxKeys=1)
        return f"the bucket {self._bucket} can be listed"

    def _keys(self, prefix: str) -> list[str]:
        keys: list[str] = []
        for page in self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        ):
            keys += [entry["Key"] for entry in page.get("Contents", []) if not entry["Key"].endswith("/")]
            if len(keys) > _MOST_LISTED:
                raise PermanentError(
                    f"more than {_MOST_LISTED:,} objects begin with {prefix}; narrow the path"
                )
        return sorted(keys)

    def _fetched(self, key: str, scratch: Path, budget: Budget) -> Path:
        target = new_file(scratch, key)
        answer = self._client.get_object(Bucket=self._bucket, Key=key)
        with answer["Body"] as source, target.open("wb") as out:
            while piece := source.read1(_PIECE):  # as it comes: the time is looked at with each piece
                budget.spend(len(piece))
                out.write(piece)
        if target.stat().st_size != answer["ContentLength"]:
            raise TransientError(f"the bucket {self._bucket} {_HUNG_UP}")
        return target

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            failure = self._explained(error)
        except HTTPError as error:  # urllib3's, in the middle of a body
            silent = isinstance(error, ReadTimeoutError)
            failure = TransientError(f"the bucket {self._bucket} {_SILENT if silent else _HUNG_UP}")
        else:
            return
        finally:
            self._client.close()
        raise failure from None

    def _explained(self, error: Exception) -> ReportHubError:
        where = f"the bucket {self._bucket}"
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            told = f"{where} answered {status} {code}"
            if code in _NOT_LET_IN:
                key, cure = _NOT_LET_IN[code]
                return self._place.wrong(told, cure, column=f"connection_config.{key}")
            if code in _ABSENT:
                return self._place.wrong(told, "correct the bucket's name")
            return (TransientError if status >= _SERVER_ERROR else PermanentError)(told)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            column = "connection_config.access_key"
            return self._place.wrong(
                f"{where}: there are no credentials", "set access_key and secret_key", column=column
            )
        inner = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, EgressError):
            return inner.located(table="report_datasources", row=self._place.row, column="connection_config")
        return TransientError(f"{where} cannot be reached: {type(error).__name__}")


def _fits(key: str, pattern: str) -> bool:
    """As in a folder: a `*` ends at a `/`, unless it is written twice."""
    if "**" in pattern:
        return fnmatchcase(key, pattern.replace("**/", "*").replace("**", "*"))
    return key.count("/") == pattern.count("/") and fnmatchcase(key, pattern)
