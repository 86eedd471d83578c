"""Sums of columns: exact, of any size, and written as the cells above them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from reporthub_dagster.renderers.html import HtmlRenderer
from reporthub_dagster.renderers.xlsx import XlsxRenderer
from reporthub_dagster.storage.spool import text_field
from reporthub_dagster_tests.renderers.readers import html_tables
from reporthub_dagster_tests.renderers.spools import request_for, value_spool

DOUBLE = pa.field("v", pa.float64())
DECIMAL_76 = pa.field("v", pa.decimal256(76, 1))
MOST = Decimal(f"{'9' * 75}.9")


@pytest.mark.parametrize(
    ("field", "values", "total"),
    [
        (DOUBLE, [10.0, 20.0], "30"),
        (DOUBLE, [1e15, 1e15], "2e+15"),
        (DOUBLE, [1e308, 1e308], "Infinity"),
        (DOUBLE, [float("nan"), 1.5, None], "1.5"),
        (pa.field("v", pa.uint64()), [2**64 - 1, 2**64 - 1], str(2**65 - 2)),
        (DECIMAL_76, [MOST] * 8, f"7{'9' * 75}.2"),
        (DECIMAL_76, [MOST.copy_negate(), MOST, None], "0.0"),
        (text_field("v", "decimal"), ["1.50", "NaN", "2"], "3.50"),
    ],
)
def test_a_sum_is_written_as_the_cells_are(
    field: pa.Field, values: list[Any], total: str, tmp_path: Path
) -> None:
    spool = value_spool(tmp_path, field, values)

    path = HtmlRenderer().render(request_for(spool, options={"totals": ["v"]}), tmp_path / "a.html").path

    assert html_tables(path)[0][-1] == ["Total", total]


@pytest.mark.parametrize(
    ("field", "values", "total", "shown"),
    [
        (DOUBLE, [0.1, 0.1, 0.1], "=SUBTOTAL(109,B2:B4)", 0.1 + 0.1 + 0.1),
        (DOUBLE, [1e308, 1e308], "Infinity", "Infinity"),
        (text_field("v", "decimal"), ["1e400"], f"1{'0' * 400}", f"1{'0' * 400}"),
    ],
)
def test_a_sum_that_excel_knows_is_a_number_of_it(
    field: pa.Field, values: list[Any], total: str, shown: Any, tmp_path: Path
) -> None:
    spool = value_spool(tmp_path, field, values)

    path = XlsxRenderer().render(request_for(spool, options={"totals": ["v"]}), tmp_path / "a.xlsx").path

    books = [openpyxl.load_workbook(path, data_only=only) for only in (False, True)]
    assert [book.active.cell(len(values) + 2, 2).value for book in books] == [total, shown]
