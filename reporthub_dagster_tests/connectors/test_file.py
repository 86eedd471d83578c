"""Files as a data source: formats, packing, places, exact values, and errors that say what to do."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncssh
import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest

from reporthub_dagster.connectors.file import FileConnector
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource, QueryResult
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, types
from reporthub_dagster_tests.servers.s3 import Bucket
from reporthub_dagster_tests.servers.sftp import SftpServer
from reporthub_dagster_tests.servers.web import Answer, WebServer

ALL = BoundQuery.of(["SELECT * FROM data"])
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
SALES = "id,zip,amount\n1,007,1.50\n2,100,2.5\n"
ROWS = [
    {"id": 1, "zip": "007", "amount": Decimal("1.50")},
    {"id": 2, "zip": "100", "amount": Decimal("2.50")},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in"


def connector(root: Path, url: str, **options: Any) -> FileConnector:
    settings = SourceSettings(egress=EgressPolicy.parse("default", "127.0.0.1"), file_roots=(root,))
    return FileConnector(DataSource(7, "files", "file", url, options), settings)


def read(
    root: Path, url: str, query: BoundQuery = ALL, limits: Mapping[str, Any] | None = None, **options: Any
) -> tuple[QueryResult, list[dict[str, Any]]]:
    target = root.parent / "out" / "spool.arrow"
    made = connector(root, url, **options)
    try:
        result = made.spool(query, target, replace(LIMITS, **(limits or {})))
    finally:
        assert [path.name for path in target.parent.iterdir() if path != target] == [], "nothing is left"
    return result, Spool.open(result.spool).head(100_000).to_pylist()


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._sales.csv", b"junk")
        archive.writestr("inner/sales.csv", content)
    return file.getvalue()


@pytest.mark.parametrize("name", ["sales.csv", "sales.csv.gz", "sales.zip"])
def test_a_csv_keeps_every_value(root: Path, name: str) -> None:
    content = SALES.encode()
    (root / name).write_bytes(content if name == "sales.csv" else packed(name, content))

    result, rows = read(root, name)

    assert rows == ROWS
    assert types(result) == {"id": "int64", "zip": "string", "amount": "decimal128(3, 2)"}


def test_the_whole_file_decides_about_types_and_not_its_beginning(root: Path) -> None:
    lines = [f"{n},{n},2025-01-31,2025-01-31 08:00:00,true,{n}" for n in range(5000)]
    last = "5000,0x1,31.1.2025,2025-01-31T08:00:00+07:00,maybe,99999999999999999999"
    (root / "x.csv").write_text("\n".join(["a,b,c,d,e,f", *lines, last]))

    result, rows = read(root, "x.csv")

    kinds = ["int64", "string", "string", "string", "string", "decimal128(20, 0)"]
    assert list(types(result).values()) == kinds
    assert [str(value) for value in rows[-1].values()] == last.split(",")


@pytest.mark.parametrize(
    "cell",
    [
        "infinity",
        "-infinity",
        "20000-01-01",
        "0044-03-15 (BC)",
        "0000-01-01 00:00:00",
        "9999-12-31 24:00:00",
        "0001-01-01 00:00:00+07",
        "9999-12-31T23:59:59-07:00",
        "2025-01-31 08:00:00+25:00",
    ],
)
def test_a_day_that_files_cannot_show_is_text_as_it_was_written(root: Path, cell: str) -> None:
    (root / "x.csv").write_text(f"a\n{cell}\n")

    result, rows = read(root, "x.csv")

    assert (types(result), rows) == ({"a": "string"}, [{"a": cell}])
    assert result.warnings == (), "the types are known before the rows are read"


@pytest.mark.parametrize("cell", ["1e400", "-1e999", "1e-400", "2e-324", "1.23456e-320"])
def test_a_number_that_a_double_does_not_keep_is_text(root: Path, cell: str) -> None:
    (root / "x.csv").write_text(f"a,b\n{cell},0e5\n1e5,-1e-300\n")

    result, rows = read(root, "x.csv")

    assert types(result) == {"a": "string", "b": "double"}
    assert rows == [{"a": cell, "b": 0.0}, {"a": "1e5", "b": -1e-300}]


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("inside", ["\n", "\r\n", "\r"])
def test_a_name_of_several_lines_loses_no_row(root: Path, inside: str, line_end: str) -> None:
    header = f'"sold{inside}at";"a,b";amount'
    content = line_end.join([header, f'x;"y{inside}";1', "é;z;2", ""])
    (root / "x.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())

    _, rows = read(root, "x.csv")

    assert [list(row.values()) for row in rows] == [["x", f"y{inside}", 1], ["é", "z", 2]]
    assert list(rows[0]) == [f"sold{inside}at", "a,b", "amount"]


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("0001-01-01", "date32[day]", date(1, 1, 1)),
        ("9999-12-31", "date32[day]", date(9999, 12, 31)),
        ("0001-01-01 00:00:00", "timestamp[us]", FIRST.replace(tzinfo=None)),
        ("9999-12-31 23:59:59.999999", "timestamp[us]", LAST.replace(tzinfo=None)),
        ("0001-01-01 00:00:00Z", "timestamp[us, tz=UTC]", FIRST),
        ("9999-12-31 23:59:59.999999Z", "timestamp[us, tz=UTC]", LAST),
    ],
)
def test_the_first_and_the_last_day_are_days(root: Path, cell: str, kind: str, value: date) -> None:
    (root / "x.csv").write_text(f"a\n{cell}\n")

    result, rows = read(root, "x.csv")

    assert (types(result), rows) == ({"a": kind}, [{"a": value}])


LENIENT = """
    2025-01-01 24:00:00 | 2025-01-01T24:00 | 2025-01-01 24:00:00Z | 2025-06-30 23:59:60 | 2025-06-30 23:59:60Z
    2025-1-1 | 2025-01-01 1:00:00 | 2025-01-01 00:00:00.1234567 | 2025-01-01 00 | 2025/01/01 | 2025-02-29
    2025-01-01 00:00:00+99 | 2025-01-01 00:00:00+24 | 2025-01-01 00:00:00+05:99 | 2025-01-01 00:00:00 UTC
    2025-01-01 00:00:00 Europe/Berlin | 2025-01-01 00:00:00+05:30:10 | 2025-01-01 (BC) | epoch | today | 12:00
    +5 | 1_000 | .5 | 5. | 0x1F | 0b1 | 00 | 01.5 | --5 | 1,5 | 1 000 | 1\u202f000 | \u0663 | \uff11 | 1%
    inf | nan | Infinity | -inf | 1e400 | -1e400 | 1e-400 | 3e-324 | 1.8e308 | 1e | 1e5.5 | 0x1p3 | t | yes
    NULL | None | NA | \\N | 1\u200b
    123456789012345678901234567890123456789 | 0.123456789012345678901234567890123456789
