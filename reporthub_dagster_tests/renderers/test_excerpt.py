"""The first rows for a mail's body: escaped, bounded, the same in text."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reporthub_dagster.renderers import excerpt
from reporthub_dagster.renderers.base import RenderRequest
from reporthub_dagster.renderers.excerpt import excerpt_of
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

HOSTILE = '<script>alert("&amp;")</script>'


def request(folder: Path, rows: int, **changes: object) -> RenderRequest:
    schema = pa.schema([pa.field("name", pa.utf8()), pa.field("amount", pa.decimal128(12, 2))])
    names: list[str | None] = [HOSTILE, "売上\n東京", None, "x" * 60]
    values: list[list[Any]] = [names[:rows] + ["n"] * (rows - 4), [Decimal(n) for n in range(rows)]]
    return request_for(spool_of(folder / "spool.arrow", schema, values), **changes)


def test_the_first_rows_are_a_page_and_columns_of_text(tmp_path: Path) -> None:
    found = excerpt_of(request(tmp_path, 10), 4)
    page = found.page("<p>Hello</p>")
    assert page.startswith("<!DOCTYPE html>")
    assert page.index("<p>Hello</p>") < page.index("Daily settlements</h1>") < page.index("<table")
    assert "<script" not in page
    assert page.count("<tr><td") == 4
    assert "10 rows, here the first 4" in page
    assert found.text.splitlines() == [
        "Daily settlements, 31 January 2025 · Asia/Jakarta",
        "",
        "10 rows, here the first 4",
        "",
        "name                                      amount",
        "----------------------------------------  ------",
        f"{HOSTILE}             0.00",
        "売上 東京                                   1.00",
        "                                            2.00",
        f"{'x' * 39}…    3.00",
    ]


def test_a_short_report_is_there_whole(tmp_path: Path) -> None:
    found = excerpt_of(request(tmp_path, 4), 20)
    assert "the first" not in found.tables + found.text


def test_totals_are_those_of_all_rows(tmp_path: Path) -> None:
    found = excerpt_of(request(tmp_path, 10, options={"totals": ["amount"]}), 2)
    assert ">45.00<" in found.tables


def test_what_is_too_large_for_a_mail_shows_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpt, "LARGEST_PAGE", 2_500)
    found = excerpt_of(request(tmp_path, 1000), 1000)
    assert len(found.tables) <= 2_500
    assert "here the first 7" in found.tables
    assert "here the first 7" in found.text
