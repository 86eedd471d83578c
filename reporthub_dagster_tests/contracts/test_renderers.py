"""What every renderer promises, over every key of the registry; a format without a reader fails."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.renderers.readers import READERS, Content
from reporthub_dagster_tests.renderers.spools import WINDOW, request_for, spool_of, value_spool
from reporthub_dagster_tests.renderers.values import TYPES, VALUES, Value

NULLS = {"csv": "", "html": "", "pdf": "", "json": None, "jsonl": None, "parquet": None, "xlsx": None}
WITHOUT_HEADER = ("json", "jsonl")
TABLE = pa.schema(
    [("row", pa.utf8()), ("city", pa.utf8()), ("amount", pa.decimal128(12, 2)), ("n", pa.int64())]
)
every_format = pytest.mark.parametrize("kind", RENDERERS.kinds())


def render(kind: str, spool: Spool, folder: Path, **changes: Any) -> RenderedFile:
    renderer = RENDERERS.get(kind)()
    return renderer.render(request_for(spool, **changes), folder / f"report.{renderer.extension}")


def read_back(kind: str, spool: Spool, folder: Path, **changes: Any) -> Content:
    file = render(kind, spool, folder, **changes)
    return READERS[kind](file.path, len(changes.get("columns", spool.schema.names)))


def table(folder: Path, *, rows: int = 5) -> Spool:
    numbers = range(1, rows + 1)
    batch: list[list[Any]] = [
        [f"r{number}" for number in numbers],
        [f"city{number}" for number in numbers],
        [Decimal(number) / 4 for number in numbers],
        list(numbers),
    ]
    return spool_of(
        folder / "spool.arrow", TABLE, [column[:2] for column in batch], [column[2:] for column in batch]
    )


def test_every_format_has_a_reader() -> None:
    assert set(READERS) == set(RENDERERS.kinds())


@every_format
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_a_value_comes_back_as_documented(kind: str, value: Value, tmp_path: Path) -> None:
    spool = value_spool(tmp_path, value.field, [value.value])

    content = read_back(kind, spool, tmp_path)

    assert content.header == ["row", "value"]
    assert len(content.rows) == 1
    if value.expected(kind) is not ...:
        assert content.rows[0] == ["r1", value.expected(kind)]
        assert isinstance(content.rows[0][1], bool) == isinstance(value.expected(kind), bool)


@every_format
@pytest.mark.parametrize("field", TYPES.values(), ids=TYPES)
def test_null_of_every_type_is_nothing(kind: str, field: pa.Field, tmp_path: Path) -> None:
    content = read_back(kind, value_spool(tmp_path, field, [None, None]), tmp_path)

    assert content.rows == [["r1", NULLS[kind]], ["r2", NULLS[kind]]]


@every_format
def test_all_values_of_a_type_stand_in_one_column(kind: str, tmp_path: Path) -> None:
    instants = [value for value in VALUES if value.type == pa.timestamp("us", "UTC")]
    spool = value_spool(tmp_path, instants[0].field, [None, *(value.value for value in instants), None])

    content = read_back(kind, spool, tmp_path)

    assert [row[1] for row in content.rows[1:-1]] == [value.expected(kind) for value in instants]


@every_format
def test_columns_are_shown_as_asked(kind: str, tmp_path: Path) -> None:
    content = read_back(kind, table(tmp_path), tmp_path, columns=("row", "n", "city"))

    assert content.header == ["row", "n", "city"]
    assert [[str(cell) for cell in row] for row in content.rows] == [
        ["r1", "1", "city1"],
        ["r2", "2", "city2"],
        ["r3", "3", "city3"],
        ["r4", "4", "city4"],
        ["r5", "5", "city5"],
    ]


@every_format
def test_an_empty_result_is_a_file_with_its_header(kind: str, tmp_path: Path) -> None:
    content = read_back(kind, spool_of(tmp_path / "spool.arrow", TABLE), tmp_path)

    assert content.header == (None if kind in WITHOUT_HEADER else TABLE.names)
    assert content.rows == []


@every_format
def test_the_file_is_described_as_it_is(kind: str, tmp_path: Path) -> None:
    file = render(kind, table(tmp_path), tmp_path)

    data = file.path.read_bytes()
    assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (file.row_count, file.name, file.format) == (5, f"report.{RENDERERS.get(kind).extension}", kind)
    assert file.warnings == ()


@every_format
def test_the_same_report_is_the_same_bytes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = pa.field("value", pa.utf8())
    spool = value_spool(tmp_path, field, [value.value for value in VALUES if value.type == pa.utf8()])
    first = render(kind, spool, tmp_path, truncated=True)
    monkeypatch.setattr("time.time", lambda: 4e9)

    second = render(kind, spool, tmp_path, truncated=True)

    assert first.sha256 == second.sha256


@every_format
def test_a_later_report_replaces_the_file_whole(kind: str, tmp_path: Path) -> None:
    render(kind, table(tmp_path, rows=4), tmp_path)
    file = render(kind, table(tmp_path, rows=2), tmp_path)

    assert len(READERS[kind](file.path, 4).rows) == 2


@every_format
def test_instants_are_in_the_zone_of_the_window(kind: str, tmp_path: Path) -> None:
    field = pa.field("value", pa.timestamp("us", "UTC"))
    spool = value_spool(
        tmp_path, field, [datetime(2025, 3, 30, 0, 59, tzinfo=UTC), datetime(2025, 3, 30, 1, tzinfo=UTC)]
    )

    content = read_back(kind, spool, tmp_path, window=replace(WINDOW, timezone="Europe/Berlin"))

    shown = [str(row[1]).replace("T", " ")[:19] for row in content.rows]
    in_utc = ["2025-03-30 00:59:00", "2025-03-30 01:00:00"]
    assert shown == (in_utc if kind == "parquet" else ["2025-03-30 01:59:00", "2025-03-30 03:00:00"])


@every_format
def test_an_unknown_option_is_a_configuration_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        render(kind, table(tmp_path), tmp_path, options={"colour": "red"})

    assert (caught.value.table, caught.value.column) == ("report_configs", "parameters.format.colour")
    assert caught.value.value == "red"
    assert left_behind(tmp_path) == ["spool.arrow"]


class _BrokenSpool(Spool):
    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(super().batches(columns)):
            if number:
                raise OSError(5, "the disk went away")
            yield batch


@every_format
def test_an_error_in_the_middle_leaves_nothing(kind: str, tmp_path: Path) -> None:
    whole = table(tmp_path)

    with pytest.raises(OSError, match="the disk went away"):
        render(kind, _BrokenSpool(whole.path, whole.schema, whole.row_count), tmp_path)

    assert left_behind(tmp_path) == ["spool.arrow"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.renderers.spools import request_for

kind, folder = sys.argv[1], Path(sys.argv[2])
spool = Spool.open(folder / "spool.arrow")
renderer = RENDERERS.get(kind)()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    renderer.render(request_for(spool), folder / f"report.{kind}")
except OSError as error:
    print("OSError", error.errno)
"""


