"""The types that a column of a result may have: what every format can show, and nothing nested."""

from __future__ import annotations

import pyarrow as pa

_TYPES = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_binary,
    pa.types.is_large_binary,
)


def is_plain(kind: pa.DataType) -> bool:
    """Whether it is one of them."""
    return any(is_of_kind(kind) for is_of_kind in _TYPES)
