"""What an error says: one line of bounded length, its cure at the end."""

from __future__ import annotations

from reporthub_dagster.reporting.errors import LONGEST_MESSAGE, ConfigurationError, TransientError


def test_a_message_is_one_line() -> None:
    assert str(TransientError("the server says:\nno\r\nand no")) == "the server says: no and no"


def test_a_very_long_message_keeps_its_place_and_its_cure() -> None:
    error = ConfigurationError("x" * 9999, table="report_configs", row=7, column="c", valid="write less")
    assert len(str(error)) < LONGEST_MESSAGE + 10
    assert str(error).startswith("report_configs 7, column c: xxx")
    assert str(error).endswith("xxx; write less")
    assert str(error.located(row=8)) == str(error)