"""
"""What DuckDB, Python or pandas take for something else."""


@pytest.mark.parametrize("beside", ["", "7", "1e5", "0.25", "2025-01-01", "2025-01-01 00:00:00", "true"])
def test_a_value_that_would_change_as_a_number_or_a_moment_stays_text(root: Path, beside: str) -> None:
    cells = [cell.strip() for line in LENIENT.strip().splitlines() for cell in line.split(" | ")]
    cells += [" 1", "1 ", "\u00a01"]
    if beside == "1e5":
        cells.append("9007199254740993")  # no double, and beside decimals exact
    names = [f"c{n}" for n in range(len(cells))]
    rows = [names, cells, [beside] * len(cells)]
    (root / "x.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))

    result, (first, second) = read(root, "x.tsv")

    assert [kind for kind in types(result).values() if kind != "string"] == []
    assert list(first.values()) == cells
    assert set(second.values()) == {beside or None}


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ("1e5|-2.5E-3|123456789012345|1e289|0e0", "double", [1e5, -2.5e-3, 123456789012345.0, 1e289, 0.0]),
        ("9223372036854775807|-9223372036854775808", "int64", [2**63 - 1, -(2**63)]),
        ("9223372036854775808|-1", "decimal128(19, 0)", [Decimal(2**63), Decimal(-1)]),
        (
            "2025-01-01T23:59:59.5+0530|2025-01-01 00:00-08",
            "timestamp[us, tz=UTC]",
            [datetime(2025, 1, 1, 18, 29, 59, 500000, UTC), datetime(2025, 1, 1, 8, tzinfo=UTC)],
        ),
    ],
)
def test_a_value_that_stays_what_it_is_has_its_type(
    root: Path, cells: str, kind: str, values: list[Any]
) -> None:
    (root / "x.csv").write_text("\n".join(["a", *cells.split("|")]))

    result, rows = read(root, "x.csv")

    assert (types(result), [row["a"] for row in rows]) == ({"a": kind}, values)


@pytest.mark.parametrize(
    ("word", "cell"),
    [
        ("date", "2025-01-01 23:00:00"),
        ("date", "0044-03-15 (BC)"),
        ("date", "infinity"),
        ("timestamp", "2025-01-01 00:00:00+07"),
        ("timestamp", "2025-01-01 00:00:00 Europe/Berlin"),
        ("timestamp", "2025-01-01 00:00:00.1234567"),
        ("timestamp with time zone", "2025-01-01 00:00:00+99"),
        ("timestamp with time zone", "2025-01-01 00:00:00.1234567Z"),
        ("time", "2025-01-01 12:00:00"),
        ("time", "12:00:00+07"),
        ("time", "12:00:00.1234567"),
        ("double", "1e400"),
        ("double", "-1e400"),
        ("integer", "1.5"),
        ("decimal(9,2)", "1.005"),
    ],
)
def test_of_a_declared_type_is_only_what_loses_nothing(root: Path, word: str, cell: str) -> None:
    (root / "x.csv").write_text(f"a\n\n{cell}\n")

    with pytest.raises(ConfigurationError, match=rf"columns.a: the value of row \d is no {re.escape(word)}"):
        read(root, "x.csv", columns={"a": word})


@pytest.mark.parametrize(
    ("word", "cell", "value"),
    [
        ("date", "2025-1-31", date(2025, 1, 31)),
        ("date", "2025/01/31", date(2025, 1, 31)),
        ("date", " 2025-01-31 00:00:00 ", date(2025, 1, 31)),
        ("timestamp", "2025-01-31", datetime.fromisoformat("2025-01-31")),
        ("timestamp", "2025/1/31 8:05:00.1000000", datetime.fromisoformat("2025-01-31T08:05:00.1")),
        ("timestamp with time zone", "2025-01-31 08:00 Asia/Jakarta", datetime(2025, 1, 31, 1, tzinfo=UTC)),
        ("timestamp with time zone", "2025-01-31 08:00:00+07", datetime(2025, 1, 31, 1, tzinfo=UTC)),
        ("timestamp with time zone", "2025-01-31T08:00:00", datetime(2025, 1, 31, 8, tzinfo=UTC)),
        ("time", " 8:00", time(8)),
        ("double", "-inf", float("-inf")),
        ("double", " +.5", 0.5),
        ("integer", " +007", 7),
        ("decimal(9,2)", "+1.500", Decimal("1.50")),
    ],
)
def test_a_declared_type_may_be_written_in_many_ways(root: Path, word: str, cell: str, value: object) -> None:
    (root / "x.csv").write_text(f"a\n{cell}\n")

    assert read(root, "x.csv", columns={"a": word})[1] == [{"a": value}]


def test_columns_may_be_called_anything_and_hold_nothing(root: Path) -> None:
    cells = "1,2.5,true,2025-01-31,,x\n2,2.25,false,2025-02-01,,y\n"
    (root / "x.csv").write_text(f'k,v,"a ""b""",*,empty,\n{cells}')

    result, _ = read(root, "x.csv")

    assert types(result) == {
        "k": "int64",
        "v": "decimal128(3, 2)",
        'a "b"': "bool",
        "*": "date32[day]",
        "empty": "string",
        "column_6": "string",
    }


