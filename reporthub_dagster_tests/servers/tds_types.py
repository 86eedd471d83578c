"""SQL Server's types as TDS 7.4 carries them ([MS-TDS] 2.2.5.4 to 2.2.5.6), for the stand-in of the tests.

Written from the specification, without a driver's help: what a driver makes of these bytes is what is tested.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

COLLATION = b"\x09\x04\xd0\x00\x34"
_WORD = re.compile(r"(\w+)(?:\((max|\d+)(?:,\s*(\d+))?\))?")
_CLOCK = re.compile(r"([\d:.]*) ?([-+].*)?")
_FIXED = {
    "tinyint": (0x26, 1),
    "smallint": (0x26, 2),
    "int": (0x26, 4),
    "bigint": (0x26, 8),
    "bit": (0x68, 1),
    "real": (0x6D, 4),
    "float": (0x6D, 8),
    "smallmoney": (0x6E, 4),
    "money": (0x6E, 8),
    "smalldatetime": (0x6F, 4),
    "datetime": (0x6F, 8),
    "uniqueidentifier": (0x24, 16),
}
_TEXT = {"char": 0xAF, "varchar": 0xA7, "nchar": 0xEF, "nvarchar": 0xE7}
_BYTES = {"binary": 0xAD, "varbinary": 0xA5}
_TIMES = {"time": 0x29, "datetime2": 0x2A, "datetimeoffset": 0x2B}
_DECIMALS = {0x6A, 0x6C}
_NAMES = {code: word for word, code in (_TEXT | _BYTES | _TIMES).items()}
_MAX = 0xFFFF
_UNKNOWN_LENGTH = 0xFFFF_FFFF_FFFF_FFFE
_UDT, _XML, _VARIANT = 0xF0, 0xF1, 0x62


@dataclass(frozen=True)
class TDSType:
    """A type as SQL Server writes it, `decimal(38,3)`."""

    name: str

    @property
    def _parts(self) -> tuple[str, str, int]:
        found = _WORD.fullmatch(self.name)
        assert found, self.name
        return found[1], found[2] or "", int(found[3] or 0)

    @property
    def info(self) -> bytes:  # noqa: PLR0911 - a line a type
        """TYPE_INFO."""
        word, size, scale = self._parts
        if word in _FIXED:
            return bytes(_FIXED[word])
        if word in ("decimal", "numeric"):
            return bytes((0x6A, 17, int(size), scale))
        if word == "date":
            return b"\x28"
        if word in _TIMES:
            return bytes((_TIMES[word], int(size)))
        if word == "xml":
            return bytes((_XML, 0))
        if word == "sql_variant":
            return struct.pack("<BI", _VARIANT, 8009)
        if word in ("hierarchyid", "geography"):
            names = b"".join(_b_varchar(one) for one in ("master", "sys", word))
            return struct.pack("<BH", _UDT, _MAX) + names + _us_varchar("Microsoft.SqlServer.Types")
        wide = 2 if word.startswith("n") else 1
        length = _MAX if size == "max" else int(size) * wide
        code = _TEXT.get(word) or _BYTES[word]
        return struct.pack("<BH", code, length) + (COLLATION if word in _TEXT else b"")

    def encoded(self, value: Any) -> bytes:
        """A value with its length before it."""
        word, size, scale = self._parts
        partial = size == "max" or word in ("xml", "hierarchyid", "geography")
        if value is None:
            if partial:
                return b"\xff" * 8
            return b"\0\0\0\0" if word == "sql_variant" else b"\xff\xff" if self._two_bytes else b"\0"
        data = self._data(word, size, scale, value)
        if partial:
            chunk = struct.pack("<I", len(data)) + data if data else b""
            return struct.pack("<Q", _UNKNOWN_LENGTH) + chunk + b"\0\0\0\0"
        if word == "sql_variant":
            return struct.pack("<I", len(data)) + data
        return struct.pack("<H" if self._two_bytes else "<B", len(data)) + data

    @property
    def _two_bytes(self) -> bool:
        return self._parts[0] in _TEXT or self._parts[0] in _BYTES

    def _data(self, word: str, size: str, scale: int, value: Any) -> bytes:  # noqa: PLR0911 - as above
        if word in ("tinyint", "smallint", "int", "bigint", "bit"):
            return int(value).to_bytes(_FIXED[word][1], "little", signed=word != "tinyint")
        if word in ("real", "float"):
            return struct.pack("<f" if word == "real" else "<d", value)
        if word in ("decimal", "numeric"):
            return bytes((value >= 0,)) + abs(_scaled(value, scale)).to_bytes(16, "little")
        if word in ("money", "smallmoney"):
            return _money(word, _scaled(value, 4))
        if word in ("datetime", "smalldatetime"):
            return _old_time(word, datetime.fromisoformat(value))
        if word == "date" or word in _TIMES:
            return _new_time(word, int(size or 0), str(value))
        if word == "uniqueidentifier":
            return UUID(str(value)).bytes_le
        if word == "sql_variant":
            return bytes((0x38, 0)) + struct.pack("<i", value)
        if isinstance(value, bytes):
            return value
        return str(value).encode("utf-16le" if word.startswith("n") or word == "xml" else "cp1252")


def read_value(data: bytes, at: int) -> tuple[Any, int]:
    """The value of a parameter whose TYPE_INFO begins at `at`, and where the next thing begins."""
    code = data[at]
    if code in _NAMES and code not in _TIMES.values():
        return _read_long(data, at + 1, code)
    if code == 0x63:  # ntext
        (length,) = struct.unpack_from("<i", data, at + 10)
        start = at + 14
        return (
            (None, start) if length < 0 else (data[start : start + length].decode("utf-16le"), start + length)
        )
    scale = 0
    start = at + 1
    if code in _DECIMALS:
        scale, start = data[at + 3], at + 4
    elif code != 0x28:
        scale, start = data[at + 1], at + 2
    length = data[start]
    raw = data[start + 1 : start + 1 + length]
    return (_short(code, scale, raw) if raw else None), start + 1 + length


def _read_long(data: bytes, at: int, code: int) -> tuple[Any, int]:
    word = _NAMES[code]
    (most,) = struct.unpack_from("<H", data, at)
    at += 2 + (5 if word in _TEXT else 0)
    if most == _MAX:
        raw, at = _chunks(data, at)
    else:
        (length,) = struct.unpack_from("<H", data, at)
        raw = None if length == _MAX else data[at + 2 : at + 2 + length]
        at += 2 + len(raw or b"")
    if raw is None or word in _BYTES:
        return raw, at
    return raw.decode("utf-16le" if word.startswith("n") else "cp1252"), at


def _chunks(data: bytes, at: int) -> tuple[bytes | None, int]:
    if data[at : at + 8] == b"\xff" * 8:
        return None, at + 8
    at += 8
    whole = b""
    while True:
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if not length:
            return whole, at
        whole += data[at : at + length]
        at += length


def _short(code: int, scale: int, raw: bytes) -> Any:  # noqa: PLR0911 - as above
    if code == 0x26:
        return int.from_bytes(raw, "little", signed=len(raw) > 1)
    if code == 0x68:
        return bool(raw[0])
    if code == 0x6D:
        return struct.unpack("<f" if len(raw) == 4 else "<d", raw)[0]
    if code in _DECIMALS:
        digits = str(int.from_bytes(raw[1:], "little"))
        return Decimal((int(not raw[0]), tuple(map(int, digits)), -scale))
    if code == 0x24:
        return UUID(bytes_le=raw)
    if code == 0x28:
        return date.fromordinal(int.from_bytes(raw, "little") + 1)
    return _read_time(code, scale, raw)


def _read_time(code: int, scale: int, raw: bytes) -> Any:
    offset = int.from_bytes(raw[-2:], "little", signed=True) if code == 0x2B else None
    rest = raw[:-2] if offset is not None else raw
    day = rest[-3:] if code != 0x29 else b"\0\0\0"
    ticks = int.from_bytes(rest[: len(rest) - (3 if code != 0x29 else 0)], "little") * 10 ** (7 - scale)
    moment = datetime.combine(date.fromordinal(int.from_bytes(day, "little") + 1), time()) + timedelta(
        microseconds=ticks // 10
    )
    if code == 0x29:
        return moment.time()
    if offset is None:
        return moment
    return moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))


def _scaled(value: Any, scale: int) -> int:
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)
    number = int("".join(map(str, digits))) * 10 ** (exponent + scale)
    return -int(number) if sign else int(number)


def _money(word: str, units: int) -> bytes:
    if word == "smallmoney":
        return struct.pack("<i", units)
    return struct.pack("<iI", units >> 32, units & 0xFFFF_FFFF)


def _old_time(word: str, moment: datetime) -> bytes:
    since = moment - datetime.combine(date(1900, 1, 1), time())
    if word == "smalldatetime":
        return struct.pack("<HH", since.days, since.seconds // 60)
    return struct.pack("<iI", since.days, round((since.seconds + since.microseconds / 1e6) * 300))


def _new_time(word: str, scale: int, text: str) -> bytes:
    """`2024-02-29 12:00:00.1234567 +07:00`, or a part of it."""
    day, _, rest = text.partition(" ") if word != "time" else ("0001-01-01", "", text)
    found = _CLOCK.fullmatch(rest)
    assert found, text
    clock, zone = found.groups()
    whole, _, fraction = (clock or "00:00:00").partition(".")
    moment = datetime.fromisoformat(f"{day} {whole}")
    minutes = 0
    if word == "datetimeoffset":
        away = datetime.fromisoformat(f"2000-01-01T00:00:00{zone or '+00:00'}").utcoffset()
        assert away is not None
        minutes = round(away.total_seconds() / 60)
        moment -= away
    days = (moment.toordinal() - 1).to_bytes(3, "little")
    if word == "date":
        return days
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    ticks = int(seconds * 10**scale) + int(fraction.ljust(scale, "0")[:scale] or 0)
    size = 3 if scale <= 2 else 4 if scale <= 4 else 5
    made = ticks.to_bytes(size, "little")
    if word == "time":
        return made
    return made + days + (struct.pack("<h", minutes) if word == "datetimeoffset" else b"")


def _b_varchar(text: str) -> bytes:
    return bytes((len(text),)) + text.encode("utf-16le")


def _us_varchar(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16le")
