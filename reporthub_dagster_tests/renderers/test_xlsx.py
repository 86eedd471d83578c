"""What only workbooks have: sheets, number formats, a styled header, limits of Excel."""

# ruff: noqa: DTZ001 - a workbook has no zones

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.workbook import Workbook
from python_calamine import CalamineWorkbook

from reporthub_dagster.renderers import xlsx, xlsx_package
from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.xlsx import XlsxRenderer
from reporthub_dagster.renderers.xlsx_sheet import sheet_name
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import text_field
from reporthub_dagster_tests.renderers.readers import unescaped
from reporthub_dagster_tests.renderers.spools import WINDOW, request_for, spool_of
from reporthub_dagster_tests.renderers.values import VALUES

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


def test_openpyxl_and_calamine_agree_cell_by_cell(tmp_path: Path) -> None:
    fields = [pa.field(value.name, value.field.type, metadata=value.field.metadata) for value in VALUES]
    spool = spool_of(tmp_path / "spool.arrow", pa.schema(fields), [[value.value] for value in VALUES])

    file = XlsxRenderer().render(request_for(spool), tmp_path / "report.xlsx")

    ours = openpyxl.load_workbook(file.path).active
    theirs = CalamineWorkbook.from_path(file.path).get_sheet_by_index(0).to_python(skip_empty_area=False)
    assert theirs[0] == [value.name for value in VALUES]
    for number, value in enumerate(VALUES):
        cell, other = ours.cell(2, number + 1).value, theirs[1][number]
        assert same(cell, other), (value.name, cell, other)


def same(cell: Any, other: Any) -> bool:
    """openpyxl leaves `_xHHHH_` as it is, calamine some; calamine has whole days as dates."""
    if isinstance(cell, str):
        return unescaped(cell) in (other, unescaped(other))
    if isinstance(cell, datetime) and not isinstance(other, datetime):
        return bool(cell.date() == other)
    return bool(cell == other)


def test_totals_follow_the_filters_where_excel_counts_exactly(tmp_path: Path) -> None:
    schema = pa.schema([("who", pa.utf8()), ("amount", pa.decimal128(20, 2)), ("card", pa.int64())])
    rows: list[list[Any]] = [["a", "b"], [Decimal("1.50"), Decimal("2.25")], [10**16, 1]]
    spool = spool_of(tmp_path / "spool.arrow", schema, rows)
    request = request_for(spool, options={"totals": ["amount", "card"]})

    path = XlsxRenderer().render(request, tmp_path / "report.xlsx").path

    total = [cell.value for cell in openpyxl.load_workbook(path).active[4]]
    cached = [cell.value for cell in openpyxl.load_workbook(path, data_only=True).active[4]]
    assert total == ["Total", "=SUBTOTAL(109,B2:B3)", "10000000000000001"]
    assert cached == ["Total", 3.75, "10000000000000001"]


@pytest.mark.parametrize(("rows", "sheets"), [(2, [4]), (3, [4, 2]), (4, [4, 3])])
def test_a_total_that_finds_no_room_stands_on_the_next_sheet(
    rows: int, sheets: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 4)

    book = workbook(tmp_path, pa.field("v", pa.int64()), list(range(rows)), options={"totals": ["v"]})

    assert [sheet.max_row for sheet in book.worksheets] == sheets
    last = book.worksheets[-1]
    assert last.cell(last.max_row, 1).value == (
        "=SUBTOTAL(109,A2:A3)" if len(sheets) == 1 else sum(range(rows))
    )


def test_title_and_window_stand_above_the_table_on_demand(tmp_path: Path) -> None:
    book = workbook(tmp_path, pa.field("v", pa.int64()), [1, 2], options={"title": True, "window": True})

    assert column(book) == ["Daily settlements", "31 January 2025 · Asia/Jakarta", None, "v", 1, 2]
    assert (book.active.freeze_panes, book.active.auto_filter.ref) == ("A5", "A4:A6")


def test_a_pattern_is_the_number_format_and_null_may_have_a_text(tmp_path: Path) -> None:
    options = {"column_formats": {"v": "0.0%"}, "null": "n/a", "header": False, "sheet_name": "Rates"}

    book = workbook(tmp_path, pa.field("v", pa.float64()), [0.5, None], options=options)

    assert (book.sheetnames, column(book)) == (["Rates"], [0.5, "n/a"])
    assert book.active["A1"].number_format == "0.0%"
    assert book.active.freeze_panes is None


def test_every_section_is_a_sheet(tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "spool.arrow", pa.schema([("v", pa.int64())]), [[1]])
    sections = tuple(Section(name, spool, ("v",), name == "B") for name in ("A", "B"))

    file = XlsxRenderer().render(RenderRequest("Both", WINDOW, sections), tmp_path / "report.xlsx")

    book = openpyxl.load_workbook(file.path)
    assert book.sheetnames == ["A", "B", "Note"]
    assert [column(book, sheet) for sheet in (0, 1)] == [["v", 1], ["v", 1]]
    assert [book["Note"].cell(row, 2).value for row in (3, 4)] == ["B", "1 row"]


def test_a_sheet_says_how_large_it_is(tmp_path: Path) -> None:
    schema = pa.schema([(f"c{number}", pa.int8()) for number in range(30)])
    spool = spool_of(tmp_path / "spool.arrow", schema, [[1, 2]] * 30)

    file = XlsxRenderer().render(request_for(spool), tmp_path / "report.xlsx")

    with ZipFile(file.path) as package:
        assert b'<dimension ref="A1:AD3"/>' in package.read("xl/worksheets/sheet1.xml")


@pytest.mark.parametrize("limit", [0xFFFFFFFF, 60, 1])
def test_a_package_is_a_zip_file_whatever_its_size(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx_package, "_LARGE", limit)
    parts = {"small.xml": b"x", "large.xml": b"0123456789" * 1000}
    with (tmp_path / "p.zip").open("xb") as file:
        package = xlsx_package.Package(file)
        for name, data in parts.items():
            package.add(name, [data[:5], data[5:]])
        package.close()

    with ZipFile(tmp_path / "p.zip") as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == parts


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
