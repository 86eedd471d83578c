"""The rows of a JSON document: those of the standard library, in pieces of any size, never all at once."""

from __future__ import annotations

import json
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reporthub_dagster.connectors import json_rows
from reporthub_dagster.connectors.json_rows import rows_in, value_at
from reporthub_dagster.reporting.errors import PermanentError

ROWS = [{"id": 1, "t": 'Łódź " \\ ]}', "deep": {"l": [1, [2], {}]}}, {"id": -2.5e3, "ok": True, "no": None}]


@pytest.fixture(params=[1, 7, 1 << 20])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_PIECE", request.param)


def written(folder: Path, document: Any, **form: Any) -> Path:
    path = folder / "x.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document, **form), encoding="utf-8")
    return path


def test_a_single_value_without_an_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_PIECE", 1000)
    monkeypatch.setattr(json_rows, "_LONGEST_VALUE", 10_000)

    assert list(rows_in(written(tmp_path, [{"t": "x" * 9_000}] * 3), ""))
    for document in ([{"t": "x" * 90_000}], {"before": "x" * 90_000, "items": []}):
        with pytest.raises(PermanentError, match="a single value has more than 10,000 characters"):
            list(rows_in(written(tmp_path, document), "items" if "before" in document else ""))


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("", ROWS),
        ("$", ROWS),
        ("items", {"n": 123456, "items": ROWS, "after": {"items": [1]}}),
        ("$.data.items", {"data": {"x": [1, {"items": 2}], "items": ROWS}, "data2": [{"items": []}]}),
        ("data.1.items", {"data": [{"items": [0]}, {"items": ROWS}, {"items": [3]}]}),
        ("item", {"item": ROWS}),
    ],
)
@pytest.mark.parametrize("form", [{}, {"indent": 2, "ensure_ascii": False}])
def test_the_rows_at_a_path_are_those_of_the_standard_library(
    tmp_path: Path, path: str, document: Any, form: dict[str, Any]
) -> None:
    assert list(rows_in(written(tmp_path, document, **form), path)) == ROWS


@pytest.mark.usefixtures("piece")
def test_one_object_is_one_row_and_nothing_is_none(tmp_path: Path) -> None:
    assert list(rows_in(written(tmp_path, {"data": ROWS[0]}), "data")) == ROWS[:1]
    assert list(rows_in(written(tmp_path, ROWS[0]), "")) == ROWS[:1]
    assert list(rows_in(written(tmp_path, "\n".join(map(json.dumps, ROWS))), "")) == ROWS
    for empty in ('{"data": null}', '{"data": []}'):
        assert list(rows_in(written(tmp_path, empty), "data")) == []
    long = written(tmp_path, '[{"v": 0.12345678901234567890}, {"v": 12345678901234567890123}]')
    assert list(rows_in(long, "")) == [
        {"v": Decimal("0.12345678901234567890")},
        {"v": 12345678901234567890123},
    ]


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize(
    "text",
    [
        "<html>geheim",
        '[{"id": 1}, {"id": ',
        '[{"id": 1}',
        '{"items": [{"id": 1}]',
        '{"items": [1}',
        '{"items": [1,]}',
        '{"items": [], "more": geheim}',
        '{"items" ["geheim"]}',
        '[1] "geheim"',
        '["geheim',
        "[" * 100_000,
    ],
)
def test_what_is_no_whole_json_is_an_error_that_shows_nothing_of_it(tmp_path: Path, text: str) -> None:
    with pytest.raises((ValueError, RecursionError)) as raised:
        list(rows_in(written(tmp_path, text), "items" if text[0] == "{" else ""))

    assert "geheim" not in str(raised.value)


def test_a_path_that_leads_nowhere_says_what_there_is(tmp_path: Path) -> None:
    path = written(tmp_path, {"data": {"rows": [], "n": 1}, "t": "x"})

    for wrong, words in (
        ("items", "there is nothing at 'items': 'items' is not among data, t"),
        ("data.items", "'items' is not among rows, n"),
        ("data.rows.0", "'0' is not among a list"),
        ("data.n", "what is at 'data.n' is no list but a number"),
        ("t", "what is at 't' is no list but a text"),
    ):
        with pytest.raises(PermanentError, match=words):
            list(rows_in(path, wrong))


def test_a_value_is_found_wherever_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path, {"items": ROWS, "meta": {"n": 1, "next": {"token": "abc"}}})

    assert value_at(path, "meta.next.token") == "abc"
    assert (value_at(path, "meta.none"), value_at(path, "items.x"), value_at(path, "meta.n.x")) == (None,) * 3


def test_a_document_of_any_length_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": number, "pad": "x" * 60} for number in range(5_000)]
    path = written(tmp_path, {"before": rows, "items": rows, "after": rows})
    monkeypatch.setattr(json_rows, "_PIECE", 1 << 14)

    tracemalloc.start()
    try:
        count = sum(1 for _ in rows_in(path, "items"))
        assert value_at(path, "after.none") is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 5_000
    assert peak < 300_000, "of 1.3 MB of text, which are 5 MB of objects"
