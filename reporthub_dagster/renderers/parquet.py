"""Parquet: the columns with the types of the spool, and what the report is in the file's metadata.

* Decimals of unknown precision and JSON documents are text; durations are 64-bit microseconds. Both say so in
  the Arrow schema that the file carries. Instants are in UTC.
* The metadata has `reporthub.report`, `reporthub.window` (JSON: `start`, `end`, `timezone`),
  `reporthub.row_count`, `reporthub.truncated` and `reporthub.query`: the query as its row has it, with the
  names of its values and never the values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from reporthub_dagster.renderers.base import Renderer, RenderRequest, Section
from reporthub_dagster.renderers.json import window_members
from reporthub_dagster.renderers.options import read_options

_GROUP_ROWS, _GROUP_BYTES = 65_536, 16 << 20
_DICTIONARY_BYTES = 64 << 10
"""Of the different values of a column in a group; with more, the rest of them are written as they are."""


class ParquetRenderer(Renderer):
    """A file of columns."""

    format = "parquet"
    extension = "parquet"
    media_type = "application/vnd.apache.parquet"
    holds_sections = False
    honours = frozenset({"compression"})

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; nothing is ever altered."""
        section = request.only_section
        schema = section.schema.with_metadata(_metadata(request, section))
        compression = read_options(request.options).compression
        with pq.ParquetWriter(
            file, schema, compression=compression, dictionary_pagesize_limit=_DICTIONARY_BYTES
        ) as writer:
            for group in _groups(section, schema):
                writer.write_table(group, row_group_size=_GROUP_ROWS)
        return ()


def _metadata(request: RenderRequest, section: Section) -> dict[str, str]:
    texts = {
        "report": request.title,
        "window": json.dumps(window_members(request.window)),
        "row_count": str(section.row_count),
        "truncated": "true" if section.truncated else "false",
        "query": section.query,
    }
    return {f"reporthub.{name}": text for name, text in texts.items() if text}


def _groups(section: Section, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in groups that are large enough to pack well and small enough for memory."""
    waiting: list[pa.RecordBatch] = []
    for batch in section.slices():
        waiting.append(batch)
        rows, size = sum(one.num_rows for one in waiting), sum(one.nbytes for one in waiting)
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting).replace_schema_metadata(schema.metadata)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting).replace_schema_metadata(schema.metadata)
