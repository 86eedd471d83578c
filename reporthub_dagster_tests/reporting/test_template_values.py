"""Values as text, and variables inside values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.template_values import fill_value, is_scalar, names_in, text_of, texts_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a", "a", id="text"),
        pytest.param(5, "5", id="integer"),
        pytest.param(0.5, "0.5", id="float"),
        pytest.param(Decimal("1E+3"), "1000", id="decimal-without-exponent"),
        pytest.param(Decimal("12.50"), "12.50", id="decimal-keeps-its-scale"),
        pytest.param(Decimal("1E-999999999"), "1E-999999999", id="decimal-of-zeros-alone"),
        pytest.param(True, "true", id="boolean"),
        pytest.param(None, "", id="null"),
        pytest.param(date(2025, 1, 31), "2025-01-31", id="date"),
        pytest.param(datetime(2025, 1, 31, 8, tzinfo=UTC), "2025-01-31 08:00:00+00:00", id="datetime"),
        pytest.param(time(8, 30), "08:30:00", id="time"),
        pytest.param(UUID(int=1), "00000000-0000-0000-0000-000000000001", id="uuid"),
        pytest.param(["a", 2], "a, 2", id="list"),
    ],
)
def test_a_value_reads_as_people_would_type_it(value: Any, text: str) -> None:
    assert text_of(value) == text
    assert texts_of({"x": value}) == {"x": text}


@pytest.mark.parametrize("value", [{}, {"a": 1}, [1], object(), b"x"])
def test_what_one_bind_cannot_carry_is_no_scalar(value: object) -> None:
    assert not is_scalar(value)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        pytest.param("M-{{n}}", "M-5", id="part-of-a-text"),
        pytest.param(" {{n}} ", 5, id="whole-text-keeps-the-type"),
        pytest.param("{{ids}}", [1, 2], id="whole-text-may-be-a-list"),
        pytest.param(["{{n}}", "x{{n}}", 7], [5, "x5", 7], id="items-of-a-list"),
        pytest.param("{{template}}", "{{n}}", id="a-value-is-not-filled-again"),
        pytest.param("{n}", "{n}", id="single-braces-are-text"),
        pytest.param(12, 12, id="number"),
        pytest.param(None, None, id="null"),
    ],
)
def test_variables_in_a_value_are_filled_once(value: Any, filled: Any) -> None:
    assert fill_value(value, {"n": 5, "ids": [1, 2], "template": "{{n}}"}) == filled


def test_an_unknown_variable_in_a_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\{\{other\}\} has no value.*known are n"):
        fill_value(["{{other}}"], {"n": 5})


def test_the_names_in_a_value_are_found_at_any_place() -> None:
    assert names_in(["{{a}}-{{ b }}", 3, "{{a.b}}"]) == ("a", "b")
