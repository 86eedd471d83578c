"""The direction of text: cases of Unicode's BidiCharacterTest.txt, and the lines of a paragraph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.renderers.pdf_bidi import (
    end_of_line,
    in_visual_order,
    paragraph_levels,
    runs_both_ways,
)


@pytest.mark.parametrize(
    ("codes", "base", "levels"),
    [
        ("202A 202E 0061 202C 0028 005B 05D0 202C 202D 005D 0029 202C", 0, "xx3x333xx22x"),
        ("202E 202D 05D0 202C 0028 202C 202B 0061 0029 0062", 1, "xx4x3xx444"),
        ("0028 05D0 0627 0029 0020 0031 002D 0032", 1, "11111212"),
        ("202D 0661 202B 0662 202C 2068 0663 2069 202B 0664 202C 0665 202C", 0, "x2x4x262x4x2x"),
        ("05D0 202A 0062 202C 0020 0031 0020 0032", 1, "1x2x2222"),
        ("0061 202B 05D1 202C 0020 0031 0020 0032", 0, "0x1x1212"),
        ("202D 05D0 202B 05D1 202C 2068 05D2 2069 202B 05D3 202C 05D4 202C", 1, "x2x3x232x3x2x"),
        ("202E 0061 202A 0062 202C 2066 0063 2069 202A 0064 202C 0065 202C", 0, "x1x2x121x2x1x"),
        ("00AD 0028 2069 0661 0025 0029 0662", 0, "x002002"),
        ("0041 200F 005B 200D 200B 20D6 05D0 005D 200B 200D 20D6", 0, "011xx111xx1"),
        ("0061 202A 0062 202C 0020 0031 0020 0032", 0, "0x2x0000"),
        ("0061 202B 0062 202C 0020 0031 0020 0032", 0, "0x2x1212"),
        ("05D0 202A 05D1 202C 0020 0031 0020 0032", 1, "1x3x2222"),
        ("05D0 0028 05D1 005B 05D2 2068 0061 2069 05D3 005D 05D4 0029 05D5", 1, "1111112111111"),
        ("05D0 0028 05D1 2066 0061 05D5 2069 0065 0029 0066", 1, "1111231212"),
        ("202B 0061 0028 0062 202C 202E 0029 202C", 0, "x222xx1x"),
        ("0061 0028 0062 2067 05D0 0066 2069 05D4 0029 05D5", 0, "0000120101"),
        ("202D 0028 202C 202A 05D0 0029 05D1", 1, "x2xx333"),
        ("0627 0628 062C 0020 0062 006F 006F 006B 0028 0073 0029", 1, "11112222222"),
        ("202A 0661 0028 05D0 0029", 1, "x4333"),
        ("05D0 05D1 0028 05D2 05D3 005B 0026 0065 0066 005D 002E 0029 0067 0068", 1, "11111112211122"),
        ("002B 0661 0028 0662 0029", 0, "02121"),
        ("0025 0661 0028 0662 0029", 0, "02121"),
        ("0661 0028 0662 0029 0331", 0, "21211"),
        ("0661 0009 0028 0662 0029", 0, "20121"),
    ],
)
def test_levels_are_those_of_the_standard(codes: str, base: int, levels: str) -> None:
    text = "".join(chr(int(code, 16)) for code in codes.split())

    found, resolved = paragraph_levels(text)

    shown = end_of_line(text, resolved, found)
    assert found == base
    assert [
        "x" if wanted == "x" else str(level) for wanted, level in zip(levels, shown, strict=True)
    ] == list(levels)


@pytest.mark.parametrize(
    ("levels", "order"),
    [
        ([], []),
        ([0, 0], [0, 1]),
        ([1, 1], [1, 0]),
        ([1, 2, 2, 1], [3, 1, 2, 0]),
        ([0, 1, 1, 0], [0, 2, 1, 3]),
    ],
)
def test_what_has_a_higher_level_is_turned(levels: list[int], order: list[int]) -> None:
    assert in_visual_order(levels) == order


def test_spaces_at_the_end_of_a_line_run_as_the_paragraph_does() -> None:
    base, levels = paragraph_levels("a \u05d0 \u05d1 b")

    assert end_of_line("a \u05d0 ", levels[:4], base) == [0, 0, 1, 0]


@given(
    text=st.text(
        "ab\u05d0\u05d1\u0627 12,+%()[]{}\u0301\u200d\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
)
def test_any_text_has_an_order(text: str) -> None:
    base, levels = paragraph_levels(text)

    assert base in (0, 1)
    assert sorted(in_visual_order(levels)) == list(range(len(text)))
    assert runs_both_ways(text) or not any(level % 2 for level in levels)


@pytest.mark.parametrize("opener", ["\u202b", "\u2067", "\u202e", "("])
def test_depth_without_end_has_an_end(opener: str) -> None:
    assert max(paragraph_levels("\u05d0" + opener * 300 + "a")[1]) <= 126


def test_isolates_that_are_too_deep_end_where_they_should() -> None:
    _, levels = paragraph_levels("\u2067" * 200 + "\u2069" * 140 + "\u05d0")

    assert levels[-1] == 2 * 60 - 1
