from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.send_condition import SqlCondition, Threshold, parse_send_if


@pytest.mark.parametrize("word", ["always", "not_empty", "changed"])
def test_a_word_is_a_condition(word: str) -> None:
    assert parse_send_if(1, {"send_if": word}) == word


def test_a_report_that_says_nothing_is_always_sent() -> None:
    assert parse_send_if(1, {}) == "always"
    assert parse_send_if(1, {"send_if": None}) == "always"


def test_a_query_is_a_condition() -> None:
    assert parse_send_if(1, {"send_if": {"sql": "SELECT 1"}}) == SqlCondition("SELECT 1")


@pytest.mark.parametrize(
    ("found", "op", "value", "holds"),
    [
        (Decimal("0.1"), "=", 0.1, True),
        ("1234567890123456789.5", ">", 1234567890123456789, True),
        (2, "!=", 2.0, False),
        (None, "!=", 1, False),
        (float("nan"), "<", 1, False),
        ("PAID", "=", "PAID", True),
        ("b", ">", "a", True),
        (date(2025, 1, 31), ">=", "2025-01-31", True),
        (datetime(2025, 1, 31, 8, tzinfo=UTC), "<", "2025-01-31 09:00:00", True),
        (True, "=", True, True),
        (0, "=", False, True),
        ("many", ">", 5, True),
    ],
    ids=str,
)
def test_a_threshold(found: Any, op: Any, value: Any, holds: bool) -> None:
    assert Threshold(column="x", op=op, value=value).holds(found) is holds


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("never", "parameters.send_if:"),
        (7, "parameters.send_if:"),
        (["changed"], "parameters.send_if:"),
        ({}, "parameters.send_if"),
        ({"sql": " "}, "parameters.send_if"),
        ({"sql": "SELECT 1", "column": "x"}, "parameters.send_if"),
        ({"column": "x", "op": ">"}, "parameters.send_if.value"),
        ({"column": "x", "op": "like", "value": "a"}, "parameters.send_if.op"),
        ({"column": "x", "op": ">", "value": 1, "rows": "most"}, "parameters.send_if.rows"),
        ({"threshold": "amount > 7"}, "parameters.send_if"),
    ],
    ids=str,
)
def test_what_is_no_condition_names_its_place(said: Any, place: str) -> None:
    with pytest.raises(ConfigurationError, match=r"report_configs 5, column") as caught:
        parse_send_if(5, {"send_if": said})
    assert place in str(caught.value)
    assert 'valid: "always"' in str(caught.value)
