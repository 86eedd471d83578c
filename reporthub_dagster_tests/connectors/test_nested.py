"""Documents as columns: dotted names, exact types, and what happens when a later value does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.connectors.nested import Document, NestedColumns
from reporthub_dagster.connectors.nested_values import declared_field
from reporthub_dagster.reporting.errors import ConfigurationError


def read(batches: Sequence[Sequence[Document]], declared: Sequence[pa.Field] = ()) -> pa.Table:
    """As a connector reads: once more from the start, with wider types, where something does not fit."""
    columns = NestedColumns(batches[0], declared)
    arrays = []
    for number, batch in enumerate(batches):
        try:
            arrays.append(columns.batch(batch))
        except TypeMisfit as misfit:
            wider = columns.widened(misfit, batches[number:]).wider
            columns = NestedColumns(batches[0], declared, wider)
            return pa.Table.from_batches([columns.batch(one) for one in batches], columns.schema)
    return pa.Table.from_batches(arrays, columns.schema)


def types(table: pa.Table) -> dict[str, str]:
    kinds = {
        field.name: (field.metadata or {}).get(b"reporthub.kind", b"").decode() for field in table.schema
    }
    return {field.name: kinds[field.name] or str(field.type) for field in table.schema}


@pytest.mark.parametrize("number", ["1E+999999999", "-2.5E-999999999"])
def test_a_number_that_would_be_a_gigabyte_of_zeros_keeps_its_exponent(number: str) -> None:
    for value in (Decimal(number), [Decimal(number)]):
        (row,) = read([[{"n": value}]]).to_pylist()
        assert row["n"].strip("[]") == number


def test_nested_objects_become_dotted_columns_and_lists_json() -> None:
    table = read([[{"id": 1, "shop": {"city": "Łódź", "owner": {"name": "A"}, "tags": ["x", 1]}}, {"id": 2}]])

    assert types(table) == {
        "id": "int64",
        "shop.city": "string",
        "shop.owner.name": "string",
        "shop.tags": "json",
    }
    assert table.to_pylist() == [
        {"id": 1, "shop.city": "Łódź", "shop.owner.name": "A", "shop.tags": '["x", 1]'},
        {"id": 2, "shop.city": None, "shop.owner.name": None, "shop.tags": None},
    ]


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([1, 2.5], "double", [1.0, 2.5]),
        ([2**53 + 1, 2.5], "decimal", ["9007199254740993", "2.5"]),
        ([1, 2**64], "decimal", ["1", "18446744073709551616"]),
        ([1.5, Decimal("0.12345678901234567890")], "decimal", ["1.5", "0.12345678901234567890"]),
        ([1, "a"], "string", ["1", "a"]),
        ([True, 1], "string", ["true", "1"]),
        (["a", {"b": 1}], "string", ["a", None]),
        ([[1], "a"], "json", ["[1]", '"a"']),
        ([date(2025, 1, 31), "soon"], "string", ["2025-01-31", "soon"]),
        (
            [datetime(2025, 1, 31, tzinfo=UTC), date(2025, 1, 31)],
            "string",
            ["2025-01-31 00:00:00+00:00", "2025-01-31"],
        ),
        ([None, 1], "int64", [None, 1]),
    ],
)
@pytest.mark.parametrize("batches", [1, 2])
def test_a_column_gets_the_narrowest_type_that_is_exact(
    values: list[Any], kind: str, texts: list[Any], batches: int
) -> None:
    documents = [{"v": value} for value in values]

    table = read([documents] if batches == 1 else [documents[:1], documents[1:]])

    assert types(table)["v"] == kind
    assert table["v"].to_pylist() == texts


def test_a_column_that_turns_up_late_is_added() -> None:
    table = read([[{"a": 1}], [{"b": {"c": 2.5}, "a": 3}]])

    assert table.to_pylist() == [{"a": 1, "b.c": None}, {"a": 3, "b.c": 2.5}]


def test_one_further_reading_is_the_last_however_late_what_is_new() -> None:
    surprises: list[Document] = [
        {"n": 2**53 + 1, "a": 1},
        {"n": 2, "late": 2**60},
        {"n": 0.5, "late": 0.5, "a": None},
        {"n": Decimal("0.1"), "a": "x"},
        *({f"k{number}": number} for number in range(20)),
    ]

    table = read([[one] for one in surprises])

    assert list(types(table).values())[:3] == ["decimal", "string", "decimal"]
    assert table["n"].to_pylist()[:4] == ["9007199254740993", "2", "0.5", "0.1"]
    assert table["late"].to_pylist()[1:3] == ["1152921504606846976", "0.5"]
    assert table.num_columns == 23


def test_names_that_are_values_are_not_made_columns_without_end() -> None:
    users = {f"u{number}": 1 for number in range(5_001)}

    with pytest.raises(ConfigurationError, match=r"more than 5,000 columns: .*; declare those"):
        read([[{"id": 1}], [{"users": users}]])


def test_declared_columns_are_the_columns() -> None:
    declared = [
        declared_field("b.c", "decimal(12, 2)"),
        declared_field("a", "text"),
        declared_field("z", "date"),
    ]

    table = read([[{"a": 7, "b": {"c": Decimal("1.50")}, "other": 1}]], declared)

    assert table.to_pylist() == [{"b.c": Decimal("1.50"), "a": "7", "z": None}]
    with pytest.raises(
        ConfigurationError, match=r"connection_config.columns.b.c: the value of 'b.c' in row 3 is no decimal"
    ) as raised:
        read([[{}, {}], [{"b": {"c": Decimal("1.555")}}]], declared)
    assert "1.555" not in str(raised.value), "a report's values are not for logs"
    with pytest.raises(ValueError, match="'money' is none of text, integer"):
        declared_field("a", "money")
