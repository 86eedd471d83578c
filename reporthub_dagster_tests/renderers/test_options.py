"""Rendering options: what is valid, how patterns look, what a format cannot honour."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.renderers.options import RenderOptions, read_options
from reporthub_dagster.renderers.patterns import parse_number_pattern, parse_pattern
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster.storage.spool import text_field
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

MOMENT = datetime(2025, 2, 3, 16, 5, 9, 250_000)  # noqa: DTZ001 - a timestamp without a zone


def render(kind: str, folder: Path, field: pa.Field, values: Sequence[Any], **options: Any) -> RenderedFile:
    schema = pa.schema([pa.field("row", pa.utf8()), field])
    spool = spool_of(folder / "spool.arrow", schema, [[f"r{n}" for n in range(len(values))], values])
    return RENDERERS.get(kind)().render(request_for(spool, options=options), folder / f"report.{kind}")


def shown(folder: Path, kind: pa.DataType | pa.Field, value: Any, **options: Any) -> str:
    field = kind if isinstance(kind, pa.Field) else pa.field("v", kind)
    data = render("csv", folder, field, [value], **options).path.read_bytes().decode()
    return next(csv.reader(io.StringIO(data.split("\r\n", 1)[1], newline="")))[1]


@pytest.mark.parametrize(
    ("pattern", "number", "text"),
    [
        ("0", "2.5", "3"),
        ("0", "-2.5", "-3"),
        ("0.00", "1e3", "1000.00"),
        ("#,##0.00", "-1234567.895", "-1,234,567.90"),
        ("#,##0", "999.5", "1,000"),
        ("00000", "42", "00042"),
        ("0.0##", "1.5000", "1.5"),
        ("0.##", "2", "2"),
        ("#.##", "0.5", ".5"),
        ("0.0%", "0.12345", "12.3%"),
        ("€#,##0.00", "5", "€5.00"),
        ('0.0 "kg"', "1.25", "1.3 kg"),
        ("0.0", "-0.01", "0.0"),
        ("0.00", "NaN", "NaN"),
        ("#,##0", "9" * 60, ",".join(["999"] * 20)),
    ],
)
def test_numbers_follow_their_pattern(pattern: str, number: str, text: str, tmp_path: Path) -> None:
    assert shown(tmp_path, text_field("v", "decimal"), number, column_formats={"v": pattern}) == text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("dd.mm.yyyy", "03.02.2025"),
        ("d/m/yy", "3/2/25"),
        ("d mmmm yyyy", "3 February 2025"),
        ("ddd, d mmm", "Mon, 3 Feb"),
        ("dddd", "Monday"),
        ("hh:mm:ss.000", "16:05:09.250"),
        ("h:mm AM/PM", "4:05 PM"),
        ("mm:ss", "05:09"),
        ('yyyy-mm-dd"T"hh:mm', "2025-02-03T16:05"),
    ],
)
def test_dates_follow_their_pattern(pattern: str, text: str, tmp_path: Path) -> None:
    assert shown(tmp_path, pa.timestamp("us"), MOMENT, datetime_format=pattern) == text
    assert shown(tmp_path, pa.timestamp("us"), MOMENT, column_formats={"v": pattern}) == text


def test_dates_times_and_instants_have_patterns_as_well(tmp_path: Path) -> None:
    instant = pa.timestamp("us", "UTC")

    assert shown(tmp_path, pa.date32(), date(1, 2, 3), date_format="d.m.yyyy") == "3.2.0001"
    assert shown(tmp_path, pa.time64("us"), time(0, 5), column_formats={"v": "h:mm AM/PM"}) == "12:05 AM"
    local = shown(
        tmp_path, instant, datetime(2025, 1, 31, 20, tzinfo=UTC), datetime_format="dd.mm.yyyy hh:mm"
    )
    assert local == "01.02.2025 03:00"


@given(
    number=st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)
)
def test_a_pattern_of_enough_places_keeps_the_number(number: Decimal) -> None:
    from reporthub_dagster.renderers.cells import TextStyle  # noqa: PLC0415
    from reporthub_dagster.renderers.formatting import Look, number_text  # noqa: PLC0415

    look = Look(TextStyle(UTC), decimal_separator=",", thousands=".")

    text = number_text(str(number), parse_number_pattern("#,##0.0000"), look)

    assert Decimal(text.replace(".", "").replace(",", ".")) == number


@pytest.mark.parametrize("pattern", ["", "0.0.0", "[Red]0", "0;-0", "yyyy-foo", "@", "abc", "0" * 40])
def test_a_pattern_that_not_every_format_can_show_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_pattern(pattern)
    with pytest.raises(ConfigurationError, match="an Excel pattern") as caught:
        read_options({"column_formats": {"v": pattern}})

    assert caught.value.column == "parameters.format.column_formats.v"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"decimal_separator": ","}, "-1234567,50"),
        ({"thousands_separator": ","}, "-1,234,567.50"),
        ({"decimal_separator": ",", "thousands_separator": "."}, "-1.234.567,50"),
        ({"decimal_separator": ",", "column_formats": {"v": "#,##0.0"}}, "-1.234.567,5"),
    ],
)
def test_separators_are_those_of_the_reader(options: dict[str, Any], text: str, tmp_path: Path) -> None:
    assert shown(tmp_path, pa.decimal128(12, 2), Decimal("-1234567.50"), **options) == text


@pytest.mark.parametrize("options", [{}, {"column_formats": {"v": "#,##0"}}])
def test_a_number_of_any_length_is_grouped(options: dict[str, Any], tmp_path: Path) -> None:
    number = text_field("v", "decimal")

    text = shown(tmp_path, number, "9" * 5_001, thousands_separator="'", **options)

    assert text == "'".join(["999"] * 1_667)


def test_whole_numbers_are_not_grouped_without_a_pattern(tmp_path: Path) -> None:
    assert shown(tmp_path, pa.int64(), 1234567, thousands_separator=",") == "1234567"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "red"),
        ("header", "perhaps"),
        ("null", "a\nb"),
        ("thousands_separator", "x"),
        ("date_format", "0.00"),
        ("totals", 5),
        ("layout", "tree"),
        ("compression", "rar"),
    ],
)
def test_a_wrong_option_names_itself_and_what_is_valid(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="valid: ") as caught:
        read_options({name: value})

    error = caught.value
    assert (error.table, error.column, error.value) == ("report_configs", f"parameters.format.{name}", value)


@pytest.mark.parametrize(
    ("name", "meant"), [("delimeter", "delimiter"), ("decimal", "decimal_separator"), ("Header", "header")]
)
def test_an_option_that_does_not_exist_names_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"did you mean {meant}\?"):
        read_options({name: True})


def test_a_wrong_pattern_names_its_column() -> None:
    with pytest.raises(ConfigurationError, match="an Excel pattern") as caught:
        read_options({"column_formats": {"amount": "0.00", "fee": "0,0"}})

    assert (caught.value.column, caught.value.value) == ("parameters.format.column_formats.fee", "0,0")


def test_a_wrong_entry_of_a_list_names_its_place() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_options({"totals": ["amount", 5]})

    assert caught.value.column == "parameters.format.totals[1]"


def test_an_option_that_is_null_is_not_given() -> None:
    assert read_options(dict.fromkeys(RenderOptions.model_fields)) == RenderOptions()


def test_separators_that_are_the_same_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not the decimal separator"):
        read_options({"decimal_separator": ",", "thousands_separator": ","})


def test_every_option_is_honoured_by_a_format_and_every_honoured_name_is_an_option() -> None:
    honoured = set[str]().union(*(RENDERERS.get(kind)().honours for kind in RENDERERS.kinds()))

    assert honoured == set(RenderOptions.model_fields)


@pytest.mark.parametrize("kind", RENDERERS.kinds())
def test_an_option_without_effect_is_a_remark(kind: str, tmp_path: Path) -> None:
    options = {"delimiter": ";", "layout": "object", "paper": "A3", "compression": "gzip"}

    file = render(kind, tmp_path, pa.field("v", pa.int64()), [1], **options)

    ignored = [name for name in options if name not in RENDERERS.get(kind).honours]
    assert len(ignored) < len(options) or kind in ("html", "jsonl")
    said = [warning.split()[0].removeprefix("parameters.format.") for warning in file.warnings]
    assert sorted(said) == sorted(ignored)


@pytest.mark.parametrize("kind", ["html", "pdf", "xlsx"])
def test_a_total_of_what_is_not_there_or_no_number_is_a_remark(kind: str, tmp_path: Path) -> None:
    file = render(kind, tmp_path, pa.field("v", pa.utf8()), ["a"], totals=["v", "w"])

    assert file.warnings == (
        "parameters.format.totals names 'w', which the report does not show",
        "column 'v': is no number and has no total",
    )


@pytest.mark.parametrize("kind", ["csv", "html", "pdf", "xlsx"])
def test_a_pattern_that_does_not_fit_its_column_is_a_remark(kind: str, tmp_path: Path) -> None:
    file = render(kind, tmp_path, pa.field("v", pa.utf8()), ["a"], column_formats={"v": "0.00"})

    assert file.warnings == (
        "column 'v': its pattern in column_formats does not fit its type and is not used",
    )


def test_the_documentation_has_every_option_and_who_honours_it() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = [re.split(r"(?<!\\)\|", line) for line in text.split("## Patterns", maxsplit=1)[0].splitlines()]
    documented = {row[1].strip(" `"): row[4].strip().split(", ") for row in rows if len(row) == 6}
    documented.pop("option")
    documented.pop("---")

    assert documented == {
        name: [kind for kind in RENDERERS.kinds() if name in RENDERERS.get(kind).honours]
        for name in RenderOptions.model_fields
    }


def test_no_options_are_what_the_checked_defaults_are() -> None:
    assert read_options({}) == RenderOptions.model_validate({})
    assert read_options({}).model_fields_set == set()


def test_the_documentation_has_an_example_of_every_option_and_all_are_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    examples = [json.loads(block)["format"] for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]

    shown = [name for example in examples for name in read_options(example).model_fields_set]
    assert set(shown) == set(RenderOptions.model_fields)
