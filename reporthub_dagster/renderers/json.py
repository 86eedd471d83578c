"""JSON: one array of objects, a row a line, every value exact; built column by column with Arrow.

* Several queries are an object: the name of each, with its array.
* Every object of a row has every column; NULL is `null`.
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
from decimal import Decimal, InvalidOperation
from typing import BinaryIO, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.cells import (
    TEXT,
    TextStyle,
    cell_texts,
    is_binary,
    joined,
    literal,
    text_block,
)
from reporthub_dagster.renderers.options import read_options
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


class JsonRenderer(Renderer):
    """An array of objects."""

    format = "json"
    extension = "json"
    media_type = "application/json"
    holds_sections = True
    honours = frozenset({"layout"})

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; remarks name columns whose JSON documents were not valid."""
        read_options(request.options)
        style = TextStyle(ZoneInfo(request.window.timezone), date_time_separator="T")
        remarks = Remarks()
        if len(request.sections) == 1:
            _write_array(request.only_section, style, remarks, file)
        else:
            for position, section in enumerate(request.sections):
                file.write(f"{',' if position else '{'}\n{_string(section.name)}: ".encode())
                _write_array(section, style, remarks, file)
            file.write(b"\n}")
        file.write(b"\n")
        return remarks.sentences()


def _write_array(section: Section, style: TextStyle, remarks: Remarks, file: BinaryIO) -> None:
    separator = b"[\n"
    for batch in section.slices():
        columns = zip(batch.columns, section.fields, strict=True)
        values = [_values(array, field, style, remarks) for array, field in columns]
        if batch.num_rows:
            file.write(separator)
            file.write(text_block(_objects(section.columns, values), ",\n"))
            separator = b",\n"
    file.write(b"[]" if separator == b"[\n" else b"\n]")


def _objects(names: tuple[str, ...], values: list[pa.Array]) -> pa.Array:
    parts: list[pa.Array | pa.Scalar] = []
    for position, (name, column) in enumerate(zip(names, values, strict=True)):
        parts += [
            literal(f"{',' if position else '{'}{_string(name)}:"),
            pc.fill_null(column, literal("null")),
        ]
    return joined(*parts, literal("}"))


def _values(array: pa.Array, field: pa.Field, style: TextStyle, remarks: Remarks) -> pa.Array:
    kind = text_kind(field)
    if kind == "json":
        return _documents(array.to_pylist(), field.name, remarks)
    if is_binary(field.type):
        return _base64(array.to_pylist())
    texts = cell_texts(array, field, style)
    if kind == "decimal" or pt.is_floating(field.type):
        return _numbers(texts)
    if pt.is_integer(field.type) or pt.is_decimal(field.type) or pt.is_boolean(field.type):
        return texts
    return _strings(texts)


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
        return _string(text)
    return str(number) if number.is_finite() else _string(text)


def _strings(texts: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(texts, r'[\x00-\x1f"\\]')).as_py():
        texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
        if pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
            for code, escape in _CONTROL.items():
                texts = pc.replace_substring(texts, chr(code), escape)
    return joined(literal('"'), texts, literal('"'))


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _base64(values: list[bytes | None]) -> pa.Array:
    encoded = (None if value is None else f'"{base64.b64encode(value).decode()}"' for value in values)
    return pa.array(encoded, TEXT)


def _documents(texts: list[str | None], column: str, remarks: Remarks) -> pa.Array:
    written = []
    for text in texts:
        if text is None or _is_document(text):
            # Valid JSON holds line breaks only between its parts, where a space means the same.
            written.append(text and text.strip().replace("\r", " ").replace("\n", " "))
        else:
            remarks.note(column, _INVALID)
            written.append(_string(text))
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
