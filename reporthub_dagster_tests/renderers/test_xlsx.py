"""What only workbooks have: sheets, number formats, a styled header, limits of Excel."""

# ruff: noqa: DTZ001 - a workbook has no zones

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.workbook import Workbook

from reporthub_dagster.renderers import xlsx
from reporthub_dagster.renderers.xlsx import XlsxRenderer
from reporthub_dagster.renderers.xlsx_sheet import sheet_name
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import text_field
from reporthub_dagster_tests.renderers.readers import unescaped
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

MOMENT = datetime(2025, 1, 31, 8)


def workbook(folder: Path, field: pa.Field, values: Sequence[Any], **changes: Any) -> Workbook:
    spool = spool_of(folder / "spool.arrow", pa.schema([field]), [values])
    file = XlsxRenderer().render(request_for(spool, **changes), folder / "report.xlsx")
    return openpyxl.load_workbook(file.path)


def column(book: Workbook, sheet: int = 0) -> list[Any]:
    return [row[0].value for row in book.worksheets[sheet].iter_rows()]


@pytest.mark.parametrize(
    ("kind", "value", "pattern"),
    [
        (pa.decimal128(12, 2), Decimal("1234.50"), "#,##0.00"),
        (pa.decimal128(12, 0), Decimal(1234), "0"),
        (pa.int64(), 1234, "General"),
        (pa.date32(), MOMENT.date(), "yyyy-mm-dd"),
        (pa.timestamp("us"), MOMENT, "yyyy-mm-dd hh:mm:ss"),
        (pa.timestamp("us"), MOMENT.replace(microsecond=5000), "yyyy-mm-dd hh:mm:ss.000"),
        (pa.timestamp("us", "UTC"), MOMENT.replace(tzinfo=UTC), 'yyyy-mm-dd hh:mm:ss" +07:00"'),
        (pa.time64("us"), time(8), "hh:mm:ss"),
        (pa.duration("us"), timedelta(hours=100), "[h]:mm:ss"),
    ],
)
def test_a_number_format_says_what_a_number_means(
    kind: pa.DataType, value: Any, pattern: str, tmp_path: Path
) -> None:
    book = workbook(tmp_path, pa.field("v", kind), [value])

    assert book.active["A2"].number_format == pattern


def test_a_decimal_of_unknown_scale_keeps_that_of_each_cell(tmp_path: Path) -> None:
    sheet = workbook(tmp_path, text_field("v", "decimal"), ["1.5", None, "2.500", "3", "1e2"]).active

    assert [sheet[f"A{row}"].number_format for row in (2, 4, 5, 6)] == [
        "#,##0.0",
        "#,##0.000",
        "0",
        "General",
    ]


def test_text_is_never_a_formula_or_a_link(tmp_path: Path) -> None:
    sheet = workbook(tmp_path, pa.field("v", pa.utf8()), ["=1+1", "{=1}", "http://a.b", "12", "TRUE"]).active

    assert [sheet[f"A{row}"].data_type for row in range(2, 7)] == ["s"] * 5
    assert all(sheet[f"A{row}"].hyperlink is None for row in range(2, 7))


def test_the_header_is_bold_frozen_and_has_filters(tmp_path: Path) -> None:
    sheet = workbook(tmp_path, pa.field("v", pa.utf8()), ["a", "b"]).active

    assert sheet["A1"].font.bold
    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet.print_title_rows) == ("A2", "A1:A3", "$1:$1")


def test_a_column_is_as_wide_as_its_first_rows(tmp_path: Path) -> None:
    def width(value: str) -> float:
        sheet = workbook(tmp_path, pa.field("v", pa.utf8()), [value]).active
        return float(sheet.column_dimensions["A"].width)

    assert width("a") < width("a" * 30) < width("a" * 300) < 70


def test_a_text_of_several_lines_gets_the_room(tmp_path: Path) -> None:
    sheet = workbook(tmp_path, pa.field("v", pa.utf8()), ["one\ntwo\nthree", "one"]).active

    assert sheet["A2"].alignment.wrap_text
    assert (sheet.row_dimensions[2].height, sheet.row_dimensions[3].height) == (45, None)


