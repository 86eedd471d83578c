from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reporthub_dagster.renderers.text_scan import beginning, empty_or_holding, holds, replaced

TEXTS = st.lists(st.one_of(st.none(), st.text(st.sampled_from(',"=a😀é\n'), max_size=4)), max_size=20)


@settings(deadline=None)  # pyarrow imports pandas at its first conversion
@given(TEXTS, st.integers(0, 5))
def test_texts_are_found_wherever_a_slice_begins(values: list[str | None], skipped: int) -> None:
    texts = pa.array(values, pa.large_utf8()).slice(skipped)
    expected = values[skipped:]

    assert_mask(
        empty_or_holding(texts, ',"\n'),
        [not set(text) or bool(set(text) & set(',"\n')) for text in filled(expected)],
    )
    assert_mask(beginning(texts, "=,"), [text[:1] in {"=", ","} for text in filled(expected)])
    assert holds(texts, ",") == any("," in text for text in filled(expected))
    swapped = [text and text.replace(",", ";") for text in expected]
    assert replaced(texts, ",", ";").to_pylist() == swapped


def filled(values: list[str | None]) -> list[str]:
    return ["a" if value is None else value for value in values]


def assert_mask(found: pa.Array | None, expected: list[bool]) -> None:
    mask = [False] * len(expected) if found is None else [bool(cell) for cell in found.to_pylist()]
    assert mask == expected
    assert (found is None) == (not any(expected))