def test_types_that_a_person_declares_hold_for_every_value(root: Path) -> None:
    (root / "x.csv").write_text('a;b;c;d;e\n007;1,5;31.5;2025-01-31T08:00:00+07:00;{"x": 1.10}\n')
    declared = {"a": "integer", "c": "decimal(12, 3)", "d": "timestamp with time zone", "e": "json"}

    result, rows = read(root, "x.csv", columns=declared, delimiter=";", quote="'")

    moment = datetime(2025, 1, 31, 1, tzinfo=UTC)
    assert rows == [{"a": 7, "b": "1,5", "c": Decimal("31.500"), "d": moment, "e": '{"x": 1.10}'}]
    assert types(result)["c"] == "decimal128(12, 3)"
    (root / "x.csv").write_text("c\n7\n31.5\n8.5\n")
    with pytest.raises(ConfigurationError, match=r"columns.c: the value of row 2 is no decimal") as raised:
        read(root, "x.csv", columns={"c": "decimal(9,0)"})
    assert "31.5" not in str(raised.value), "a report's values are not for logs"


def test_quotes_breaks_and_empty_cells_stay_what_they_are(root: Path) -> None:
    (root / "x.csv").write_bytes('\ufeffa,b,c\r\n"say ""hi""",,""\r\n"two\r\nlines", x ,=1+1\r\n'.encode())

    _, rows = read(root, "x.csv")

    assert rows == [{"a": 'say "hi"', "b": None, "c": ""}, {"a": "two\r\nlines", "b": " x ", "c": "=1+1"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n3\n", "the file x.csv, line 3: it has 1 cells, the header 2"),
        (b"a,b\n1,2\n3,4,5\n", "the file x.csv, line 3: it has 3 cells, the header 2"),
        (b'a,b\n1,"x"y\n', "the file x.csv, line 2: a quotation mark is not closed"),
        (b"a,b\n1,\xe9\xe8\n", "the file x.csv, line 2: it is not UTF-8; set connection_config.encoding"),
        (b"", "the file x.csv is empty"),
        (b"a,b\n1,2,\n", "the file x.csv, line 2: it has 3 cells, the header 2"),
        (b"a,b\nSmith,John,\n1,,\n", "the file x.csv, line 2: it has 3 cells, the header 2"),
        (b"a,b\n1,,\n", "the file x.csv, line 2: it has 3 cells, the header 2"),
        (b"a\nx,\n", "the file x.csv, line 2: it has 2 cells, the header 1"),
        (b'"a\nb",c\r\n1,"x\ny"\r\n3\r\n', "the file x.csv, line 5: it has 1 cells, the header 2"),
        (b"a,b\r\n1,2\r\n3,4\n5,6\r\n", "the file x.csv, line 3: it does not end like the lines before it"),
        (b'a,b\n"1\r\n",2\n3,x\ry\n', "the file x.csv, line 4: it does not end like the lines before it"),
        (b"a,b\n1," + b"x" * 9_000_000 + b"\n", "the file x.csv, line 2: its row has more than 8 MB"),
        (b'"a"b,c\n1,2\n', "the file x.csv, line 1: a quotation mark is not closed"),
        (b"na\xefve,b\n1,2\n", "the file x.csv, line 1: it is not UTF-8; set connection_config.encoding"),
        ("a,b\n1,2\n".encode("utf-16"), "the file x.csv, line 1: it is not UTF-8"),
    ],
    ids=range(16),
)
def test_a_row_that_does_not_fit_is_told_with_file_and_line(root: Path, content: bytes, words: str) -> None:
    (root / "x.csv").write_bytes(content)

    with pytest.raises(PermanentError, match=words):
        read(root, "x.csv")


