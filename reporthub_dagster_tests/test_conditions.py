"""The digest of rows is about values, not about how they came."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from reporthub_dagster import conditions
from reporthub_dagster.conditions import rows_digest
from reporthub_dagster.reporting.records import QueryResult
from reporthub_dagster.storage.spool import columns_of, new_spool

TABLE = pa.table(
    {
        "n": pa.array([1, None, 3, 4, 5, 6, 7], pa.int64()),
        "t": pa.array(["a", "", None, "ü", "😀", "f", "g"], pa.utf8()),
        "b": pa.array([True, False, None, True, True, False, True], pa.bool_()),
    }
)


def digest_of(folder: Path, table: pa.Table, portion: int, columns: list[str] | None = None) -> str:
    path = folder / f"{portion}.arrow"
    with new_spool(path, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=portion):
            writer.write(batch)
    result = QueryResult(path, columns_of(table.schema), table.num_rows, truncated=False, query_ms=1)
    return rows_digest([(result, columns or table.column_names)])


@pytest.mark.parametrize("portion", [1, 2, 3, 5])
def test_how_the_rows_came_does_not_matter(
    tmp_path: Path, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_HASHED_ROWS", 3)
    assert digest_of(tmp_path, TABLE, portion) == digest_of(tmp_path, TABLE, 100)


@pytest.mark.parametrize(
    "other",
    [
        TABLE.slice(0, 6),
        TABLE.set_column(1, "t", pa.array(["a", None, None, "ü", "😀", "f", "g"])),
        pa.concat_tables([TABLE.slice(1), TABLE.slice(0, 1)]),
        TABLE.rename_columns(["m", "t", "b"]),
    ],
    ids=["a row less", "NULL for empty", "another order", "another name"],
)
def test_whatever_a_person_would_see_changes_it(tmp_path: Path, other: pa.Table) -> None:
    assert digest_of(tmp_path, other, 100) != digest_of(tmp_path, TABLE, 100)


def test_columns_that_are_not_shown_do_not_count(tmp_path: Path) -> None:
    other = TABLE.set_column(0, "n", pa.array([0] * 7, pa.int64()))
    assert digest_of(tmp_path, other, 100, ["t", "b"]) == digest_of(tmp_path, TABLE, 100, ["t", "b"])


def test_no_rows_have_a_digest(tmp_path: Path) -> None:
    assert digest_of(tmp_path, TABLE.slice(0, 0), 100) != digest_of(tmp_path, TABLE, 100)
