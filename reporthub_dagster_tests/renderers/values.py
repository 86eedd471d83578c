"""A value of every type that connectors produce, hostile ones too, and what each format makes of it."""

# ruff: noqa: DTZ001, RUF001 - timestamps without a zone and letters that look alike are what is tested

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from reporthub_dagster.storage.spool import text_field

FORTY_THOUSAND = "x" * 40_000
LONG_DIGITS = "1234567890" * 3 + "12345." + "0987654321" * 3  # 65 of them
NAIVE = pa.timestamp("us")
INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Value:
    """A cell.

    Attributes:
        text: What csv, html and pdf show, and json and xlsx, too, unless `formats` says otherwise.
        formats: What a reader of that format gets instead; jsonl is as json, parquet has the value itself.
    """

    name: str
    type: pa.DataType | pa.Field
    value: Any
    text: str
    formats: dict[str, Any] = field(default_factory=dict)

    @property
    def field(self) -> pa.Field:
        return self.type if isinstance(self.type, pa.Field) else pa.field("value", self.type)

    def expected(self, kind: str) -> Any:
        if kind == "parquet":
            value = pa.scalar(self.value, self.field.type).as_py()
            return value if not isinstance(value, float) or math.isfinite(value) else self.text
        return self.formats.get("json" if kind == "jsonl" else kind, self.text)


def number(name: str, kind: pa.DataType | pa.Field, value: Any, text: str, **formats: Any) -> Value:
    """A value that json has as an exact number and xlsx, too, unless it says otherwise."""
    return Value(name, kind, value, text, {"json": Decimal(text), "xlsx": Decimal(text)} | formats)


def text(name: str, value: str, **formats: Any) -> Value:
    """Plain text, the same in every format unless it says otherwise."""
    return Value(name, pa.utf8(), value, value, formats)


DECIMAL_TEXT = text_field("value", "decimal")
JSON_TEXT = text_field("value", "json")

