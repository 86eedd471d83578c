"""What only pdf files have: pages, their titles and footers, fonts, a layout."""

from __future__ import annotations

import re
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
from reporthub_dagster.renderers.pdf_embedded import embedded
from reporthub_dagster.renderers.pdf_fonts import regular, semibold
from reporthub_dagster.renderers.pdf_layout import CELL_LINES, MARGIN, Sample, choose_layout, wrap
from reporthub_dagster.renderers.pdf_shaping import Paragraph, Piece
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
    file = render(tmp_path, TEXT, ["ok", "𐎀𐎁", "a\u200fb", "ᠮ"])

    assert "��" in pdf_lines(file.path)[0]
    assert file.warnings == (
        "column 'value': characters that the pdf's fonts lack are shown as � (2 cells, the first in row 2)",
    )


def test_a_header_and_a_title_without_glyphs_are_told(tmp_path: Path) -> None:
    file = render(tmp_path, pa.field("𐎀", pa.int8()), [1], title="ᠮ")

    assert file.warnings == (
        "title: characters that the pdf's fonts lack are shown as �",
        "column '𐎀': characters that the pdf's fonts lack are shown as � (1 cell)",
    )


@pytest.mark.parametrize("text", ["株式会社山田商店", "烤鸭餐厅 → 北京", "서울특별시 강남구", "㈱ ｱｲｳ ー々"])
def test_east_asian_text_is_legible(tmp_path: Path, text: str) -> None:
    file = render(tmp_path, TEXT, [text])

    assert text in "".join(pdf_lines(file.path)[0])
    assert file.warnings == ()


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("שלום (abc)", "(abc) םולש"),
        ("abc (שלום) 12", "abc (םולש) 12"),
        ("דוח [abc]", "[abc] חוד"),
        ("abc שלום 12", "abc 12 םולש"),
        ("a\u2067(b)\u2069c", "a(b)c"),
        ("דוח 1,200.50 %", "% 1,200.50 חוד"),
    ],
)
def test_right_to_left_text_is_drawn_as_it_is_seen(text: str, drawn: str) -> None:
    ((line,), is_replaced, is_cut) = wrap(text, 40, regular())

    assert "".join(map(glyph_characters, line.pieces)) == drawn
    assert line.from_right == (text[0] == drawn[-1])
    assert not is_replaced | is_cut


def glyph_characters(piece: Piece) -> str:
    """The characters that its glyphs look like."""
    shown = ((chunk.font.face, one) for chunk in piece.chunks for _, text in chunk.parts for one in text)
    return "".join(chr(min(face.glyphToChar[face.charToGlyph[ord(one)]])) for face, one in shown)


@pytest.mark.parametrize(
    "text",
    [
        *("العربية (٢٠٢٤)", "اَلْعَرَبِيَّةُ", "پاکستان", "עברית", "בְּרֵאשִׁית", "ދިވެހި"),
        *("हिन्दी क्षत्रिय", "বাংলা ভাষা।", "ਪੰਜਾਬੀ ਸ੍ਰੀ", "ગુજરાતી ક્ષેત્ર", "ଓଡ଼ିଆ କ୍ଷେତ୍ର", "தமிழ் கொடி"),
        *("తెలుగు శ్రీ", "ಕನ್ನಡ ಕ್ಷೇತ್ರ", "മലയാളം ക്ഷേത്രം", "සිංහල ශ්‍රී", "ภาษาไทย น้ำใจ", "ພາສາລາວ", "ភាសាខ្មែរ"),
        *("မြန်မာဘာသာ", "አማርኛ", "བོད་སྐད་", "x̂ + q̃", "😀👍🏽", "👨‍👩‍👧‍👦 🇩🇪", "❤️ 1️⃣"),
    ],
)
def test_text_that_needs_shaping_has_its_glyphs_and_reads_as_it_is(text: str, tmp_path: Path) -> None:
    file = render(tmp_path, TEXT, [text])

    assert file.warnings == ()
    (line,) = wrap(text, 40, regular())[0]
    told = read_spans(file.path) + "".join(pdf_lines(file.path)[0])
    shown = [one for one in normalized(text) if unicodedata.category(one) not in ("Cf", "Mn", "Zs")]
    assert sorted(set(shown) - set(normalized(told))) == []
    assert 0 < line.width < 2 * len(text)


def normalized(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def read_spans(path: Path) -> str:
    """What the marked spans of the first page say that they read."""
    page: Any = PdfReader(path).pages[0]
    found = re.findall(rb"ActualText <FEFF([0-9a-f]*)>", page["/Contents"].get_object().get_data())
    return "".join(bytes.fromhex(text.decode()).decode("utf-16-be") for text in found)


def test_letters_join_and_stack() -> None:
    def glyphs(text: str) -> str:
        (line,) = wrap(text, 40, regular())[0]
        return "".join(text for piece in line.pieces for chunk in piece.chunks for _, text in chunk.parts)

    assert len(glyphs("क्ष")) == 1
    assert len(glyphs("🇩🇪")) == 1
    assert glyphs("سلام")[-1] != glyphs("س")
    assert glyphs("कि")[0] != glyphs("क")[0], "the vowel stands before its consonant"


def test_a_joined_word_breaks_where_a_reader_can_follow() -> None:
    lines, _, _ = wrap("กำลัง" * 8, 6, regular())

    assert len(lines) > 1
    assert "".join(line.text for line in lines) == normalized_c("กำลัง" * 8)
    assert all(unicodedata.category(line.text[0]) == "Lo" for line in lines)
    assert all(line.width <= 6.00001 for line in lines)


def normalized_c(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def test_a_long_cell_is_cut_and_told(tmp_path: Path) -> None:
    file = render(tmp_path, TEXT, ["word " * 5000, "\n".join("abc" for _ in range(CELL_LINES))])

    assert file.warnings == (f"column 'value': longer than {CELL_LINES} lines and cut (1 cell, in row 1)",)
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


@given(text=st.text() | st.text("אבש (12)[]تقر กำิ कषि्\u200d😀👍🏽a \u0301"), limit=st.floats(0.5, 40))
def test_lines_fit_and_lose_nothing_but_spaces(text: str, limit: float) -> None:
    shown, replaced, cut = wrap(text, limit, regular())

    assert len(shown) <= CELL_LINES
    if cut:
        return
    assert all(line.width <= limit + 1e-5 or is_one_cluster(line.text, limit) for line in shown)
    if not replaced:
        assert letters("".join(line.text for line in shown)) == letters(normalized_c(text))


def is_one_cluster(text: str, limit: float) -> bool:
    """What cannot be broken."""
    return len(text) == 1 or len(Paragraph(text, embedded(regular().name)).lines(limit, 1)) == 1


def letters(text: str) -> str:
    """Without spaces and what only steers."""
    return "".join(one for one in text if unicodedata.category(one) not in ("Cf", "Cc", "Zs", "Zl", "Zp"))


def test_every_character_of_a_run_is_in_its_font() -> None:
    runs = semibold().runs("a → b ≥ c")

    assert [text for _, text in runs] == ["a ", "→", " b ", "≥", " c"]
    assert [font.name for font, _ in runs[::2]] == ["NotoSans-SemiCondensedSemiBold"] * 3
