"""Spools and the whole-or-nothing files below them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.records import Column
from reporthub_dagster.storage.atomic import atomic_file, atomic_path
from reporthub_dagster.storage.spool import (
    Spool,
    columns_of,
    distinct_names,
    new_spool,
    text_field,
    text_kind,
)

SCHEMA = pa.schema([pa.field("n", pa.int64()), text_field("amount", "decimal"), text_field("doc", "json")])


def batch(start: int, rows: int) -> pa.RecordBatch:
    numbers = list(range(start, start + rows))
    return pa.record_batch([numbers, [f"{n}.50" for n in numbers], ["{}"] * rows], schema=SCHEMA)


def write(path: Path, *batches: pa.RecordBatch) -> Spool:
    with new_spool(path, SCHEMA) as spool:
        for one in batches:
            spool.write(one)
    return Spool.open(path)


def test_a_spool_gives_back_what_was_written(tmp_path: Path) -> None:
    spool = write(tmp_path / "spool", batch(0, 3), batch(3, 2))

    assert spool.row_count == 5
    assert spool.schema.equals(SCHEMA, check_metadata=True)
    assert [row["n"] for one in spool.batches() for row in one.to_pylist()] == [0, 1, 2, 3, 4]
    assert [one.schema.names for one in spool.batches(["doc", "n"])] == [["doc", "n"]] * 2


def test_the_head_of_a_spool_is_its_first_rows(tmp_path: Path) -> None:
    spool = write(tmp_path / "spool", batch(0, 3), batch(3, 2))

    assert [len(spool.head(rows)) for rows in (0, 2, 4, 9)] == [0, 2, 4, 5]
    assert spool.head(4).column("n").to_pylist() == [0, 1, 2, 3]


def test_an_empty_spool_keeps_its_columns(tmp_path: Path) -> None:
    spool = write(tmp_path / "spool")

    assert spool.row_count == 0
    assert columns_of(spool.schema) == (
        Column("n", "int64"),
        Column("amount", "decimal"),
        Column("doc", "json"),
    )
    assert spool.head(5).schema.names == ["n", "amount", "doc"]


def test_text_kinds_survive_the_file(tmp_path: Path) -> None:
    spool = write(tmp_path / "spool", batch(0, 1))

    assert [text_kind(field) for field in spool.schema] == [None, "decimal", "json"]
    assert text_kind(pa.field("other", pa.utf8(), metadata={b"reporthub.kind": b"poem"})) is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with new_spool(tmp_path / "spool", SCHEMA) as spool:
            spool.write(batch(0, 3))
            raise error

    with pytest.raises(error):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(target) as file:
            file.write(b"new")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"

    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_process_that_is_killed_while_it_writes_leaves_no_visible_file(tmp_path: Path) -> None:
    script = (
        "import sys, pyarrow as pa\n"
        "from pathlib import Path\n"
        "from reporthub_dagster.storage.spool import new_spool\n"
        "schema = pa.schema([pa.field('n', pa.int64())])\n"
        "with new_spool(Path(sys.argv[1]), schema) as spool:\n"
        "    while True:\n"
        "        spool.write(pa.record_batch([list(range(100_000))], schema=schema))\n"
        "        print(spool.row_count, flush=True)\n"
    )
    target = tmp_path / "spool"
    with subprocess.Popen([sys.executable, "-c", script, target], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"100000\n"
        writer.kill()

    assert not target.exists()
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(".")
    assert left[0].name.endswith(".part")


def test_a_folder_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_spool(tmp_path / "missing" / "spool", SCHEMA):
        pytest.fail("nothing can be written there")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["id", "id", "id"], ["id", "id_2", "id_3"]),
        (["id", "id", "id_2"], ["id", "id_3", "id_2"]),
        (["", "", "x"], ["column_1", "column_2", "x"]),
        (["column_2", ""], ["column_2", "column_2_2"]),
    ],
)
def test_names_become_distinct_in_a_way_that_people_expect(names: list[str], expected: list[str]) -> None:
    assert distinct_names(names) == expected


def test_names_become_distinct_for_readers_that_do_not_look_at_case() -> None:
    assert distinct_names(["ID", "id", "Id_2", "x"], str.lower) == ["ID", "id_3", "Id_2", "x"]


def test_a_name_without_an_end_is_cut() -> None:
    first, second = distinct_names(["x" * 10_000_000, "x" * 5_000_000])

    assert (len(first), second) == (1_000, f"{first}_2")


def test_one_name_again_and_again_costs_no_more_than_others() -> None:
    started = time.process_time()

    assert distinct_names(["x"] * 100_000)[-1] == "x_100000"

    assert time.process_time() - started < 5


@given(st.lists(st.sampled_from(["", "a", "a_2", "a_3", "a_2_2", "column_1", "column_2", "b"]), max_size=12))
def test_names_become_distinct_whatever_they_are(names: list[str]) -> None:
    distinct = distinct_names(names)

    assert len(set(distinct)) == len(distinct) == len(names)
    assert all(distinct)
    firsts = {name: names.index(name) for name in names if name}
    assert all(distinct[place] == name for name, place in firsts.items() if "" not in names[:place])