VALUES = [
    number("int8", pa.int8(), -128, "-128"),
    number("uint16", pa.uint16(), 65_535, "65535"),
    number("int32", pa.int32(), -(2**31), "-2147483648"),
    number("15 digits", pa.int64(), 999_999_999_999_999, "999999999999999"),
    number("16 digits", pa.int64(), 10**15, "1000000000000000", xlsx="1000000000000000"),
    number("int64 least", pa.int64(), -(2**63), "-9223372036854775808", xlsx="-9223372036854775808"),
    number("uint64 2^63", pa.uint64(), 2**63, "9223372036854775808", xlsx="9223372036854775808"),
    number("uint64 small", pa.uint64(), 7, "7"),
    number("float32", pa.float32(), 0.1, "0.1", xlsx=0.1),
    number("float64", pa.float64(), 0.1 + 0.2, "0.30000000000000004", xlsx=0.30000000000000004),
    number("float64 large", pa.float64(), 1e300, "1e+300", xlsx=1e300),
    Value("nan", pa.float64(), float("nan"), "NaN"),
    Value("inf", pa.float64(), float("inf"), "Infinity"),
    Value("-inf", pa.float32(), float("-inf"), "-Infinity"),
    number("decimal", pa.decimal128(12, 2), Decimal("1234.50"), "1234.50"),
    number("decimal whole", pa.decimal128(20, 0), Decimal(42), "42"),
    number("decimal tiny", pa.decimal128(20, 10), Decimal("0.0000000001"), "0.0000000001", xlsx=1e-10),
    number(
        "decimal 16 digits",
        pa.decimal128(18, 2),
        Decimal("12345678901234.56"),
        "12345678901234.56",
        xlsx="12345678901234.56",
    ),
    number("decimal 65", pa.decimal256(65, 30), Decimal(LONG_DIGITS), LONG_DIGITS, xlsx=LONG_DIGITS),
    number("decimal text", DECIMAL_TEXT, "-1.50", "-1.50"),
    number("decimal text 65", DECIMAL_TEXT, LONG_DIGITS, LONG_DIGITS, xlsx=LONG_DIGITS),
    number("decimal text exponent", DECIMAL_TEXT, "1E+3", "1E+3"),
    number("decimal text huge", DECIMAL_TEXT, "1E+999", "1E+999", xlsx="1E+999"),
    number("decimal text tiny", DECIMAL_TEXT, "1E-999", "1E-999", xlsx="1E-999"),
    number("decimal text odd", DECIMAL_TEXT, ".5", ".5"),
    Value("decimal text nan", DECIMAL_TEXT, "NaN", "NaN"),
    Value("decimal text inf", DECIMAL_TEXT, "-Infinity", "-Infinity"),
    Value("true", pa.bool_(), True, "true", {"json": True, "xlsx": True}),
    Value("false", pa.bool_(), False, "false", {"json": False, "xlsx": False}),
    Value("date", pa.date32(), date(2025, 1, 31), "2025-01-31", {"xlsx": datetime(2025, 1, 31)}),
    Value("date year 1", pa.date32(), date(1, 1, 1), "0001-01-01"),
    Value("date 9999", pa.date32(), date(9999, 12, 31), "9999-12-31", {"xlsx": datetime(9999, 12, 31)}),
    Value("date before Excel", pa.date32(), date(1900, 2, 28), "1900-02-28"),
    Value("date of Excel", pa.date32(), date(1900, 3, 1), "1900-03-01", {"xlsx": datetime(1900, 3, 1)}),
    Value(
        "timestamp",
        NAIVE,
        datetime(2025, 1, 31, 8),
        "2025-01-31 08:00:00",
        {"json": "2025-01-31T08:00:00", "xlsx": datetime(2025, 1, 31, 8)},
    ),
    Value(
        "timestamp fraction",
        NAIVE,
        datetime(2025, 1, 31, 8, 0, 0, 123_456),
        "2025-01-31 08:00:00.123456",
        {"json": "2025-01-31T08:00:00.123456", "xlsx": datetime(2025, 1, 31, 8, 0, 0, 123_000)},
    ),
    Value(
        "timestamp year 1", NAIVE, datetime(1, 1, 1), "0001-01-01 00:00:00", {"json": "0001-01-01T00:00:00"}
    ),
    Value(
        "timestamp 9999",
        NAIVE,
        datetime(9999, 12, 31, 23, 59, 59),
        "9999-12-31 23:59:59",
        {"json": "9999-12-31T23:59:59", "xlsx": datetime(9999, 12, 31, 23, 59, 59)},
    ),
    Value(
        "timestamp that would be rounded up to the year 10,000",
        NAIVE,
        datetime(9999, 12, 31, 23, 59, 59, 999_999),
        "9999-12-31 23:59:59.999999",
        {"json": "9999-12-31T23:59:59.999999"},
    ),
    Value(
        "instant",
        INSTANT,
        datetime(2025, 1, 31, 1, 30, tzinfo=UTC),
        "2025-01-31 08:30:00+07:00",
        {"json": "2025-01-31T08:30:00+07:00", "xlsx": datetime(2025, 1, 31, 8, 30)},
    ),
    Value(
        "instant of local mean time",
        INSTANT,
        datetime(1, 1, 1, tzinfo=UTC),
        "0001-01-01 07:07:12+07:07:12",
        {"json": "0001-01-01T07:07:12+07:07:12"},
    ),
    Value("time", pa.time64("us"), time(8, 5), "08:05:00", {"xlsx": time(8, 5)}),
    Value(
        "time fraction",
        pa.time64("us"),
        time(23, 59, 59, 250_000),
        "23:59:59.250000",
        {"xlsx": time(23, 59, 59, 250_000)},
    ),
    Value(
        "duration",
        pa.duration("us"),
        timedelta(hours=838, minutes=59, seconds=59),
        "838:59:59",
        {"xlsx": timedelta(hours=838, minutes=59, seconds=59)},
    ),
    Value("negative duration", pa.duration("us"), -timedelta(hours=1, microseconds=5), "-01:00:00.000005"),
    text("plain", "Zürich"),
    text("empty", "", xlsx=""),
    Value("large text", pa.large_utf8(), "large", "large"),
    text("formula", "=1+1", csv="'=1+1"),
    text("formula plus", "+SUM(A1)", csv="'+SUM(A1)"),
    text("formula minus", "-1+cmd", csv="'-1+cmd"),
    text("formula at", "@SUM(A1)", csv="'@SUM(A1)"),
    text("formula tab", "\t=1", csv="'\t=1", pdf="    =1"),
    text("formula return", "\r=1", csv="'\r=1", pdf="=1"),
    text("number as text", "-5", csv="-5"),
    text("link", "https://example.com/?q=1"),
    text("quotes", 'say "hi", twice; or | so'),
    text("line breaks", "one\r\ntwo\nthree", pdf="onetwothree"),
    text("control characters", "\x00\x01\x1f", pdf="���", html="���"),
    text("escaped control character", "_x0041_x0042_"),
    text("markup", "<r>&amp;</r>"),
    text("no characters", "\ufffe\uffff", pdf="��", html="��"),
    text("40,000 characters", FORTY_THOUSAND, xlsx="x" * 32_767, pdf=...),
    text("right to left", "\u200fשלום\u202e", pdf="שלום"),
    text("emoji", "a😀b"),
    text("east asian", "日本"),
    text("symbols", "→ ≥ Ω Ж"),
    text("decomposed", "e\u0301", pdf="\u00e9"),
    Value("binary", pa.binary(), b"\x00\xff", "0x00ff", {"json": "AP8="}),
    Value("empty binary", pa.large_binary(), b"", "0x", {"json": ""}),
    Value(
        "json",
        JSON_TEXT,
        '{"a": [1.10, null]}',
        '{"a": [1.10, null]}',
        {"json": {"a": [Decimal("1.10"), None]}},
    ),
    Value("json number", JSON_TEXT, f"[{LONG_DIGITS}]", f"[{LONG_DIGITS}]", {"json": [Decimal(LONG_DIGITS)]}),
    Value("json broken", JSON_TEXT, "{a", "{a"),
    Value("json lines", JSON_TEXT, "[1,\r\n2]", "[1,\r\n2]", {"json": [1, 2], "pdf": "[1,2]"}),
]
TYPES = {str(value.field.type) + str(value.field.metadata or ""): value.field for value in VALUES} | {
    "null": pa.field("value", pa.null())
}
