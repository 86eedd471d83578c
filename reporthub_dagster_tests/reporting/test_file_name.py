"""File names from every template form, safe on every file system, never twice in an execution."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.file_name import MAX_BYTES, FileName, safe_file_name
from reporthub_dagster_tests.reporting.builders import utc

RESERVED = {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "COM¹", "CONIN$"}
VARIABLES = {
    "merchant_id": "M-77",
    "yesterday": "2025-01-30",
    "start_datetime": "2025-01-30 08:00:00",
    "date": "no",
}


def named(
    template: str | None,
    report_name: str = "Daily orders",
    extension: str = "csv",
    taken: Collection[str] = (),
) -> FileName:
    return safe_file_name(
        template,
        extension=extension,
        report_name=report_name,
        execution_id="6f1c",
        variables=VARIABLES,
        moment=utc("2025-01-31 08:00:05"),
        taken=taken,
    )


@pytest.mark.parametrize(
    ("template", "name"),
    [
        pytest.param(None, "Daily orders_20250131_080005.csv", id="none"),
        pytest.param("  ", "Daily orders_20250131_080005.csv", id="blank"),
        pytest.param(
            "{{report_name}}_{{merchant_id}}_{{yesterday}}", "Daily orders_M-77_2025-01-30.csv", id="double"
        ),
        pytest.param("{report_name}_{merchant_id}", "Daily orders_M-77.csv", id="single"),
        pytest.param("{{ report_name }}-{date}", "Daily orders-20250131.csv", id="mixed-and-spaced"),
        pytest.param("{date} {time} {datetime}", "20250131 080005 20250131_080005.csv", id="moments"),
        pytest.param("{execution_id}", "6f1c.csv", id="execution"),
        pytest.param("orders.{ext}", "orders.csv", id="extension-as-a-variable"),
        pytest.param("orders.CSV", "orders.csv", id="extension-not-twice"),
        pytest.param("orders.v1.2", "orders.v1.2.csv", id="other-dots-stay"),
        pytest.param("plain", "plain.csv", id="plain"),
        pytest.param("{start_datetime}", "2025-01-30 08_00_00.csv", id="colons-of-a-time"),
    ],
)
def test_a_template_makes_the_name(template: str | None, name: str) -> None:
    assert named(template) == FileName(name)


def test_an_unknown_placeholder_stays_with_a_warning() -> None:
    made = named("{{shop}}_{city}_{shop}_{date}")

    assert made.name == "{{shop}}_{city}_{shop}_20250131.csv"
    assert len(made.warnings) == 2
    assert "{shop}" in made.warnings[0]


def test_a_value_with_braces_is_not_filled_again() -> None:
    assert named("{report_name}", report_name="{date}") == FileName("{date}.csv")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        pytest.param("../../etc/passwd", "_.._etc_passwd.csv", id="parent-folders"),
        pytest.param("/abs\\olute", "_abs_olute.csv", id="separators"),
        pytest.param('a:b*c?d"e<f>g|h', "a_b_c_d_e_f_g_h.csv", id="signs-of-windows"),
        pytest.param("a\nb\x00c\x7fd", "a_b_c_d.csv", id="control-characters"),
        pytest.param("invoice\u202ecsv.exe", "invoice_csv.exe.csv", id="direction-override"),
        pytest.param(" .hidden. ", "hidden.csv", id="dots-and-spaces-at-the-ends"),
        pytest.param("CON", "_CON.csv", id="device"),
        pytest.param("com1.report", "_com1.report.csv", id="device-before-a-dot"),
        pytest.param("LPT¹", "_LPT¹.csv", id="device-with-superscript"),
        pytest.param("aux .x", "_aux .x.csv", id="device-and-space"),
        pytest.param("console", "console.csv", id="no-device"),
        pytest.param("...", "Daily orders.csv", id="only-dots"),
        pytest.param("Cafe\u0301", "Café.csv", id="normalised"),
        pytest.param("a\u00a0b\u2003c", "a b c.csv", id="other-spaces"),
        pytest.param("売上 😀", "売上 😀.csv", id="any-script"),
        pytest.param("می\u200cروم", "می\u200cروم.csv", id="joiners-of-persian"),
    ],
)
def test_a_name_is_made_safe(template: str, name: str) -> None:
    assert named(template).name == name


def test_a_name_of_nothing_safe_is_still_a_name() -> None:
    assert named("..", report_name=" . ").name == "report.csv"


@pytest.mark.parametrize("letter", ["x", "é", "売", "😀"])
def test_a_long_name_is_cut_between_characters_and_keeps_its_extension(letter: str) -> None:
    name = named(letter * 300, extension="xlsx").name

    assert len(name.encode()) <= MAX_BYTES
    assert len(name.encode()) > MAX_BYTES - 4
    assert set(name.removesuffix(".xlsx")) == {letter}


def test_a_name_is_not_cut_to_end_in_a_dot_or_a_space() -> None:
    assert named("x" * 194 + ". and more").name == "x" * 194 + ".csv"


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        pytest.param([], "Orders.csv", id="free"),
        pytest.param(["Orders.csv"], "Orders_2.csv", id="taken"),
        pytest.param(["ORDERS.CSV", "orders_2.csv"], "Orders_3.csv", id="taken-in-another-case"),
        pytest.param(["Orders.xlsx"], "Orders.csv", id="another-extension"),
    ],
)
def test_a_name_differs_from_those_taken_in_more_than_case(taken: list[str], name: str) -> None:
    assert named("Orders", taken=taken).name == name


def test_names_that_look_the_same_are_the_same() -> None:
    assert named("Cafe\u0301", taken=["CAFÉ.csv"]).name == "Café_2.csv"


def test_a_number_fits_into_a_name_that_was_cut() -> None:
    first = named("x" * 300).name

    second = named("x" * 300, taken=[first]).name

    assert second.endswith("_2.csv")
    assert len(second.encode()) <= MAX_BYTES


@given(
    template=st.one_of(
        st.text(max_size=120), st.sampled_from([*RESERVED, "{report_name}", "{{x}}/..", "a" * 250])
    ),
    report_name=st.text(max_size=80),
    extension=st.sampled_from(["csv", "xlsx", "json", "pdf", "csv.gz"]),
)
def test_any_template_gives_safe_names_that_never_collide(
    template: str, report_name: str, extension: str
) -> None:
    taken: list[str] = []
    for _ in range(3):
        taken.append(named(template, report_name, extension, taken).name)

    for name in taken:
        stem = name.removesuffix(f".{extension}")
        assert name.endswith(f".{extension}")
        assert len(name.encode()) <= MAX_BYTES
        assert Path(name).name == name
        assert not set(name) & set('/\\:*?"<>|')
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
        assert stem == stem.strip(". ")
        assert stem.partition(".")[0].strip().upper() not in RESERVED
        assert unicodedata.is_normalized("NFC", name)
    assert len({name.casefold() for name in taken}) == 3


def test_a_part_of_a_report_is_named_after_it_however_long_the_name_is() -> None:
    def named(template: str, part: str, taken: tuple[str, ...] = ()) -> str:
        return safe_file_name(
            template,
            extension="csv",
            report_name="R",
            execution_id="e",
            variables={},
            moment=utc("2025-01-31"),
            part=part,
            taken=taken,
        ).name

    assert named("sales.csv", "By day") == "sales_By day.csv"
    assert named("sales", "{date}") == "sales_{date}.csv"
    assert named("sales", "...") == "sales_part.csv"
    assert named("sales", "a", ("SALES_A.csv",)) == "sales_a_2.csv"
    long = named("x" * 300, "ends")
    assert long.endswith("x_ends.csv")
    assert len(long) <= 200