def test_an_empty_text_is_a_text_also_among_numbers(root: Path) -> None:
    (root / "x.csv").write_text("a,b,c\n" + "1,2,x\n,,\n" * 3000 + '3,"",""\n')

    result, rows = read(root, "x.csv")

    assert list(types(result).values()) == ["int64", "string", "string"]
    assert rows[1] == {"a": None, "b": None, "c": None}
    assert rows[-1] == {"a": 3, "b": "", "c": ""}


@pytest.mark.parametrize(
    ("header", "rest"), [('"a,b,c";d', "1;2"), ('"a\nb";d', "1;2"), ('"a"",""b";d', "1;2"), ("a|b", "1|2")]
)
def test_the_delimiter_is_what_parts_the_header_and_not_what_is_in_its_quotes(
    root: Path, header: str, rest: str
) -> None:
    (root / "x.csv").write_text(f"{header}\n{rest}\n")

    assert [list(row.values()) for row in read(root, "x.csv")[1]] == [[1, 2]]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("inner", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_header_of_several_lines_costs_no_row(root: Path, bom: str, inner: str, end: str) -> None:
    lines = [f'{bom}"unit{inner}price",b', "1,2", f'3,"x{inner}y"', ""]
    (root / "x.csv").write_bytes(end.join(lines).encode())

    name = f"unit{inner}price"
    assert read(root, "x.csv")[1] == [{name: 1, "b": "2"}, {name: 3, "b": f"x{inner}y"}]
    (root / "x.csv").write_bytes(end.join([*lines[:2], "3", ""]).encode())
    with pytest.raises(PermanentError, match=r"the file x.csv, line 4: it has 1 cells"):
        read(root, "x.csv")


@pytest.mark.parametrize("declared", [{}, {"a": "text", "b": "text"}])
def test_lines_may_end_in_any_way_that_is_the_same_in_one_file(root: Path, declared: dict[str, str]) -> None:
    for name, end in (("a.csv", "\n"), ("b.csv", "\r\n"), ("c.csv", "\r")):
        (root / name).write_bytes(f"a,b{end}x,1{end}y,2".encode())

    rows = read(root, "*.csv", columns=declared)[1]

    assert [row["a"] for row in rows] == ["x", "y"] * 3
    (root / "b.csv").write_text("a,b\nx,1,\n")
    with pytest.raises(PermanentError, match=r"the file b.csv, line 2: it has 3 cells"):
        read(root, "*.csv", columns=declared)


def test_another_encoding_is_said_by_the_row(root: Path) -> None:
    (root / "x.tsv").write_bytes("name\tcity\nJosé\tŁódź\n".encode("utf-16"))

    assert read(root, "x.tsv", encoding="utf-16")[1] == [{"name": "José", "city": "Łódź"}]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("x.json", '[{"id": 1, "shop": {"city": "Łódź"}}, {"id": 2.5, "n": 0.12345678901234567890}]', {}),
        ("x.jsonl", '{"id": 1, "shop": {"city": "Łódź"}}\n\n{"id": 2.5, "n": 0.12345678901234567890}\n', {}),
        (
            "x.json",
            ('{"page": {"items": [{"id": 1, "shop": {"city": "Łódź"}}, {"id": 2.5, "n": 1.5}]}}'),
            {"rows": "page.items"},
        ),
    ],
)
def test_json_in_any_arrangement_keeps_every_digit(
    root: Path, name: str, content: str, options: dict[str, Any]
) -> None:
    (root / name).write_text(content)

    result, rows = read(root, name, **options)

    number = 1.5 if options else Decimal("0.12345678901234567890")
    assert rows == [{"id": 1.0, "shop.city": "Łódź", "n": None}, {"id": 2.5, "shop.city": None, "n": number}]
    assert types(result)["n"] == ("double" if options else "decimal128(21, 20)")


def test_a_large_json_array_is_read_in_pieces(root: Path) -> None:
    (root / "x.json").write_text(json.dumps([{"n": n, "pad": "é" * 200} for n in range(20_000)], indent=1))

    result, rows = read(root, "x.json", BoundQuery.of(["SELECT count(*) AS n, sum(n) AS total FROM data"]))

    assert rows == [{"n": 20_000, "total": "199990000"}]
    assert result.row_count == 1
    (root / "x.json").write_text('[{"n": 1}, {"n": ')
    with pytest.raises(PermanentError, match=r"the file x.json is not JSON"):
        read(root, "x.json")


def test_parquet_keeps_its_types(root: Path) -> None:
    table = pa.table(
        {"d": pa.array([Decimal("1.10")], pa.decimal128(38, 2)), "l": [[1, 2]], "day": [date(2025, 1, 31)]}
    )
    pyarrow.parquet.write_table(table, root / "x.parquet")

    result, rows = read(root, "x.parquet")

    assert types(result) == {"d": "decimal128(38, 2)", "l": "json", "day": "date32[day]"}
    assert rows == [{"d": Decimal("1.10"), "l": "[1,2]", "day": date(2025, 1, 31)}]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"a": [2.5], "b": ["y"]}, "the file 2.parquet has a DOUBLE, where 1.parquet has a BIGINT"),
        ({"a": [2]}, "the file 2.parquet has no more columns, where 1.parquet has b VARCHAR"),
        ({"a": [2], "b": ["y"], "c": [3]}, "the file 2.parquet has c BIGINT, where 1.parquet has none"),
    ],
)
def test_parquet_files_of_one_table_have_the_same_columns(
    root: Path, second: dict[str, list[Any]], words: str
) -> None:
    for name, table in (("1", {"a": [1], "b": ["x"]}), ("2", second)):
        pyarrow.parquet.write_table(pa.table(table), root / f"{name}.parquet")

    with pytest.raises(PermanentError, match=re.escape(words)):
        read(root, "*.parquet")


