from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.text_template import fill


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{name}}", "Ana"),
        ("{{ name }}", "Ana"),
        ("{name}", "Ana"),
        ("{name}{{name}}", "AnaAna"),
        ("{ name }", "{ name }"),
        ('{"json": 1}', '{"json": 1}'),
        ("{}", "{}"),
    ],
)
def test_both_forms_are_filled(template: str, text: str) -> None:
    assert fill(template, {"name": "Ana"}).text == text


def test_what_is_unknown_stays_as_written_and_is_named_once() -> None:
    filled = fill("{{who}} {who} {name}", {"name": "Ana"})
    assert (filled.text, filled.unknown) == ("{{who}} {who} Ana", ("who",))


@given(st.text(), st.text())
def test_a_value_is_never_a_template(first: str, second: str) -> None:
    filled = fill("{a}|{b}", {"a": f"{{b}}{first}", "b": second})
    assert filled.text == f"{{b}}{first}|{second}"
