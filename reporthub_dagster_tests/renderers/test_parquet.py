"""What only parquet files have: the report in their metadata, the types of the spool, compression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reporthub_dagster.renderers.parquet import ParquetRenderer
from reporthub_dagster.storage.spool import text_field, text_kind
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

SCHEMA = pa.schema([pa.field("n", pa.uint64()), text_field("d", "decimal")])


def written(folder: Path, rows: int = 2, **changes: Any) -> pq.ParquetFile:
    values: list[list[Any]] = [list(range(rows)), ["1.50"] * rows]
    spool = spool_of(folder / "spool.arrow", SCHEMA, values, values)
    return pq.ParquetFile(ParquetRenderer().render(request_for(spool, **changes), folder / "r.parquet").path)


def test_the_metadata_says_what_the_report_is(tmp_path: Path) -> None:
    file = written(tmp_path, query="SELECT n FROM t WHERE day >= {{start_date}}", truncated=True)

    found = {name.decode(): value.decode() for name, value in file.metadata.metadata.items()}
    assert found["reporthub.report"] == "Daily settlements"
    assert found["reporthub.query"] == "SELECT n FROM t WHERE day >= {{start_date}}"
    assert (found["reporthub.row_count"], found["reporthub.truncated"]) == ("4", "true")
    assert json.loads(found["reporthub.window"]) == {
        "start": "2025-01-31T00:00:00+07:00",
        "end": "2025-02-01T00:00:00+07:00",
        "timezone": "Asia/Jakarta",
    }


def test_types_are_those_of_the_spool(tmp_path: Path) -> None:
    schema = written(tmp_path).schema_arrow

    assert schema.types == SCHEMA.types
    assert text_kind(schema.field("d")) == "decimal"


def test_small_batches_are_one_row_group(tmp_path: Path) -> None:
    assert written(tmp_path).num_row_groups == 1


@pytest.mark.parametrize(("option", "codec"), [("zstd", "ZSTD"), ("gzip", "GZIP"), ("none", "UNCOMPRESSED")])
def test_the_compression_is_the_one_asked_for(option: str, codec: str, tmp_path: Path) -> None:
    file = written(tmp_path, options={"compression": option})

    assert file.metadata.row_group(0).column(0).compression == codec


def test_only_a_column_of_few_different_values_has_a_dictionary_of_them_all(tmp_path: Path) -> None:
    rows = 50_000
    schema = pa.schema([pa.field("few", pa.int64()), pa.field("many", pa.int64())])
    values: list[list[Any]] = [[n % 100 for n in range(rows)], list(range(rows))]
    request = request_for(spool_of(tmp_path / "spool.arrow", schema, values), options={"compression": "none"})

    file = pq.ParquetFile(ParquetRenderer().render(request, tmp_path / "r.parquet").path)

    few, many = (file.metadata.row_group(0).column(n).total_uncompressed_size for n in range(2))
    assert few < rows, "a byte a value"
    assert many < 1.1 * 8 * rows, "the values, and not each of them twice"
    assert file.read().column("many").to_pylist() == values[1]
