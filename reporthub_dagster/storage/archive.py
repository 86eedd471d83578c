"""Compressed files: one gzip a file, or one zip for all of them, read and written in pieces.

Without a password the same files give the same bytes: nothing of the machine goes in. With one they do not,
since AES takes a new salt for every member.
"""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO

from reporthub_dagster.storage.atomic import atomic_file

GZIP_MEDIA_TYPE = "application/gzip"
ZIP_MEDIA_TYPE = "application/zip"
_PIECE = 1 << 20
_UNIX = 3
_READABLE_BY_ALL = 0o100644 << 16
_FIRST_YEAR, _LAST_YEAR = 1980, 2107
"""What a zip's time has room for."""


def gzip_file(source: Path, target: Path) -> None:
    """Write `target`, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with (
        source.open("rb") as original,
        atomic_file(target) as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
    ):
        shutil.copyfileobj(original, packed, _PIECE)


def zip_files(
    sources: Sequence[Path], target: Path, *, moment: datetime, password: bytes | None = None
) -> None:
    """Write all files into one zip, whole or not at all; members of any size (ZIP64).

    Args:
        sources: The files; the names of the members are theirs.
        target: The zip.
        moment: What the members show as their time.
        password: With one, members are encrypted as WinZip does it (AES-256, AE-2); their names stay
            readable.

    Raises:
        OSError: It cannot be written.
    """
    with atomic_file(target) as file, _opened(file, password) as archive:
        for source in sources:
            with source.open("rb") as original, _member(archive, source, moment) as member:
                shutil.copyfileobj(original, member, _PIECE)


def _opened(file: BinaryIO, password: bytes | None) -> zipfile.ZipFile:
    if password is None:
        return zipfile.ZipFile(file, "w")
    import pyzipper  # noqa: PLC0415 - its ciphers are slow to load, and few reports have a password

    archive: zipfile.ZipFile = pyzipper.AESZipFile(file, "w", encryption=pyzipper.WZ_AES)
    archive.setpassword(password)
    return archive


def _member(archive: zipfile.ZipFile, source: Path, moment: datetime) -> IO[bytes]:
    kind: type[zipfile.ZipInfo] = getattr(archive, "zipinfo_cls", zipfile.ZipInfo)
    year = min(max(moment.year, _FIRST_YEAR), _LAST_YEAR)
    at = (year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    info = kind(source.name, at)
    info.file_size = source.stat().st_size  # decides whether the member is ZIP64
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = _READABLE_BY_ALL
    return archive.open(info, "w")
