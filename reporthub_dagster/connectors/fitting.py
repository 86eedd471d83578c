"""A batch whose columns are made one by one, and what becomes of those that values do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from reporthub_dagster.connectors.base import TypeMisfit


def fitted(schema: pa.Schema, make: Callable[[int], pa.Array]) -> pa.RecordBatch:
    """A batch of a schema.

    Args:
        schema: Of the batch.
        make: Position of a column → its array; `pa.ArrowInvalid` where a value does not fit its type.

    Raises:
        TypeMisfit: There are such columns; all of them are to be read as text.
    """
    arrays, wider = [], {}
    for position, field in enumerate(schema):
        try:
            arrays.append(make(position))
        except pa.ArrowInvalid:
            wider[position] = pa.field(field.name, pa.utf8())
    if wider:
        raise TypeMisfit(wider)
    return pa.record_batch(arrays, schema=schema)
