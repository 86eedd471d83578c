from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn, batch_of
from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import text_kind


def values_of(column: TextColumn, *cells: bytes | None) -> list[object]:
    found: list[object] = batch_of([column], [pa.array(cells, pa.binary())], [0]).column(0).to_pylist()
    return found


@settings(deadline=None)  # pyarrow's first conversion imports pandas
@given(st.timedeltas(timedelta(hours=-839), timedelta(hours=839)))
def test_every_duration_is_read_as_mysql_writes_it(value: timedelta) -> None:
    micros = abs(value) // timedelta(microseconds=1)
    seconds, fraction = divmod(micros, 1_000_000)
    sign = "-" if value < timedelta(0) else ""
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"

    assert values_of(arrow_columns.duration("t"), text.encode(), None) == [value, None]


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-(10**34), max_value=10**34))
def test_every_decimal_keeps_its_digits(value: Decimal) -> None:
    assert values_of(arrow_columns.decimal("d", 65, 30), f"{value:f}".encode()) == [value]


@pytest.mark.parametrize(
    ("column", "bad", "kind"),
    [
        (arrow_columns.integer("a", pa.int8()), b"128", "decimal"),
        (arrow_columns.decimal("a", 5, 2), b"1.234", "decimal"),
        (arrow_columns.decimal("a", 5, 2), b"NaN", "decimal"),
        (arrow_columns.time_of_day("a"), b"24:00:00", None),
        (arrow_columns.duration("a"), b"25:00", None),
    ],
)
def test_a_value_that_does_not_fit_asks_for_text(column: TextColumn, bad: bytes, kind: str | None) -> None:
    fine = arrow_columns.integer("fine", pa.int8())

    with pytest.raises(TypeMisfit) as raised:
        batch_of([fine, column], [pa.array([cell], pa.binary()) for cell in (b"1", bad)], [0, 0])

    assert list(raised.value.wider) == [1]
    field = raised.value.wider[1]
    assert field.type == pa.utf8()
    assert text_kind(field) == kind
    assert values_of(arrow_columns.text(field), bad) == [bad.decode()]


def test_text_that_is_not_utf_8_names_its_column() -> None:
    with pytest.raises(PermanentError, match="column 'a' holds text that is not valid UTF-8"):
        values_of(arrow_columns.text(pa.field("a", pa.utf8())), b"fine", b"\xff")


@pytest.mark.parametrize(("precision", "scale"), [(0, 0), (77, 2), (3, 5), (2, -3)])
def test_decimals_that_arrow_has_no_type_for_are_exact_text(precision: int, scale: int) -> None:
    column = arrow_columns.decimal("d", precision, scale)

    assert text_kind(column.field) == "decimal"
    assert values_of(column, b"12345678901234567890.5") == ["12345678901234567890.5"]


@given(st.lists(st.none() | st.text(max_size=5) | st.just("a"), max_size=20), st.integers(0, 20))
def test_text_of_any_part_of_a_column_is_as_it_was(texts: list[str | None], begin: int) -> None:
    cells = pa.array([text if text is None else text.encode() for text in texts], pa.binary())

    assert arrow_columns.utf8_of(cells[begin:], "t").to_pylist() == texts[begin:]


@pytest.mark.parametrize("bad", [b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_refused_where_it_stands(bad: bytes) -> None:
    cells = pa.array([b"fine", bad, b"fine"], pa.binary())

    assert arrow_columns.utf8_of(cells[2:], "t").to_pylist() == ["fine"]
    with pytest.raises(PermanentError, match="'t' holds text that is not valid UTF-8"):
        arrow_columns.utf8_of(cells[1:], "t")
