"""What a script wrote becomes a spool: read as something that nobody vouches for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from reporthub_dagster.sandbox.plain import is_plain
from reporthub_dagster.sandbox.running import ScriptError
from reporthub_dagster.storage.spool import KIND, distinct_names, new_spool, text_kind

_MOST_COLUMNS = 16_384
_MOST_DECIMALS = 76
_RECORD_BATCH_COMPRESSION = 3
_MESSAGE_HEADER = 2


def spool_result(source: BinaryIO, target: Path, *, max_rows: int) -> tuple[pa.Schema, int, bool]:
    """Move the next result of a script's file into a spool.

    Only what a script's own process writes is taken: streams of plain columns, not compressed, since what
    little packed bytes grow to is not known before. Every value is checked.

    Args:
        source: Open where the result begins; left open where it ends.
        target: The spool.
        max_rows: What is beyond is left out.

    Returns:
        The spool's schema, its rows, and whether there were more.

    Raises:
        ScriptError: It is something else.
        OSError: The folder cannot be written.
    """
    messages = pa.MessageReader.open_stream(pa.PythonFile(source, mode="r"))
    with _distrusted():
        message = _next(messages)
        if message is None:
            raise _broken("nothing")
        raw = pa.ipc.read_schema(message)
        schema = _spool_schema(raw)
    more = False
    with new_spool(target, schema) as spool:
        for batch in _batches(messages, raw):
            left = max_rows - spool.row_count
            more = more or batch.num_rows > left
            spool.write(pa.RecordBatch.from_arrays(batch.slice(0, left).columns, schema=schema))
    return schema, spool.row_count, more


def _batches(messages: pa.MessageReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while True:
        with _distrusted():
            message = _next(messages)
            if message is None:
                return
            if message.type != "record batch" or _is_packed(message.metadata.to_pybytes()):
                raise _broken(message.type)
            batch = pa.ipc.read_record_batch(message, schema)
            batch.validate(full=True)
        yield batch


def _next(messages: pa.MessageReader) -> pa.Message | None:
    """The next message of a stream; None at its end."""
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


@contextmanager
def _distrusted() -> Iterator[None]:
    """Whatever Arrow makes of bytes that are none of its own is the script's doing."""
    try:
        yield
    except (
        pa.ArrowException,
        OSError,
        MemoryError,
        ArithmeticError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise _broken(type(error).__name__) from None


def _spool_schema(raw: pa.Schema) -> pa.Schema:
    """The columns under names that a spool may have, with what their text means and nothing else."""
    if not 0 < len(raw) <= _MOST_COLUMNS:
        raise _broken(f"{len(raw)} columns")
    for field in raw:
        if not is_plain(field.type) or not 0 <= getattr(field.type, "scale", 0) <= _MOST_DECIMALS:
            raise _broken(str(field.type))
    names = distinct_names(raw.names)
    texts = (pa.utf8(), pa.large_utf8())
    kinds = [text_kind(field) if field.type in texts else None for field in raw]
    return pa.schema(
        pa.field(name, field.type, metadata={KIND: kind.encode()} if kind else None)
        for name, field, kind in zip(names, raw, kinds, strict=True)
    )


def _is_packed(metadata: bytes) -> bool:
    """Whether the header of a record batch names a compression; see Arrow's `Message.fbs`."""
    message = _table(metadata, 0)
    header = _field(metadata, message, _MESSAGE_HEADER)
    return header is None or _field(metadata, _table(metadata, header), _RECORD_BATCH_COMPRESSION) is not None


def _table(buffer: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", buffer, at)[0])


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffers table stands, None where it is not set."""
    entries = table - int(struct.unpack_from("<i", buffer, table)[0])
    size = int(struct.unpack_from("<H", buffer, entries)[0])
    entry = 4 + 2 * number
    offset = int(struct.unpack_from("<H", buffer, entries + entry)[0]) if entry < size else 0
    return table + offset if offset else None


def _broken(what: str) -> ScriptError:
    return ScriptError(f"the script's process wrote something else than its result ({what})")
