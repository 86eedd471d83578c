"""What only csv files have: quotes, delimiters, a byte order mark, apostrophes before formulas."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.renderers.csv import CsvRenderer
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

TWO = pa.schema([("a", pa.utf8()), ("b", pa.utf8())])
ONE = pa.schema([("a", pa.utf8())])


def written(spool: Spool, **options: Any) -> bytes:
    file = CsvRenderer().render(request_for(spool, options=options), spool.path.with_suffix(".csv"))
    return file.path.read_bytes()


def two(folder: Path, *rows: tuple[str | None, str | None]) -> Spool:
    return spool_of(folder / "spool.arrow", TWO, [[row[0] for row in rows], [row[1] for row in rows]])


def test_lines_end_with_crlf_and_quotes_stand_where_needed(tmp_path: Path) -> None:
    spool = two(tmp_path, ("plain", 'a "b"'), ("x,y", "one\ntwo"))

    assert written(spool) == b'a,b\r\nplain,"a ""b"""\r\n"x,y","one\ntwo"\r\n'


def test_null_and_the_empty_string_differ(tmp_path: Path) -> None:
    assert written(two(tmp_path, (None, ""), ("", None))) == b'a,b\r\n,""\r\n"",\r\n'


def test_a_null_in_the_only_column_is_not_an_empty_line(tmp_path: Path) -> None:
    assert written(spool_of(tmp_path / "s.arrow", ONE, [["x", None, ""]])) == b'a\r\nx\r\n""\r\n""\r\n'


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_quoted_where_it_is_one(delimiter: str, tmp_path: Path) -> None:
    data = written(two(tmp_path, ("x,y;z|\tw", "v")), delimiter=delimiter)

    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))
    assert rows == [["a", "b"], ["x,y;z|\tw", "v"]]


def test_a_byte_order_mark_comes_first_when_asked_for(tmp_path: Path) -> None:
    spool = two(tmp_path, ("ü", "b"))

    assert written(spool, bom=True) == b"\xef\xbb\xbf" + written(spool)


@pytest.mark.parametrize(
    "text", ["=1", "+x", "-x", "@x", "\tx", "\rx", "--1", "-1-1", "-1 2", "+", "=", "-1,a"]
)
def test_formulas_get_an_apostrophe(text: str, tmp_path: Path) -> None:
    spool = two(tmp_path, (text, "b"))

    assert first_cell(written(spool)) == f"'{text}"
    assert first_cell(written(spool, escape_formulas=False)) == text


@pytest.mark.parametrize("text", ["-", "-5", "+5", "-1.50", "-1,234.5", "-1e-7", "+4930123456", "a=1", " =1"])
def test_text_that_is_a_number_stays_as_it_is(text: str, tmp_path: Path) -> None:
    assert first_cell(written(two(tmp_path, (text, "b")))) == text


def test_numbers_never_get_an_apostrophe(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.float64())])

    assert written(spool_of(tmp_path / "s.arrow", schema, [[-5], [-0.5]])) == b"a,b\r\n-5,-0.5\r\n"


def test_a_column_name_is_text_as_well(tmp_path: Path) -> None:
    schema = pa.schema([("=cmd()", pa.utf8()), ('a "b"', pa.utf8())])

    assert written(spool_of(tmp_path / "s.arrow", schema)) == b'\'=cmd(),"a ""b"""\r\n'


def test_an_invalid_option_names_itself_and_what_is_valid(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'one of "," ";" "\|" or a tab') as caught:
        written(two(tmp_path, ("a", "b")), delimiter="::")

    assert (caught.value.column, caught.value.value) == ("parameters.format.delimiter", "::")


def test_a_type_without_a_text_form_names_its_column(tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "s.arrow", pa.schema([("tags", pa.list_(pa.utf8()))]), [[["a"]]])

    with pytest.raises(PermanentError, match="column 'tags' has type list"):
        written(spool)


def test_a_text_for_null_differs_from_the_same_text(tmp_path: Path) -> None:
    assert written(two(tmp_path, (None, "NULL")), null="NULL") == b'a,b\r\nNULL,"NULL"\r\n'


def test_a_text_for_null_with_the_delimiter_stays_one_field(tmp_path: Path) -> None:
    assert written(two(tmp_path, (None, "x")), null="none, yet") == b'a,b\r\n"none, yet",x\r\n'


def test_lines_may_end_as_on_unix_and_have_no_header(tmp_path: Path) -> None:
    assert written(two(tmp_path, ("x", "y")), line_ending="lf", header=False) == b"x,y\n"


@pytest.mark.parametrize(
    ("quoting", "line"), [("minimal", b"-1,x,"), ("text", b'-1,"x",'), ("all", b'"-1","x",')]
)
def test_quotes_stand_where_asked_for(quoting: str, line: bytes, tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("t", pa.utf8()), ("m", pa.int64())])
    spool = spool_of(tmp_path / "s.arrow", schema, [[-1], ["x"], [None]])

    assert written(spool, quoting=quoting, header=False) == line + b"\r\n"


def test_a_decimal_comma_is_no_delimiter(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.float64()), ("b", pa.utf8())])
    spool = spool_of(tmp_path / "s.arrow", schema, [[1.5], ["x"]])

    assert written(spool, decimal_separator=",", header=False) == b'"1,5",x\r\n'
    assert written(spool, decimal_separator=",", delimiter=";", header=False) == b"1,5;x\r\n"


def test_huge_cells_are_written_in_smaller_pieces(tmp_path: Path) -> None:
    cell = "x" * 3_000_000

    rows = written(spool_of(tmp_path / "s.arrow", ONE, [[cell] * 20])).split(b"\r\n")

    assert rows == [b"a", *[cell.encode()] * 20, b""]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_any_text_comes_back(rows: list[tuple[str, str]], tmp_path: Path) -> None:
    data = written(two(tmp_path, *rows), escape_formulas=False).decode()

    assert list(csv.reader(io.StringIO(data, newline=""), strict=True))[1:] == [list(row) for row in rows]


def first_cell(data: bytes) -> str:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))[1][0]