def test_parquet_files_may_order_their_columns_and_size_their_integers(root: Path) -> None:
    narrow = pa.table({"a": pa.array([1], pa.int8()), "b": ["x"]})
    pyarrow.parquet.write_table(narrow, root / "1.parquet")
    pyarrow.parquet.write_table(pa.table({"b": ["y"], "a": [300]}), root / "2.parquet")

    result, rows = read(root, "*.parquet")

    assert types(result) == {"a": "int64", "b": "string"}
    assert rows == [{"a": 1, "b": "x"}, {"a": 300, "b": "y"}]


def test_decimals_that_the_engine_would_round_are_refused(root: Path) -> None:
    wide = pa.array([Decimal("1" * 60 + ".12")], pa.decimal256(76, 2))
    pyarrow.parquet.write_table(pa.table({"a": wide}), root / "x.parquet")

    with pytest.raises(
        PermanentError, match=r"x.parquet has decimals of more than 38 digits in the column a"
    ):
        read(root, "x.parquet")


@pytest.mark.parametrize("place", [slice(0, -50), slice(0, 5), slice(4, 2000)])
def test_a_broken_parquet_file_is_named_and_not_quoted(root: Path, place: slice) -> None:
    whole = root / "whole.parquet"
    values = pa.table({"a": [f"secret {n}" for n in range(1000)]})
    pyarrow.parquet.write_table(values, whole, compression="none", use_dictionary=False)
    content = bytearray(whole.read_bytes())
    damaged = content[place] if place.start == 0 else content[:2000] + b"\xff" * 40 + content[2040:]
    whole.unlink()
    (root / "x.parquet").write_bytes(damaged)

    with pytest.raises(PermanentError, match=r"the file x.parquet is broken") as raised:
        read(root, "x.parquet")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("odd", ["s*r", "s?r", "[ab]"])
def test_a_name_with_wildcards_in_it_is_that_of_one_file(root: Path, odd: str, ending: str) -> None:
    folder = root / odd
    folder.mkdir()
    (root / "a").mkdir()
    (root / "sxr").mkdir()
    for place, value in ((folder, "mine"), (root / "a", "other"), (root / "sxr", "other")):
        if ending == "csv":
            (place / "x.csv").write_text(f"a\n{value}\n")
        else:
            pyarrow.parquet.write_table(pa.table({"a": [value]}), place / "x.parquet")
    settings = SourceSettings(file_roots=(folder,))
    made = FileConnector(DataSource(7, "files", "file", f"x.{ending}", {}), settings)

    spool = made.spool(ALL, root.parent / "out" / "spool.arrow", LIMITS).spool

    assert "can be read" in made.check(5)
    assert Spool.open(spool).head(9).to_pylist() == [{"a": "mine"}]


def test_every_table_of_an_archive_is_read_but_what_is_hidden(root: Path) -> None:
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for name, row in (("./a.csv", 1), ("../b.csv", 2), ("c/d.csv", 3), ("c/.e.csv", 4)):
            archive.writestr(name, f"n\n{row}\n")
        archive.writestr("c/__MACOSX/f.csv", "junk")

    assert sorted(row["n"] for row in read(root, "x.zip")[1]) == [1, 2, 3]
    assert not (root.parent / "b.csv").exists()


def test_a_plain_file_that_is_called_gz_is_read_as_it_is(root: Path) -> None:
    (root / "x.csv.gz").write_text(SALES)

    assert read(root, "x.csv.gz")[1] == ROWS


@pytest.mark.parametrize(
    ("word", "value"),
    [("timestamp", "2025-01-01T00:00:00.1234567"), ("time", "12:00:00.0000001"), ("time", "12:00+07:00")],
)
def test_a_declared_moment_of_json_loses_neither_digits_nor_its_zone(
    root: Path, word: str, value: str
) -> None:
    (root / "x.json").write_text(json.dumps([{"a": value}]))

    with pytest.raises(ConfigurationError, match="the value of 'a' in row 1 is no time"):
        read(root, "x.json", columns={"a": word})


def test_numbers_may_be_names_of_a_sheet(root: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["region", 2024, 0, True])
    book.active.append(["EU", 1, 2, 3])
    book.save(root / "x.xlsx")

    assert read(root, "x.xlsx")[1] == [{"region": "EU", "2024": 1, "0": 2, "True": 3}]


