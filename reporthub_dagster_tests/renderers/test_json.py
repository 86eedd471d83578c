"""What only json files have: a row a line, embedded documents, exact numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.json import JsonRenderer
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster.storage.spool import text_field
from reporthub_dagster_tests.renderers.spools import WINDOW, request_for, spool_of

NUMBER = text_field("v", "decimal")
DOCUMENT = text_field("v", "json")


def render(folder: Path, field: pa.Field, *batches: Sequence[Any]) -> RenderedFile:
    spool = spool_of(folder / "spool.arrow", pa.schema([field]), *([batch] for batch in batches))
    return JsonRenderer().render(request_for(spool), folder / "report.json")


def text_of(folder: Path, field: pa.Field, *batches: Sequence[Any]) -> str:
    return render(folder, field, *batches).path.read_text(encoding="utf-8")


def test_a_row_is_a_line_of_one_array(tmp_path: Path) -> None:
    text = text_of(tmp_path, pa.field("v", pa.int64()), [1, 2], [], [None])

    assert text == '[\n{"v":1},\n{"v":2},\n{"v":null}\n]\n'


def test_an_empty_result_is_an_empty_array(tmp_path: Path) -> None:
    assert text_of(tmp_path, pa.field("v", pa.int64()), []) == "[]\n"


def test_an_object_says_what_the_rows_are(tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "spool.arrow", pa.schema([("v", pa.int64())]), [[1, 2]])
    request = request_for(spool, options={"layout": "object"}, truncated=True)

    document = json.loads(JsonRenderer().render(request, tmp_path / "report.json").path.read_bytes())

    assert document == {
        "report": "Daily settlements",
        "window": {
            "start": "2025-01-31T00:00:00+07:00",
            "end": "2025-02-01T00:00:00+07:00",
            "timezone": "Asia/Jakarta",
        },
        "truncated": True,
        "columns": [{"name": "v", "type": "int64"}],
        "rows": [{"v": 1}, {"v": 2}],
    }


@pytest.mark.parametrize("layout", ["array", "object"])
def test_several_sections_stand_side_by_side(layout: str, tmp_path: Path) -> None:
    spool = spool_of(tmp_path / "spool.arrow", pa.schema([("v", pa.int64())]), [[1]])
    sections = (Section("One", spool, ("v",)), Section('T"wo', spool, ("v",)))
    request = RenderRequest("Both", WINDOW, sections, {"layout": layout})

    document = json.loads(JsonRenderer().render(request, tmp_path / "report.json").path.read_bytes())

    if layout == "object":
        document = {section["name"]: section["rows"] for section in document["sections"]}
    assert document == {"One": [{"v": 1}], 'T"wo': [{"v": 1}]}


@pytest.mark.parametrize("name", ['a "b"', "back\\slash", "Zürich", "line\nbreak"])
def test_a_column_name_is_any_text(name: str, tmp_path: Path) -> None:
    assert json.loads(text_of(tmp_path, pa.field(name, pa.int64()), [1])) == [{name: 1}]


@pytest.mark.parametrize(
    ("given_text", "written"),
    [("1.50", "1.50"), ("1E+3", "1E+3"), (".5", "0.5"), ("+7", "7"), ("007", "7"), ("-.5e9999", "-5E+9998")],
)
def test_decimals_keep_their_digits(given_text: str, written: str, tmp_path: Path) -> None:
    assert text_of(tmp_path, NUMBER, [given_text]) == f'[\n{{"v":{written}}}\n]\n'


def test_a_decimal_that_is_none_is_text(tmp_path: Path) -> None:
    assert json.loads(text_of(tmp_path, NUMBER, ["n/a", "Infinity"])) == [{"v": "n/a"}, {"v": "Infinity"}]


def test_documents_are_embedded_as_they_are_on_one_line(tmp_path: Path) -> None:
    text = text_of(tmp_path, DOCUMENT, ['{"b": 1.10,\n "a": "x\\ny"}'])

    assert text == '[\n{"v":{"b": 1.10,  "a": "x\\ny"}}\n]\n'


@pytest.mark.parametrize("broken", ["", "{", "NaN", "[1] 2", "'a'", "[" * 100_000, '"\x01"'])
def test_what_is_no_document_is_text_with_a_remark(broken: str, tmp_path: Path) -> None:
    file = render(tmp_path, DOCUMENT, ["[1]", broken, None])

    assert json.loads(file.path.read_bytes()) == [{"v": [1]}, {"v": broken}, {"v": None}]
    assert file.warnings == ("column 'v': is not valid JSON and is written as text (1 cell)",)


def test_a_number_of_any_length_is_embedded(tmp_path: Path) -> None:
    digits = "7" * 10_000

    assert digits in text_of(tmp_path, DOCUMENT, [f"[{digits}]"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | st.text(), min_size=1))
def test_any_text_comes_back(values: list[str | None], tmp_path: Path) -> None:
    rows = json.loads(text_of(tmp_path, pa.field("v", pa.utf8()), values))

    assert [row["v"] for row in rows] == values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_any_float_comes_back(values: list[float], tmp_path: Path) -> None:
    rows = json.loads(text_of(tmp_path, pa.field("v", pa.float64()), values))

    assert [row["v"] for row in rows] == values
