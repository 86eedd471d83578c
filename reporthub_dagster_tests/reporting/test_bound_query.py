from __future__ import annotations

from reporthub_dagster.reporting.bound_query import Bind, BoundQuery

QUERY = BoundQuery.of(
    ["SELECT '100%' ", "WHERE a = ", Bind("x", 1), " OR b = ", Bind("y", "2"), "", Bind("x", 1)]
)


def test_neighbouring_texts_are_one_part() -> None:
    assert QUERY.parts[0] == "SELECT '100%' WHERE a = "
    assert len(QUERY.parts) == 5


def test_each_style_is_written_as_its_drivers_want_it() -> None:
    assert QUERY.text("named") == "SELECT '100%' WHERE a = :x OR b = :y:x"
    assert QUERY.text("pyformat") == "SELECT '100%%' WHERE a = %(x)s OR b = %(y)s%(x)s"
    assert QUERY.text("qmark") == "SELECT '100%' WHERE a = ? OR b = ??"
    assert QUERY.text("null") == "SELECT '100%' WHERE a = NULL OR b = NULLNULL"


def test_values_by_name_and_by_place() -> None:
    assert QUERY.values == {"x": 1, "y": "2"}
    assert QUERY.sequence() == (1, "2", 1)
