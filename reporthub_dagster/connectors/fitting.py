"""Batches: made column by column, what becomes of values that do not fit, and whether one is sound."""

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


def sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch that came over the network, when what it says of its own memory is true.

    Raises:
        pa.ArrowInvalid: It would have us read what is not its own.
    """
    for column in batch.columns:
        # Servers keep decimals of more digits than they declare, which harms nobody.
        column.validate(full=not pa.types.is_decimal(column.type))
    return batch
