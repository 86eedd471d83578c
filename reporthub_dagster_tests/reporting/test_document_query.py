from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.document_query import (
    bind_document,
    prepare_document,
    read_document,
    write_document,
)
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.filters import Condition

INSTANT = '{"$date": "2024-02-29T17:00:00.000Z"}'


@pytest.mark.parametrize(
    ("text", "values", "named", "bound"),
    [
        ('{"collection": "t", "limit": {{n}}}', {"n": 5}, '{"collection": "t", "limit": :n}', {"n": 5}),
        (
            '{"collection": "t", "filter": {"a": "{{x}}", "b": "no {{ x }}!"}}',
            {"x": 'a"b'},
            '{"collection": "t", "filter": {"a": :x, "b": :x_2}}',
            {"x": 'a"b', "x_2": 'no a"b!'},
        ),
        (
            '{"collection": "t", "filter": {"a": {"$in": "{{x}}"}}}',
            {"x": [1, Decimal("1.5")]},
            '{"collection": "t", "filter": {"a": {"$in": :x}}}',
            {"x": [1, Decimal("1.5")]},
        ),
        (
            '{"collection": "t", "filter": {"a": {"$date": "{{day}}"}, "b": {"$date": "2024-03-01"}}}',
            {"day": "2024-02-29"},
            f'{{"collection": "t", "filter": {{"a": {{"$date": :day_at}}, "b": {INSTANT}}}}}',
            {"day_at": datetime(2024, 2, 28, 17, tzinfo=UTC)},
        ),
    ],
)
def test_variables_become_binds_where_values_stand(
    text: str, values: dict[str, Any], named: str, bound: dict[str, Any]
) -> None:
    query = prepare_document(text, values, [], "Asia/Jakarta")

    assert (query.text("named"), query.values) == (named, bound)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"collection": "t", "filter": {"{{x}}": 1}}', "stands in a name at line 1, column 32"),
        ('{"collection": "{{x}}"}', "names no collection"),
        ('{"collection": "t", "filter": {"a": "{{other}}"}}', "{{other}} has no value"),
        ('{"collection": "t", "filter": {"a": "{{object}}"}}', "{{object}} is not a value"),
        ('{"collection": "t", "filter": }', "not JSON: Expecting value at line 1, column 31"),
        ("SELECT 1", "not JSON"),
        ('{"collection": "t", "filter": {"a": "\\x {{x}}"}}', "not JSON: Invalid .*escape at line 1"),
        ("[1]", "names no collection"),
        ('{"collection": "t", "pipeline": {}}', "no pipeline"),
        ('{"collection": "t", "pipeline": [{"$out": "x"}]}', r"\$out is refused: a report is read-only"),
        ('{"collection": "t", "pipeline": [{"$facet": {"a": [{"$merge": "x"}]}}]}', r"\$merge is refused"),
        ('{"collection": "t", "filter": {"$or": [{"$where": "1"}]}}', r"\$where is refused"),
        ('{"collection": "t", "projection": {"a": {"$function": {}}}}', r"\$function is refused"),
        ('{"collection": "t", "pipeline": [{"$lookup": {"from": "{{x}}"}}]}', r"a collection, in \$lookup"),
        ('{"collection": "t", "pipeline": [{"$unionWith": "{{x}}"}]}', r"a collection, in \$unionWith"),
        ('{"collection": "t", "filter": {"a": {"$date": "{{x}}"}}}', "not a date or time"),
    ],
)
def test_what_is_no_query_that_only_reads_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace("{", r"\{")):
        prepare_document(text, {"x": "y", "object": {"$gt": ""}}, [], "UTC")


def test_conditions_go_before_everything_that_the_pipeline_does() -> None:
    conditions = [
        Condition("date", "at", ">=", [("date_from", "2024-02-29 00:00:00")], dates=True),
        Condition("f", "s", "LIKE", [("like", "%a.b_%")]),
        Condition("g", "n", "IN", [("one", 1), ("two", 2)]),
    ]
    expected = '{"$and": [{"at": {"$gte": :date_from}}, {"s": {"$regex": :like}}, {"n": {"$in": :one}}]}'
    near = '{"collection": "t", "pipeline": [{"$geoNear": {}}, {"$count": "n"}]}'

    query = prepare_document(near, {}, conditions, "Asia/Jakarta")
    found = prepare_document('{"collection": "t", "filter": {"a": 1}}', {}, conditions[2:], "UTC")

    assert query.text("named") == near.replace('{"$count"', f'{{"$match": {expected}}}, {{"$count"')
    assert query.values == {
        "date_from": datetime(2024, 2, 28, 17, tzinfo=UTC),
        "like": r"^(?s:.*)a\.b.(?s:.*)$",
        "one": [1, 2],
    }
    assert found.text("named") == '{"collection": "t", "filter": {"$and": [{"a": 1}, {"n": {"$in": :one}}]}}'


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(value=_TEXTS, key=_TEXTS.filter(lambda text: "{{" not in text and not text.startswith("$")))
def test_no_value_changes_the_shape_of_a_query(value: str, key: str) -> None:
    text = json.dumps({"collection": "t", "filter": {key: "{{v}}"}, "comment": "x {{v}}"})

    tree = read_document(bind_document(text, {"v": value}))

    assert tree["filter"][key].value == value
    assert tree["comment"].value == f"x {value}"
    assert read_document(write_document(tree)) == tree
