"""Rows as pandas has them, and back: exact both ways, and ordinary pandas code works on them.

| Arrow | pandas | why |
|---|---|---|
| integers | `int64` and the like, `Int64` and the like with NULLs | no float, no digit lost |
| booleans | `bool`, `boolean` with NULLs | as above |
| floats | `float64`, `float32`; NULL is NaN | pandas' own |
| decimals, declared or not | objects of `decimal.Decimal`; NULL is None | exact, whatever is done with them |
| text, JSON documents | `str` | pandas' own |
| dates | `datetime64[s]` at midnight | `.dt`, `resample` and comparison work |
| timestamps | `datetime64[us]`, with their zone | pandas' own |
| times of day | objects of `datetime.time` | pandas has no type for them |
| durations | `timedelta64[us]` | pandas' own |
| bytes | objects of `bytes` | pandas has no type for them |

On the way back a column that is called as one of the input's takes its type again where every value allows
it: midnights are dates, `Decimal` has the declared scale, JSON is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.sandbox.plain import is_plain

KIND = b"reporthub.kind"
"""As in the spool's schema: what a text column means."""

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
_DAY_US = 86_400_000_000
_NAMED_TYPES = 4
_MOST_ZEROS = 100
_MOST_TEXT_BYTES = 2**31
"""What a column of Arrow's plain text holds."""


class ResultError(Exception):
    """What a script gives as its result cannot be one; says why."""


def frame_of(table: pa.Table) -> pd.DataFrame:
    """The rows as a script gets them."""
    columns = {field.name: _series(table.column(place), field) for place, field in enumerate(table.schema)}
    return pd.DataFrame(columns, copy=False)


def table_of(result: object, like: pa.Schema) -> pa.Table:
    """The rows of a script's result.

    Args:
        result: A DataFrame or a Series; an index that has a name, or labels, becomes columns.
        like: Schema of the input.

    Raises:
        ResultError: It is neither, or a column holds what no report can show.
    """
    frame = _with_index(_frame(result))
    fields, arrays = [], []
    known = {field.name: field for field in like}
    for place, label in enumerate(frame.columns):
        name = _label(label)
        array, kind = _column(frame.iloc[:, place], name, known.get(name))
        fields.append(pa.field(name, array.type, metadata={KIND: kind} if kind else None))
        arrays.append(array)
    if not fields:
        raise ResultError("the result has no columns")
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _series(column: pa.ChunkedArray, field: pa.Field) -> pd.Series:
    if _kind(field) == b"decimal":
        values = [None if text is None else Decimal(text) for text in column.to_pylist()]
        return pd.Series(values, dtype=object)
    options: dict[str, Any] = {"date_as_object": False, "use_threads": False}
    if column.null_count and column.type in _NULLABLE:
        options["types_mapper"] = _NULLABLE.get
    return column.to_pandas(**options)


def _frame(result: object) -> pd.DataFrame:
    if isinstance(result, pd.Series):
        return result.to_frame("result" if result.name is None else result.name)
    if isinstance(result, pd.DataFrame):
        return result
    raise ResultError(f"`result` is a {type(result).__name__}; give a DataFrame or a Series")


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """An index that says something as columns in front; positions are dropped, named or not they are."""
    index = frame.index
    says_something = (
        isinstance(index, pd.MultiIndex)
        or index.name is not None
        or not (pd.api.types.is_integer_dtype(index.dtype) or len(index) == 0)
    )
    return frame.reset_index(allow_duplicates=True) if says_something else frame


def _label(label: object) -> str:
    """A column's name; the parts of one of several levels are joined."""
    if isinstance(label, tuple):
        return "_".join(str(part) for part in label if not (isinstance(part, str) and part == ""))
    return str(label)


def _column(series: pd.Series, name: str, known: pa.Field | None) -> tuple[pa.Array, bytes]:
    """A column and, of text, what it means.

    Raises:
        ResultError: It holds what no report can show.
    """
    plain = _plain(series)
    if plain.dtype == object:
        array, kind = _of_objects(plain, name, known)
    else:
        array, kind = _arrow(plain, name), b""
    array = _usual(array)
    if not is_plain(array.type):
        raise ResultError(f"column {name!r} is of the type {series.dtype}, which no report can show")
    return (array, kind) if known is None or kind else _as_before(array, known)


