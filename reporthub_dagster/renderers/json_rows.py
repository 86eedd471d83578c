"""Rows as JSON objects, a row a line, every value exact; built column by column with Arrow.

* Every object has every column; NULL is `null`.
* Integers and decimals are numbers with all their digits (readers that turn them into floats lose some);
  floats are the shortest number that reads back the same. JSON has no NaN and no infinities: they are the
  strings `"NaN"`, `"Infinity"`, `"-Infinity"`.
* Dates and times are ISO 8601: `2025-01-31T08:00:00`, instants in the window's zone with their offset.
  Durations are `HH:MM:SS[.ffffff]`, bytes are base64.
* JSON documents are embedded as they are (a line break between their parts becomes a space); one that is
  not valid becomes a string, with a remark.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks, RenderRequest, Section
from reporthub_dagster.renderers.cells import (
    TEXT,
    TextStyle,
    all_finite,
    cell_texts,
    is_binary,
    joined,
    literal,
    text_bytes,
)
from reporthub_dagster.renderers.text_scan import holds, holds_controls
from reporthub_dagster.storage.spool import text_kind

_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_CONTROL = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    8: "\\b",
    9: "\\t",
    10: "\\n",
    12: "\\f",
    13: "\\r",
}
_INVALID = "is not valid JSON and is written as text"


def json_lines(
    section: Section, request: RenderRequest, remarks: Remarks, before: str
) -> Iterator[memoryview]:
    """The rows of a section in pieces: each row is `before` and its object."""
    style = TextStyle(ZoneInfo(request.window.timezone), date_time_separator="T")
    fields = section.fields
    for batch in section.slices():
        parts: list[pa.Array | pa.Scalar] = []
        between = before + "{"
        for array, field in zip(batch.columns, fields, strict=True):
            values, quote = _values(array, field, style, remarks)
            between += f"{json_string(field.name)}:"
            if not values.null_count:
                parts += [literal(between + quote), values]
                between = quote + ","
            else:
                quoted = joined(literal(quote), values, literal(quote)) if quote else values
                parts += [literal(between), pc.fill_null(quoted, literal("null"))]
                between = ","
        yield text_bytes(joined(*parts, literal(between.removesuffix(",") + "}")))


def _values(array: pa.Array, field: pa.Field, style: TextStyle, remarks: Remarks) -> tuple[pa.Array, str]:
    """The values of a column, and the quotes that belong around each."""
    kind = text_kind(field)
    if kind == "json":
        return _documents(array.to_pylist(), field.name, remarks), ""
    if is_binary(field.type):
        return _base64(array.to_pylist()), '"'
    texts = cell_texts(array, field, style)
    if kind == "decimal":
        return _numbers(texts), ""
    if pt.is_floating(field.type):
        return texts if all_finite(array) else _numbers(texts), ""
    if pt.is_integer(field.type) or pt.is_decimal(field.type) or pt.is_boolean(field.type):
        return texts, ""
    return (_strings(texts) if pt.is_string(field.type) or pt.is_large_string(field.type) else texts), '"'


def _numbers(texts: pa.Array) -> pa.Array:
    """Numbers as they are; what JSON cannot write so (`NaN`, `.5`, `+7`) one by one."""
    odd = pc.fill_null(pc.invert(pc.match_substring_regex(texts, _NUMBER)), False)
    if not pc.any(odd).as_py():
        return texts
    return pc.replace_with_mask(texts, odd, pa.array(map(_odd_number, texts.filter(odd).to_pylist()), TEXT))


def _odd_number(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return json_string(text)
    return str(number) if number.is_finite() else json_string(text)


def _strings(texts: pa.Array) -> pa.Array:
    for character in ("\\", '"'):
        if holds(texts, character):
            texts = pc.replace_substring(texts, character, f"\\{character}")
    if holds_controls(texts):
        for code, escape in _CONTROL.items():
            texts = pc.replace_substring(texts, chr(code), escape)
    return texts


def json_string(text: str) -> str:
    """A text as JSON."""
    return json.dumps(text, ensure_ascii=False)


def _base64(values: list[bytes | None]) -> pa.Array:
    encoded = (None if value is None else base64.b64encode(value).decode() for value in values)
    return pa.array(encoded, TEXT)


def _documents(texts: list[str | None], column: str, remarks: Remarks) -> pa.Array:
    written = []
    for text in texts:
        if text is None or _is_document(text):
            # Valid JSON holds line breaks only between its parts, where a space means the same.
            written.append(text and text.strip().replace("\r", " ").replace("\n", " "))
        else:
            remarks.note(column, _INVALID)
            written.append(json_string(text))
    return pa.array(written, TEXT)


def _is_document(text: str) -> bool:
    """True for a JSON document; numbers are looked at but not converted, so none is too long."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