@every_format
def test_a_full_disk_leaves_nothing(kind: str, tmp_path: Path) -> None:
    field = pa.field("value", pa.utf8())
    value_spool(tmp_path, field, [hashlib.sha256(str(number).encode()).hexdigest() for number in range(3000)])

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, kind, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.stdout.startswith("OSError 27"), done.stderr
    assert left_behind(tmp_path) == ["spool.arrow"]


KILLED = """
import os, signal, sys
from pathlib import Path
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.renderers.spools import request_for

class Deadly(Spool):
    def batches(self, columns=None):
        for number, batch in enumerate(super().batches(columns)):
            if number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

kind, folder = sys.argv[1], Path(sys.argv[2])
whole = Spool.open(folder / "spool.arrow")
deadly = Deadly(whole.path, whole.schema, whole.row_count)
RENDERERS.get(kind)().render(request_for(deadly), folder / f"report.{kind}")
"""


@every_format
def test_a_killed_rendering_leaves_no_visible_file_and_the_next_succeeds(kind: str, tmp_path: Path) -> None:
    spool = table(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [name for name in left_behind(tmp_path) if not name.startswith(".")] == ["spool.arrow"]

    content = read_back(kind, spool, tmp_path)

    assert len(content.rows) == 5


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PEAK = """
import resource, sys
from pathlib import Path
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.renderers.spools import request_for

kind, folder = sys.argv[1], Path(sys.argv[2])
spool = Spool.open(folder / "spool.arrow")
RENDERERS.get(kind)().render(request_for(spool), folder / f"report.{kind}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("csv", 300_000),
        ("json", 300_000),
        ("jsonl", 100_000),
        ("parquet", 300_000),
        ("xlsx", 100_000),
        ("html", 100_000),
        ("pdf", 20_000),
    ],
)
def test_memory_does_not_grow_with_the_rows(kind: str, rows: int, tmp_path: Path) -> None:
    def peak(name: str, batches: int) -> int:
        folder = tmp_path / name
        folder.mkdir()
        batch: list[list[Any]] = [
            [f"r{n}" for n in range(10_000)],
            ["some ordinary words"] * 10_000,
            [Decimal(1)] * 10_000,
            [1] * 10_000,
        ]
        spool_of(folder / "spool.arrow", TABLE, *([batch] * batches))
        command = [sys.executable, "-c", PEAK, kind, str(folder)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout) // 1024

    small, large = peak("small", 1), peak("large", rows // 10_000)

    assert large < small + 30, f"{small} MB for 10,000 rows, {large} MB for {rows:,}"


@every_format
def test_several_sections_are_one_file_where_the_format_holds_them(kind: str, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    first, second = table(tmp_path, rows=2), table(tmp_path / "second", rows=3)
    sections = tuple(
        Section(name, spool, ("row", "city")) for name, spool in (("First", first), ("Second", second))
    )
    request = RenderRequest("Both", WINDOW, sections)
    renderer = RENDERERS.get(kind)()

    if not renderer.holds_sections:
        with pytest.raises(ValueError, match="too many values"):
            renderer.render(request, tmp_path / "report")
    else:
        file = renderer.render(request, tmp_path / "report")
        assert file.row_count == 5