def test_a_sheet_of_a_workbook_is_chosen_by_name(root: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["other"])
    sheet = book.create_sheet("Sales")
    sheet.append(["id", "amount", "day", "id"])
    sheet.append([1, 2.5, datetime.fromisoformat("2025-01-31 08:30:00"), "007"])
    sheet.append([2, 3, datetime.fromisoformat("2025-02-01 00:00:00"), None])
    book.save(root / "x.xlsx")

    result, rows = read(root, "x.xlsx", sheet="Sales")

    assert types(result) == {"id": "int64", "amount": "double", "day": "timestamp[us]", "id_2": "string"}
    assert rows[1] == {
        "id": 2,
        "amount": 3.0,
        "day": datetime.fromisoformat("2025-02-01 00:00:00"),
        "id_2": None,
    }
    with pytest.raises(
        ConfigurationError, match=r"connection_config.sheet: .* \(value 'No'\); it has Sheet, Sales"
    ):
        read(root, "x.xlsx", sheet="No")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_columns_that_differ_only_in_case_keep_their_values(root: Path, name: str) -> None:
    if name.endswith("parquet"):
        pa.parquet.write_table(pa.table({"ID": [1, 2], "id": [3, 4]}), root / name)
    else:
        text = "ID,id\n1,3\n2,4\n" if name.endswith("csv") else '{"ID": 1, "id": 3}\n{"ID": 2, "id": 4}\n'
        (root / name).write_text(text)

    _, rows = read(root, name)

    assert [list(row.values()) for row in rows] == [[1, 3], [2, 4]]


def test_wildcards_and_variables_name_several_files_in_order(root: Path) -> None:
    for name, rows in (
        ("s_2025-01-31_b.csv", "3"),
        ("s_2025-01-31_a.csv", "1\n2"),
        ("s_2025-02-01_a.csv", "9"),
    ):
        (root / name).write_text(f"n\n{rows}\n")
    query = replace(ALL, variables={"start_date": date(2025, 1, 31)})

    assert [row["n"] for row in read(root, "s_{{start_date}}_*.csv", query)[1]] == [1, 2, 3]
    (root / "s_2025-01-31_c.csv").write_text("m\n1\n")
    with pytest.raises(PermanentError, match=r"s_2025-01-31_c.csv has the columns m, and .*_a.csv has n"):
        read(root, "s_{{start_date}}_*.csv", query)
    with pytest.raises(
        ConfigurationError, match=r"the variable \{\{end\}\} has no value; known are start_date"
    ):
        read(root, "s_{{end}}.csv", query)


def test_a_query_selects_with_bound_values(root: Path) -> None:
    (root / "sales.csv").write_text(SALES)
    query = BoundQuery.of(["SELECT zip, amount * 2 AS twice FROM data WHERE zip = ", Bind("zip", "007")])

    assert read(root, "sales.csv", query)[1] == [{"zip": "007", "twice": Decimal("3.00")}]


def test_an_absent_file_is_told_with_what_there_is(root: Path) -> None:
    (root / "sales_2025-01-30.csv").write_text(SALES)
    query = replace(ALL, variables={"start_date": "2025-01-31"})

    with pytest.raises(
        ConfigurationError,
        match=r"no file fits sales_2025-01-31\*.csv in .*/in; there are sales_2025-01-30.csv",
    ):
        read(root, "sales_{{start_date}}*.csv", query)


def test_nothing_outside_the_allowed_folders_is_read(root: Path) -> None:
    secret = root.parent / "secret.csv"
    secret.write_text("a\n1\n")
    (root / "link.csv").symlink_to(secret)
    (root / "folder").symlink_to(root.parent)

    for url in ("link.csv", "folder/secret.csv", "folder/*.csv", str(secret), f"file://{secret}"):
        with pytest.raises(ConfigurationError, match="leads out of the folders that may be read"):
            read(root, url)
    with pytest.raises(ConfigurationError, match="the path leads upwards"):
        read(root, "../secret.csv")
    with pytest.raises(ConfigurationError, match=r"\{\{x\}\} is no part of a file's name"):
        read(root, "{{x}}.csv", replace(ALL, variables={"x": "../secret"}))
    nowhere = FileConnector(DataSource(7, "files", "file", str(secret), {}), SourceSettings())
    with pytest.raises(ConfigurationError, match="REPORTHUB_FILE_ROOTS"):
        nowhere.check(5)


@pytest.mark.parametrize("path", ["{}.csv", "{}*.csv", "{}/*.csv", "*/{}.csv", "**/{}.csv"])
def test_nobody_learns_what_lies_outside_the_allowed_folders(root: Path, path: str) -> None:
    (root.parent / "outside" / "there").mkdir(parents=True)
    (root.parent / "outside" / "there.csv").write_text("a\n1\n")
    told = []
    for name in ("there", "ghost"):
        with pytest.raises(ConfigurationError, match="leads out of the folders that may be read") as raised:
            read(root, f"{root.parent}/outside/{path.format(name)}")
        told.append(str(raised.value).replace(name, "…"))

    assert told[0] == told[1]


