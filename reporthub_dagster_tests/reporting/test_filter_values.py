"""What a filter's type and operator make of its value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reporthub_dagster.reporting.filter_values import MisfitError, operands, type_of


@pytest.mark.parametrize(
    ("operator", "kind", "value", "bound"),
    [
        pytest.param("=", "string", "PAID", ["PAID"], id="string"),
        pytest.param("=", "string", 77, ["77"], id="number-as-string"),
        pytest.param("=", "number", 77, [77], id="number"),
        pytest.param(">", "number", " 12.50 ", [Decimal("12.50")], id="number-as-text-is-exact"),
        pytest.param(">", "number", 0.1, [Decimal("0.1")], id="float-is-what-people-wrote"),
        pytest.param("=", "number", "1e3", [1000], id="exponent"),
        pytest.param("=", "date", "2025-01-31", ["2025-01-31"], id="date-stays-text"),
        pytest.param("=", "date", "2025-01-31T08:00:00", ["2025-01-31 08:00:00"], id="time-with-a-space"),
        pytest.param("=", "boolean", True, [True], id="boolean"),
        pytest.param("=", "boolean", "False", [False], id="boolean-as-text"),
        pytest.param("=", "boolean", 1, [True], id="boolean-as-number"),
        pytest.param("LIKE", "string", "a_b", ["%a_b%"], id="like-contains-and-keeps-wildcards"),
        pytest.param("LIKE", "number", 12, ["%12%"], id="like-of-a-number"),
        pytest.param("IN", "string", ["A", "B"], ["A", "B"], id="list"),
        pytest.param("IN", "number", ["1", 2], [1, 2], id="list-of-numbers"),
        pytest.param("IN", "string", "A", ["A"], id="one-value-is-a-list-of-one"),
        pytest.param("IN", "string", ["A", None], ["A"], id="nulls-are-left-out"),
        pytest.param("IN", "string", [], [], id="empty-list"),
    ],
)
def test_values_are_bound_as_their_type(operator: str, kind: str, value: Any, bound: list[Any]) -> None:
    found = operands(operator, kind, value, "mysql")

    assert found == bound
    assert [type(item) for item in found] == [type(item) for item in bound]


def test_sqlite_gets_floats_for_decimals() -> None:
    assert operands("IN", "number", ["0.5", 2], "sqlite") == [0.5, 2]
    assert [type(item) for item in operands("IN", "number", ["0.5", 2], "sqlite")] == [float, int]


@pytest.mark.parametrize(
    ("operator", "kind", "value"),
    [
        pytest.param("=", "number", "abc", id="text-as-number"),
        pytest.param("=", "number", "", id="nothing-as-number"),
        pytest.param("=", "number", True, id="boolean-as-number"),
        pytest.param("=", "number", "NaN", id="nan"),
        pytest.param("=", "number", "Infinity", id="infinity"),
        pytest.param("=", "number", "1e999999999", id="endless-number"),
        pytest.param("=", "date", "31.01.2025", id="date-of-people"),
        pytest.param("=", "date", "2025-W05-1", id="week-date"),
        pytest.param("=", "date", "2025-02-30", id="no-such-day"),
        pytest.param("=", "boolean", "maybe", id="maybe"),
        pytest.param("=", "string", True, id="boolean-as-string"),
        pytest.param("=", "string", {"a": 1}, id="object"),
        pytest.param("=", "string", ["A"], id="list-without-in"),
        pytest.param("LIKE", "string", ["A"], id="list-with-like"),
        pytest.param("IN", "number", [1, "x"], id="one-bad-item"),
        pytest.param("IN", "string", [["A"]], id="list-of-lists"),
    ],
)
def test_what_is_not_of_its_type_is_refused(operator: str, kind: str, value: Any) -> None:
    with pytest.raises(MisfitError):
        operands(operator, kind, value, "mysql")


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a", "string"), (1, "number"), (0.5, "number"), (True, "boolean"), ([1, 2], "number"), ([], "string")],
)
def test_without_a_type_the_json_value_decides(value: Any, kind: str) -> None:
    assert type_of(value) == kind
