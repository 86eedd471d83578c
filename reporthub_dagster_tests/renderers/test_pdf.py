"""What only pdf files have: pages, their titles and footers, fonts, a layout."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from reporthub_dagster.renderers import pdf
from reporthub_dagster.renderers.pdf import PdfRenderer
from reporthub_dagster.renderers.pdf_fonts import regular, semibold
from reporthub_dagster.renderers.pdf_layout import CELL_LINES, MARGIN, Sample, choose_layout, wrap
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster_tests.renderers.readers import pdf_lines
from reporthub_dagster_tests.renderers.spools import request_for, spool_of

TEXT = pa.field("value", pa.utf8())


def render(folder: Path, field: pa.Field, values: Sequence[Any], **changes: Any) -> RenderedFile:
    spool = spool_of(folder / "spool.arrow", pa.schema([field]), [values])
    return PdfRenderer().render(request_for(spool, **changes), folder / "report.pdf")


def lines(folder: Path, field: pa.Field, values: Sequence[Any], **changes: Any) -> list[list[str]]:
    return pdf_lines(render(folder, field, values, **changes).path)


def test_the_first_page_says_what_and_when(tmp_path: Path) -> None:
    (page,) = lines(tmp_path, TEXT, ["a", "b"])

    assert page[1:3] == ["Daily settlements", "31 January 2025 · Asia/Jakarta  ·  2 rows"]


def test_every_page_has_the_header_and_its_number(tmp_path: Path) -> None:
    pages = lines(tmp_path, TEXT, [f"cell {number}" for number in range(100)])

    assert len(pages) == 3
    for number, page in enumerate(pages, start=1):
        assert "value" in page
        assert page[0] == "3"  # the form that holds the number of pages
        assert any(line.startswith(f"Page {number} of ") for line in page)
    assert [line for page in pages for line in page if line.startswith("cell")] == [
        f"cell {number}" for number in range(100)
    ]


def test_a_cut_result_says_so(tmp_path: Path) -> None:
    (page,) = lines(tmp_path, TEXT, ["a"], truncated=True)

    assert "Incomplete: only the first row is shown, the source had more." in page


def test_an_empty_window_says_so(tmp_path: Path) -> None:
    (page,) = lines(tmp_path, TEXT, [])

    assert "No rows in this window." in page


def test_the_fonts_are_embedded(tmp_path: Path) -> None:
    page: Any = PdfReader(render(tmp_path, TEXT, ["Zürich → Ω"]).path).pages[0]

    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    embedded = [font for font in fonts if "/FontDescriptor" in font]
    assert {font["/BaseFont"].partition("+")[2] for font in embedded} == {
        "NotoSans-SemiCondensed",
        "NotoSans-SemiCondensedSemiBold",
        "DejaVuSansCondensed",
    }
    assert all("/FontFile2" in font["/FontDescriptor"] for font in embedded)
    assert [font["/BaseFont"] for font in fonts if font not in embedded] == []


def test_characters_without_a_glyph_are_seen_and_told(tmp_path: Path) -> None:
    file = render(tmp_path, TEXT, ["ไทย", "ok", "😀", "a\u200fb"])

    assert "���" in pdf_lines(file.path)[0]
    assert file.warnings == ("column 'value': characters that the pdf's fonts lack are shown as � (2 cells)",)


def test_a_header_and_a_title_without_glyphs_are_told(tmp_path: Path) -> None:
    file = render(tmp_path, pa.field("😀", pa.int8()), [1], title="ไทย")

    assert file.warnings == (
        "title: characters that the pdf's fonts lack are shown as �",
        "column '😀': characters that the pdf's fonts lack are shown as � (1 cell)",
    )


@pytest.mark.parametrize("text", ["株式会社山田商店", "烤鸭餐厅 → 北京", "서울특별시 강남구", "㈱ ｱｲｳ ー々"])
def test_east_asian_text_is_legible(tmp_path: Path, text: str) -> None:
    file = render(tmp_path, TEXT, [text])

    assert text in "".join(pdf_lines(file.path)[0])
    assert file.warnings == ()


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("שלום (abc)", ["(abc) םולש"]),
        ("abc שלום 12", ["abc 12 םולש"]),
        ("سلام", ["ﻡﻼﺳ"]),
        ("الله", ["ﻪﻠﻟﺍ"]),
        ("שלום\nabc", ["םולש", "abc"]),
    ],
)
def test_right_to_left_text_is_drawn_as_it_is_seen(text: str, drawn: list[str]) -> None:
    assert wrap(text, 40, regular()) == (drawn, False, False)


def test_what_joins_and_orders_letters_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys; from reporthub_dagster.renderers.pdf_fonts import regular; face = regular(); "
        "face.seen([face.printable('Zürich →')[0]]); print(sys.modules.keys() & {'bidi', 'arabic_reshaper'})"
    )

    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert told.stdout == "set()\n"


def test_a_long_cell_is_cut_and_told(tmp_path: Path) -> None:
    file = render(tmp_path, TEXT, ["word " * 5000, "\n".join("abc" for _ in range(CELL_LINES))])

    assert file.warnings == (f"column 'value': longer than {CELL_LINES} lines and cut (1 cell)",)
    assert any(line.endswith("…") for page in pdf_lines(file.path) for line in page)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MOST_ROWS", 2)

    with pytest.raises(PermanentError, match="at most 2 rows, not 3: set output_format to xlsx or csv"):
        render(tmp_path, TEXT, ["a", "b", "c"])


def test_options_choose_the_paper(tmp_path: Path) -> None:
    file = render(tmp_path, TEXT, ["a"], options={"paper": "Letter", "orientation": "landscape"})

    assert tuple(PdfReader(file.path).pages[0].mediabox[2:]) == (792, 612)


def test_an_invalid_option_says_what_is_valid(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="valid: A4, A3 or Letter") as caught:
        render(tmp_path, TEXT, ["a"], options={"paper": "A0"})

    assert caught.value.column == "parameters.format.paper"


def sample(texts: list[str], *, wraps: bool = True) -> Sample:
    return Sample("header", texts, wraps)


def test_a_wide_table_lies_on_its_side() -> None:
    narrow = choose_layout([sample(["short"])] * 3, "A4", "auto")
    wide = choose_layout([sample(["a text of some length"])] * 10, "A4", "auto")

    assert narrow.page[0] < narrow.page[1]
    assert wide.page[0] > wide.page[1]


@pytest.mark.parametrize("columns", [1, 5, 12, 20, 27])
def test_a_table_never_leaves_the_page(columns: int) -> None:
    texts = ["Donaudampfschifffahrtsgesellschaftskapitän", "1234567890.1234567890"]

    layout = choose_layout([sample(texts, wraps=bool(n % 2)) for n in range(columns)], "A4", "auto")

    assert sum(layout.widths) <= layout.page[0] - 2 * MARGIN + 0.01


def test_numbers_stay_on_one_line_where_there_is_room() -> None:
    layout = choose_layout(
        [sample(["words " * 20]), sample(["12345678901234.56"], wraps=False)], "A4", "auto"
    )

    assert layout.widths[1] > regular().width("12345678901234.56") * layout.size


def test_more_columns_than_a_page_holds_are_refused() -> None:
    with pytest.raises(PermanentError, match=r"holds 27 columns, not 28.*display_columns"):
        choose_layout([sample(["x"])] * 28, "A4", "auto")


@given(text=st.text(), limit=st.floats(0.5, 40))
def test_lines_fit_and_lose_nothing_but_spaces(text: str, limit: float) -> None:
    shown, _, cut = wrap(text, limit, regular())

    assert len(shown) <= CELL_LINES
    assert all(regular().width(line) <= limit + 1e-5 or len(line) == 1 for line in shown if not cut)
    if not cut:
        printable = "".join(regular().printable(part)[0] for part in re.split("[\r\n]", text))
        assert letters("".join(shown)) == letters(printable)


def letters(text: str) -> str:
    """Without spaces; where lines run from right to left, in any order and without what is mirrored."""
    if not re.search("[\u0590-\u08ff\ufb1d-\ufefc]", text):
        return "".join(text.split())
    return "".join(sorted(one for one in text if not unicodedata.mirrored(one) and not one.isspace()))


def test_every_character_of_a_run_is_in_its_font() -> None:
    runs = semibold().runs("a → b ≥ c")

    assert [text for _, text in runs] == ["a ", "→", " b ", "≥", " c"]
    assert [font for font, _ in runs[::2]] == ["NotoSans-SemiCondensedSemiBold"] * 3
