"""The ZIP file that a workbook is: parts are deflated as they come, their headers completed afterwards.

Written after PKWARE's APPNOTE 6.3.10 and ECMA-376 part 2. Sizes are filled in once a part is whole, so no
reader meets a data descriptor; room for ZIP64 sizes is kept in each header as the growth hint of OPC
(0xA220), and used only by a part of 4 GiB or more. Every part has the same time: the same report is the
same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from isal import isal_zlib

_IN_ZIP64 = 0xFFFFFFFF
_LARGE = _IN_ZIP64
"""From here on a size or a place stands in a ZIP64 record."""
_VERSION, _VERSION_ZIP64 = 20, 45
_UTF8_NAMES = 1 << 11
_DEFLATED = 8
_FIRST_DAY = 1 << 5 | 1  # 1980-01-01, where the format's calendar begins
_HEADER = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_SIZES64 = struct.Struct("<HHQQ")
_HINT = struct.pack("<HHHH12x", 0xA220, 16, 0xA028, 0)
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class _Part:
    name: bytes
    offset: int
    crc: int
    packed: int
    size: int

    @property
    def is_large(self) -> bool:
        return max(self.packed, self.size, self.offset) >= _LARGE


class Package:
    """A package that is written to a seekable file, part after part; `close` completes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: list[_Part] = []

    def add(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write one part.

        Raises:
            OSError: The file cannot be written.
        """
        file, offset = self._file, self._file.tell()
        part = _Part(name.encode(), offset, 0, 0, 0)
        file.write(_header(part))
        packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
        crc = size = 0
        for chunk in chunks:
            crc = isal_zlib.crc32(chunk, crc)
            size += len(chunk)
            file.write(packer.compress(chunk))
        file.write(packer.flush())
        end = file.tell()
        part = _Part(part.name, offset, crc, end - offset - len(_header(part)), size)
        file.seek(offset)
        file.write(_header(part))
        file.seek(end)
        self._parts.append(part)

    def close(self) -> None:
        """Write the directory of all parts."""
        start = self._file.tell()
        for part in self._parts:
            self._file.write(_entry(part))
        end = self._file.tell()
        size, count = end - start, len(self._parts)
        if start >= _LARGE:
            self._file.write(
                _END64.pack(b"PK\6\6", 44, _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, count, count, size, start)
                + _LOCATOR64.pack(b"PK\6\7", 0, end, 1)
            )
        self._file.write(
            _END.pack(b"PK\5\6", 0, 0, count, count, size, _IN_ZIP64 if start >= _LARGE else start, 0)
        )


def _header(part: _Part) -> bytes:
    large = max(part.packed, part.size) >= _LARGE
    extra = _SIZES64.pack(1, 16, part.size, part.packed) if large else _HINT
    packed, size = (_IN_ZIP64, _IN_ZIP64) if large else (part.packed, part.size)
    return (
        _HEADER.pack(
            b"PK\3\4",
            _VERSION_ZIP64 if large else _VERSION,
            _UTF8_NAMES,
            _DEFLATED,
            0,
            _FIRST_DAY,
            part.crc,
            packed,
            size,
            len(part.name),
            len(extra),
        )
        + part.name
        + extra
    )


def _entry(part: _Part) -> bytes:
    large = part.is_large
    version = _VERSION_ZIP64 if large else _VERSION
    extra = struct.pack("<HHQQQ", 1, 24, part.size, part.packed, part.offset) if large else b""
    packed, size, offset = (_IN_ZIP64,) * 3 if large else (part.packed, part.size, part.offset)
    return (
        _ENTRY.pack(
            b"PK\1\2",
            version,
            version,
            _UTF8_NAMES,
            _DEFLATED,
            0,
            _FIRST_DAY,
            part.crc,
            packed,
            size,
            len(part.name),
            len(extra),
            0,
            0,
            0,
            0,
            offset,
        )
        + part.name
        + extra
    )
