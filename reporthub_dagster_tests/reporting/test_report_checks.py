from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.reporting.report_checks import Verdict, judge
from reporthub_dagster_tests.reporting.builders import utc

SLOT = utc("2025-01-31 08:00")
DONE = Execution(
    id="e",
    config_id=1,
    schedule_id=7,
    status="completed",
    started_at=SLOT,
    completed_at=SLOT + timedelta(minutes=4),
    executed_by="schedule",
    context={"slot": SLOT.isoformat(), "deliver": "all"},
    query_ms=12,
    rows_returned=100,
    file_path="/f",
    file_size_bytes=1,
    error_message=None,
)


def verdicts(execution: Execution, *earlier: int, minutes: float = 4) -> dict[str, Verdict]:
    at = SLOT + timedelta(minutes=minutes)
    return {one.check: one for one in judge(execution, earlier, late_after=timedelta(minutes=30), at=at)}


def test_a_report_that_everybody_has_in_time_passes() -> None:
    found = verdicts(DONE, 90, 100, 110, 95, 120)
    assert all(verdict.passed for verdict in found.values())
    assert found["row_count_in_range"].text == "100 rows; expected 45 to 240 after the last 5 executions"
    assert found["on_time"].text == "completed 4 min after its slot 2025-01-31 08:00 UTC"


@pytest.mark.parametrize(
    ("rows", "earlier", "passed"),
    [
        (50, [100] * 5, True),
        (49, [100] * 5, False),
        (200, [100] * 5, True),
        (201, [100] * 5, False),
        (1_000_000, [100] * 4, True),
        (0, [0, 5, 5, 5, 5], True),
    ],
)
def test_the_number_of_rows_is_compared_with_those_before(
    rows: int, earlier: list[int], passed: bool
) -> None:
    found = verdicts(replace(DONE, rows_returned=rows), *earlier)
    assert found["row_count_in_range"].passed is passed
    assert found["not_empty"].passed is (rows > 0)


def test_what_was_not_read_is_not_counted() -> None:
    assert set(verdicts(replace(DONE, status="failed", rows_returned=None))) == {"delivered", "on_time"}


@pytest.mark.parametrize(
    ("changed", "passed", "is_failure", "words"),
    [
        ({"status": "failed", "error_message": "no such host"}, False, True, "failed: no such host"),
        ({"status": "cancelled"}, False, False, "cancelled: no reason is known"),
        ({"status": "running"}, False, False, "not everybody has it yet"),
        ({"context": {"deliver": "none"}}, True, False, "nobody was to get it"),
        ({"context": {"deliver": ["ana@x.test"]}}, True, False, "a test run, to ana@x.test"),
        ({"context": {"send_if": {"not_sent": "no rows"}}}, True, False, "not sent: no rows"),
    ],
    ids=["failed", "cancelled", "open", "nobody", "test", "condition"],
)
def test_who_has_it(changed: dict[str, Any], passed: bool, is_failure: bool, words: str) -> None:
    found = verdicts(replace(DONE, **changed))["delivered"]
    assert (found.passed, found.is_failure) == (passed, is_failure)
    assert words in found.text


@pytest.mark.parametrize(
    ("changed", "minutes", "passed"),
    [
        ({}, 30, True),
        ({}, 30.5, False),
        ({"status": "running"}, 29, True),
        ({"status": "running"}, 31, False),
        ({"status": "failed"}, 4, False),
        ({"context": {}}, 600, True),
    ],
    ids=["just in time", "late", "not late yet", "late already", "failed", "of no slot"],
)
def test_when_it_came(changed: dict[str, Any], minutes: float, passed: bool) -> None:
    assert verdicts(replace(DONE, **changed), minutes=minutes)["on_time"].passed is passed
