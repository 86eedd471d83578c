"""What only pages have: escaping, captions, sections, a cap on the rows, nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.renderers import html
from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.html import HtmlRenderer
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster_tests.renderers.readers import html_tables
from reporthub_dagster_tests.renderers.spools import WINDOW, request_for, spool_of

AMOUNT = pa.field("amount", pa.decimal128(12, 2))


def render(folder: Path, field: pa.Field, values: Sequence[Any], **changes: Any) -> RenderedFile:
    spool = spool_of(folder / "spool.arrow", pa.schema([field]), [values])
    return HtmlRenderer().render(request_for(spool, **changes), folder / "report.html")


def page(folder: Path, field: pa.Field, values: Sequence[Any], **changes: Any) -> str:
    return render(folder, field, values, **changes).path.read_text(encoding="utf-8")


def test_title_window_and_rows_stand_above_the_table(tmp_path: Path) -> None:
    text = page(tmp_path, AMOUNT, [Decimal(1), Decimal(2)])

    assert ">Daily settlements</h1>" in text
    assert ">31 January 2025 · Asia/Jakarta · 2 rows</p>" in text


def test_title_and_window_may_be_left_out(tmp_path: Path) -> None:
    text = page(tmp_path, AMOUNT, [Decimal(1)], options={"title": False, "window": False})

    assert "<h1" not in text
    assert ">1 row</p>" in text


def test_markup_in_names_and_cells_is_text(tmp_path: Path) -> None:
    hostile = '<script>alert("&amp;")</script>'
    text = page(tmp_path, pa.field(hostile, pa.utf8()), [hostile], title=hostile)

    assert "<script" not in text
    assert html_tables(tmp_path / "report.html") == [[[hostile], [hostile]]]


def test_a_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = page(tmp_path, AMOUNT, [Decimal(1)])

    assert not re.search(r"(?i)(https?:|url\(|<link|<script|<img|@import|src=)", text)


def test_numbers_are_aligned_to_the_right_for_mail_programs_as_well(tmp_path: Path) -> None:
    text = page(tmp_path, AMOUNT, [Decimal(1)])

    assert re.search(r'<td align="right" style="[^"]+">1.00</td>', text)


def test_a_date_stays_on_one_line(tmp_path: Path) -> None:
    text = page(tmp_path, pa.field("day", pa.date32()), [date(2025, 1, 31)])

    assert re.search(r'<td nowrap style="[^"]+">2025-01-31</td>', text)
    assert "td[align=right], td[nowrap] { white-space: nowrap; }" in text


@pytest.mark.parametrize(("cell", "least"), [("Zürich", "3.0"), ("word " * 50, "14.0"), (None, "0.0")])
def test_a_narrow_screen_shows_text_at_a_width_that_can_be_read(
    cell: str | None, least: str, tmp_path: Path
) -> None:
    text = page(tmp_path, pa.field("note", pa.utf8()), [cell])

    assert re.search(rf'<th [^>]*;min-width:{least}em">note</th>', text)


def test_a_cut_result_and_an_empty_one_say_so(tmp_path: Path) -> None:
    assert "Incomplete: only the first row is shown" in page(tmp_path, AMOUNT, [Decimal(1)], truncated=True)
    assert "No rows in this window." in page(tmp_path, AMOUNT, [])


def test_a_giant_result_is_capped_in_the_page_and_in_the_remarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "MOST_ROWS", 2)

    file = render(tmp_path, AMOUNT, [Decimal(n) for n in range(5)], options={"totals": ["amount"]})

    assert html_tables(file.path) == [[["amount"], ["0.00"], ["1.00"], ["10.00"]]]
    assert file.warnings == ("This page shows the first 2 of 5 rows.",)
    assert "This page shows the first 2 of 5 rows." in file.path.read_text(encoding="utf-8")


def test_every_section_has_its_table_and_total(tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "s.arrow", pa.schema([("who", pa.utf8()), AMOUNT]), [["a"], [Decimal(3)]])
    sections = tuple(Section(name, spool, ("who", "amount")) for name in ("North & South", "East"))
    request = RenderRequest("Both", WINDOW, sections, {"totals": ["amount"], "decimal_separator": ","})

    file = HtmlRenderer().render(request, tmp_path / "report.html")

    assert html_tables(file.path) == [[["who", "amount"], ["a", "3,00"], ["Total", "3,00"]]] * 2
    assert ">North &amp; South</h2>" in file.path.read_text(encoding="utf-8")


PRINTABLE = st.characters(exclude_categories=["C"]) | st.sampled_from("\r\n\t")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(PRINTABLE), min_size=1))
def test_any_text_comes_back(values: list[str], tmp_path: Path) -> None:
    file = render(tmp_path, pa.field("v", pa.utf8()), values)

    assert html_tables(file.path)[0][1:] == [[value] for value in values]