@pytest.mark.parametrize(
    ("text", "kept"), [("x" * 32_768, 32_767), ("😀" * 16_384, 16_383), ("x" * 32_767, 32_767)]
)
def test_a_long_text_is_cut_at_the_limit_of_a_cell(text: str, kept: int, tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "spool.arrow", pa.schema([("note", pa.utf8())]), [[text]])

    file = XlsxRenderer().render(request_for(spool), tmp_path / "report.xlsx")

    value = openpyxl.load_workbook(file.path).active["A2"].value
    assert value == text[:kept]
    assert bool(file.warnings) == (len(text) > kept)
    assert all(warning.startswith("column 'note': longer than the 32,767") for warning in file.warnings)


@pytest.mark.parametrize(("rows", "sheets"), [(3, 1), (4, 2), (6, 2), (7, 3)])
def test_a_full_sheet_is_followed_by_the_next(
    rows: int, sheets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 4)

    book = workbook(tmp_path, pa.field("v", pa.int64()), list(range(rows)), title="T")

    assert book.sheetnames == ["T", "T (2)", "T (3)"][:sheets]
    columns = [column(book, sheet) for sheet in range(sheets)]
    assert all(values[0] == "v" for values in columns)
    assert [value for values in columns for value in values[1:]] == list(range(rows))
    assert book.worksheets[-1].auto_filter.ref == f"A1:A{len(columns[-1])}"


def test_a_cut_result_says_so_on_a_sheet_of_its_own(tmp_path: Path) -> None:
    book = workbook(tmp_path, pa.field("v", pa.int64()), [1, 2], truncated=True)

    assert book.sheetnames == ["Daily settlements", "Note"]
    assert book["Note"]["B4"].value == "Incomplete: only the first 2 rows are shown, the source had more."
    assert column(book) == ["v", 1, 2]


def test_title_and_window_are_properties_of_the_document(tmp_path: Path) -> None:
    properties = workbook(tmp_path, pa.field("v", pa.int64()), [1]).properties

    assert (properties.title, properties.subject) == ("Daily settlements", "31 January 2025 · Asia/Jakarta")
    assert properties.created == datetime(2025, 1, 31, 17)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Sales: EU/US [2025]?*\\", "Sales EU US 2025"),
        ("'quoted'", "quoted"),
        ("", "Report"),
        ("History", "Report"),
        ("a\x00b", "a b"),
        ("x" * 40, "x" * 31),
        ("😀" * 20, "😀" * 15),
    ],
)
def test_a_sheet_name_is_one_that_excel_accepts(title: str, name: str) -> None:
    assert sheet_name(title, []) == name


def test_sheet_names_differ_whatever_their_case() -> None:
    assert sheet_name("REPORT " + "x" * 30, ["report " + "x" * 24]) == "REPORT " + "x" * 20 + " (2)"


@given(title=st.text(), count=st.integers(0, 3))
def test_any_title_becomes_a_sheet_name(title: str, count: int) -> None:
    taken: list[str] = []
    for _ in range(count):
        taken.append(sheet_name(title, taken))

    name = sheet_name(title, taken)

    assert 0 < len(name.encode("utf-16-le")) <= 62
    assert not set(name) & set("[]:*?/\\")
    assert name.lower() not in [other.lower() for other in taken]


def test_more_columns_than_a_sheet_has_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([(f"c{number}", pa.int8()) for number in range(16_385)])
    spool = spool_of(tmp_path / "spool.arrow", schema)

    with pytest.raises(PermanentError, match="16,384 columns, not 16,385"):
        XlsxRenderer().render(request_for(spool), tmp_path / "report.xlsx")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(min_size=1), min_size=1))
def test_any_text_comes_back(values: list[str], tmp_path: Path) -> None:
    book = workbook(tmp_path, pa.field("v", pa.utf8()), values)

    assert [unescaped(value) for value in column(book)[1:]] == values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.decimals(allow_nan=False, allow_infinity=False), min_size=1))
def test_any_decimal_comes_back(values: list[Decimal], tmp_path: Path) -> None:
    book = workbook(tmp_path, text_field("v", "decimal"), [str(value) for value in values])

    # By way of repr: the shortest text of the double that Excel holds.
    assert [Decimal(repr(v) if isinstance(v, float) else v) for v in column(book)[1:]] == values