def _plain(series: pd.Series) -> pd.Series:
    """Without what only pandas has: categories, periods, intervals, sparse columns."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _plain(series.astype(series.dtype.categories.dtype))
    if isinstance(series.dtype, pd.SparseDtype):
        return series.sparse.to_dense()
    if isinstance(series.dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        return series.map(str, na_action="ignore").astype(object)
    return series


def _of_objects(series: pd.Series, name: str, known: pa.Field | None) -> tuple[pa.Array, bytes]:
    values = [None if one else value for value, one in zip(series, _is_missing(series), strict=True)]
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values), known.type if known else pa.utf8()), _kind(known)
    if Decimal in kinds and kinds <= {Decimal, int}:
        return _decimals([None if value is None else Decimal(value) for value in values], known)
    if kinds <= {dict, list}:
        return pa.array([None if value is None else _json(value) for value in values], pa.utf8()), b"json"
    if kinds <= {UUID, pd.Interval, pd.Period}:
        return pa.array([None if value is None else str(value) for value in values], pa.utf8()), b""
    if kinds == {int} and any(value is not None and not -(2**63) <= value < 2**64 for value in values):
        return _decimals([None if value is None else Decimal(value) for value in values], known)
    return _arrow(values, name, kinds), b""


def _is_missing(series: pd.Series) -> Any:
    """Where NULL is; a Decimal that is no number is one all the same."""
    return [
        missing and not isinstance(value, Decimal)
        for missing, value in zip(series.isna(), series, strict=True)
    ]


def _arrow(values: Any, name: str, kinds: Iterable[type] = ()) -> pa.Array:
    try:
        array = pa.array(values, from_pandas=True)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        OverflowError,
        UnicodeError,
    ) as error:
        named = sorted(kind.__name__ for kind in kinds)[:_NAMED_TYPES]
        held = f"holds {' and '.join(named)}" if len(named) > 1 else f"cannot be shown ({error})"
        raise ResultError(f"column {name!r} {held}: give it values of one type, such as text") from None
    chunks = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return chunks.dictionary_decode() if pa.types.is_dictionary(chunks.type) else chunks


def _decimals(values: list[Decimal | None], known: pa.Field | None) -> tuple[pa.Array, bytes]:
    """With the input's scale where it can be; as exact text where no type holds them."""
    numbers = [value for value in values if value is not None]
    if _kind(known) != b"decimal" and all(number.is_finite() for number in numbers):
        try:
            array = pa.array(values)
            if known is not None and pa.types.is_decimal(known.type):
                return array.cast(known.type), b""
        except pa.ArrowInvalid:
            array = _inferred(values)
        if array is not None:
            return array, b""
    texts = [None if value is None else _digits(value) for value in values]
    return pa.array(texts, pa.utf8()), b"decimal"


def _digits(value: Decimal) -> str:
    """As databases write it: without an exponent, unless it would be zeros and little else."""
    if value.is_nan():
        return "NaN"
    if not value.is_finite() or abs(value.adjusted()) > _MOST_ZEROS:
        return str(value)
    return f"{value:f}"


def _inferred(values: list[Decimal | None]) -> pa.Array | None:
    try:
        return pa.array(values)
    except pa.ArrowInvalid:
        return None


def _usual(array: pa.Array) -> pa.Array:
    """Times to the microsecond, as databases have them; plain text; floats of 32 bits at least."""
    kind = array.type
    usual = kind
    if pa.types.is_float16(kind):
        usual = pa.float32()
    elif pa.types.is_null(kind) or (pa.types.is_large_string(kind) and array.nbytes < _MOST_TEXT_BYTES):
        usual = pa.utf8()
    elif getattr(kind, "unit", "") == "ns":
        usual = _in_microseconds(kind)
    return array if usual == kind else array.cast(usual, safe=False)


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def _as_before(array: pa.Array, known: pa.Field) -> tuple[pa.Array, bytes]:
    """A column of the input's name with its type again, where every value allows it."""
    kind = array.type
    if pa.types.is_date(known.type) and pa.types.is_timestamp(kind) and kind.tz is None and _are_days(array):
        return array.cast(pa.date32()), b""
    if _kind(known) == b"json" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return array, b"json" if _are_json(array) else b""
    return array, b""


def _are_days(array: pa.Array) -> bool:
    instants = array.cast(pa.timestamp("us")).cast(pa.int64())
    days = pc.multiply(pc.divide(instants, _DAY_US), _DAY_US)
    return bool(pc.all(pc.equal(days, instants), min_count=0).as_py())


def _are_json(array: pa.Array) -> bool:
    try:
        for text in array:
            if text.is_valid:
                json.loads(text.as_py())
    except (ValueError, RecursionError):
        return False
    return True


def _json(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _kind(field: pa.Field | None) -> bytes:
    found: bytes = ((field.metadata if field is not None else None) or {}).get(KIND, b"")
    return found