SHEET = """<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1"><v>1</v></c></row>{}</sheetData></worksheet>"""
BOMBS = {
    "two cells far apart": '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
    "one long cell": f'<row r="2"><c r="A2" t="inlineStr"><is><t>{"a" * 200_000_000}</t></is></c></row>',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_workbook_that_unfolds_in_memory_ends_its_own_process_alone(root: Path, bomb: str) -> None:
    openpyxl.Workbook().save(root / "plain.xlsx")
    with (
        zipfile.ZipFile(root / "plain.xlsx") as plain,
        zipfile.ZipFile(root / "x.xlsx", "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in plain.namelist():
            is_sheet = name.startswith("xl/worksheets/")
            made.writestr(name, SHEET.format(BOMBS[bomb]) if is_sheet else plain.read(name))
    assert (root / "x.xlsx").stat().st_size < 300_000
    connector_of = connector(root, "x.xlsx")
    small = FileConnector(connector_of.source, replace(connector_of.settings, memory_mb=64))

    with pytest.raises(
        PermanentError, match=r"the file x\.xlsx is no workbook that can be read: (it takes|a row)"
    ):
        small.spool(ALL, root.parent / "out" / "spool.arrow", LIMITS)

    assert os.listdir(root.parent / "out") == []  # noqa: PTH208 - hidden files too


def test_a_workbook_has_no_more_time_than_the_report(root: Path) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for number in range(30_000):
        sheet.append([number, "x"])
    book.save(root / "x.xlsx")

    with pytest.raises(PermanentError, match="longer than timeout_seconds"):
        read(root, "x.xlsx", limits={"timeout_seconds": 0.05})


def test_a_zip_with_very_many_files_is_refused_at_once(root: Path) -> None:
    with zipfile.ZipFile(root / "many.zip", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.csv", "")

    with pytest.raises(PermanentError, match="holds 10,001 files; at most 10,000 are read"):
        read(root, "many.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, 99])
def test_a_zip_that_cannot_be_unpacked_is_broken(root: Path, method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.csv", SALES)
    content = bytearray(file.getvalue())
    content[44:46] = b"\xff\xff"
    content[content.index(b"PK\1\2") + 10] = method
    (root / "x.zip").write_bytes(content)

    with pytest.raises(PermanentError, match=r"the file x\.zip is broken"):
        read(root, "x.zip")


@pytest.mark.parametrize("encoding", ["nonsense", "zlib", "a\0b"])
def test_an_encoding_that_is_none_is_named(root: Path, encoding: str) -> None:
    (root / "x.csv").write_text(SALES)

    with pytest.raises(PermanentError, match="is no encoding of text"):
        read(root, "x.csv", encoding=encoding)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM '{other}'",
        "COPY data TO '{other}'",
        "SELECT * FROM glob('/etc/*')",
    ],
)
def test_a_query_sees_no_other_file(root: Path, sql: str) -> None:
    (root / "sales.csv").write_text(SALES)
    other = root / "other.csv"
    other.write_text("a\n1\n")

    with pytest.raises(ConfigurationError, match=r"(?i)disabled|does not exist|read-only"):
        read(root, "sales.csv", BoundQuery.of([sql.format(other=other)]))

    assert other.read_text() == "a\n1\n"


def test_what_unpacks_to_too_much_is_refused(root: Path) -> None:
    (root / "bomb.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 5_000_000))
    made = connector(root, "bomb.csv.gz")
    small = FileConnector(made.source, replace(made.settings, fetch_bytes=1_000_000))

    with pytest.raises(PermanentError, match=r"more than 1 MB; .* REPORTHUB_FETCH_LIMIT_MB"):
        small.spool(ALL, root.parent / "out" / "spool.arrow", LIMITS)

    assert os.listdir(root.parent / "out") == []  # noqa: PTH208 - hidden files too


def test_files_of_a_bucket(root: Path, bucket: Bucket) -> None:
    keys = {"in/a.csv": SALES, "in/b.csv.gz": SALES, "in/deep/c.csv": SALES, "in/x.txt": "no"}
    for key, text in keys.items():
        content = gzip.compress(text.encode()) if key.endswith("gz") else text.encode()
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content)
    options: Any = {"endpoint_url": bucket.endpoint, "access_key": "test", "secret_key": "test"}

    assert read(root, f"s3://{bucket.name}/in/*.csv*", **options)[1] == ROWS * 2
    assert len(read(root, f"s3://{bucket.name}/in/**.csv*", **options)[1]) == 6
    assert "can be listed" in connector(root, f"s3://{bucket.name}/in/*.csv", **options).check(5)
    with pytest.raises(
        ConfigurationError, match=r"no file fits z\*.csv in s3://.*/in; there are a.csv, b.csv.gz"
    ):
        read(root, f"s3://{bucket.name}/in/z*.csv", **options)
    with pytest.raises(ConfigurationError, match="answered 404 NoSuchBucket; correct the bucket's name"):
        read(root, "s3://no-such-bucket-of-ours/in/z.csv", **options)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"secret_key": "wrong"},
            r"column connection_config\.secret_key: .* 403 SignatureDoesNotMatch; correct secret_key",
        ),
        (
            {"access_key": "AKIA0000000000000000"},
            r"column connection_config\.access_key: .* 403 InvalidAccessKeyId; correct access_key",
        ),
        ({"bucket": "no-such-bucket-of-ours"}, r"column connection_url: .* 404 NoSuchBucket; correct the bu"),
        (
            {"file": "absent.csv"},
            r"column connection_url: no file fits absent\.csv in s3:.*; there are a\.csv",
        ),
    ],
)
def test_what_a_bucket_refuses_names_what_to_change(
    root: Path, verifying_bucket: Bucket, wrong: dict[str, str], told: str
) -> None:
    given = verifying_bucket
    given.client.put_object(Bucket=given.name, Key="in/a.csv", Body=SALES.encode())
    row = {"bucket": given.name, "file": "a.csv", "secret_key": given.secret_key, **wrong}
    url = f"s3://{row.pop('bucket')}/in/{row.pop('file')}"
    options: Any = {"endpoint_url": given.endpoint, "access_key": given.access_key, **row}

    with pytest.raises(ConfigurationError, match=rf"report_datasources 7, {told}") as raised:
        read(root, url, **options)

    assert options["secret_key"] not in str(raised.value)
    if "absent" not in url:
        with pytest.raises(ConfigurationError, match=told):
            connector(root, url, **options).check(5)


@pytest.mark.parametrize(
    ("url", "options", "column"),
    [
        (
            "s3://b/x.csv",
            {"endpoint_url": "http://no-such-host.invalid", "access_key": "a", "secret_key": "b"},
            r"connection_config\.endpoint_url",
        ),
        ("https://no-such-host.invalid/x.csv", {}, "connection_url"),
        ("sftp://u@no-such-host.invalid/x.csv", {"password": "secret"}, "connection_url"),
    ],
)
def test_an_unknown_host_names_what_to_change(
    root: Path, url: str, options: dict[str, Any], column: str
) -> None:
    made = connector(root, url, **options)

    for ask in (made.resolve, lambda: made.check(5), lambda: read(root, url, **options)):
        with pytest.raises(ConfigurationError, match=rf"report_datasources 7, column {column}: unknown host"):
            ask()


def test_files_over_sftp(root: Path, sftp_server: SftpServer, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "a.csv").write_text(SALES)
    (there / "b.csv.gz").write_bytes(gzip.compress(SALES.encode()))
    base = f"sftp://{sftp_server.user}@127.0.0.1:{sftp_server.port}{there}"
    options: Any = {
        "private_key": sftp_server.client_key.export_private_key().decode(),
        "host_key": sftp_server.host_key.export_public_key().decode(),
    }

    assert read(root, f"{base}/*.csv*", **options)[1] == ROWS * 2
    assert "signed in as" in connector(root, f"{base}/*.csv", **options).check(5)
    with pytest.raises(
        ConfigurationError, match=r"no file fits z\*.csv in .*/there; there are a.csv, b.csv.gz"
    ):
        read(root, f"{base}/z*.csv", **options)
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for changed, words in (
        (
            {"private_key": stranger.export_private_key().decode()},
            "connection_config.private_key: .* refused the key",
        ),
        (
            {"host_key": stranger.export_public_key().decode()},
            "connection_config.host_key: .* another host key",
        ),
        ({"host_key": None}, "connection_config.host_key: the host key of .* is unknown"),
    ):
        with pytest.raises(ConfigurationError, match=f"report_datasources 7, column {words}"):
            read(root, f"{base}/a.csv", **{**options, **changed})


def test_a_file_behind_a_url(root: Path, web_server: WebServer) -> None:
    base = web_server.url.removesuffix("/hook")
    query = replace(ALL, variables={"day": "31/1 & 2"})
    web_server.answer("*", Answer(503), Answer(200, body=SALES))

    result, rows = read(root, f"{base}/sales.csv?day={{{{day}}}}&x=1", query, headers={"X-Key": "geheim"})

    assert rows == ROWS
    (request,) = web_server.requests
    assert request.path == "/sales.csv?day=31%2F1%20%26%202&x=1"
    assert request.headers["x-key"] == "geheim"
    assert result.row_count == 2


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        (
            [Answer(401)],
            ConfigurationError,
            "report_datasources 7, column connection_config.auth: .* answered 401",
        ),
        ([Answer(404)], ConfigurationError, "answered 404 Not Found; correct the path"),
        (
            [Answer(302, {"Location": "http://169.254.169.254/"})],
            ConfigurationError,
            "redirects are not followed",
        ),
        ([Answer(500)] * 3, TransientError, r"answered 500 Internal Server Error \(3 attempts\)"),
        ([Answer(418)], PermanentError, "answered 418"),
    ],
)
def test_what_a_host_answers_says_what_to_do(
    root: Path, web_server: WebServer, answers: list[Answer], kind: type[ReportHubError], words: str
) -> None:
    web_server.answer("*", *answers)

    with pytest.raises(kind, match=words):
        read(root, f"{web_server.url}/sales.csv")


def test_addresses_that_the_policy_closes_are_not_reached(root: Path, web_server: WebServer) -> None:
    closed = FileConnector(
        DataSource(7, "f", "file", f"{web_server.url}/x.csv", {}), SourceSettings(file_roots=(root,))
    )

    with pytest.raises(
        ConfigurationError, match=r"127.0.0.1 leads to 127.0.0.1: .* in REPORTHUB_EGRESS_ALLOW"
    ):
        closed.spool(ALL, root.parent / "out" / "x.arrow", LIMITS)

    assert web_server.connections == 0


def test_a_cut_connection_is_tried_again(root: Path, start_web_server: Callable[..., WebServer]) -> None:
    server = start_web_server()
    server.cuts.append("before")
    server.answer("*", Answer(200, body=SALES))

    assert read(root, f"{server.url}/sales.csv")[1] == ROWS
