"""What the executions of a report are checked for: rows, their number, delivery, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from reporthub_dagster.reporting.records import Execution

Check = Literal["not_empty", "row_count_in_range", "delivered", "on_time"]

COMPARED = 20
"""Executions that a number of rows is compared with."""
_LEAST_COMPARED = 5
_LOST = ("failed", "cancelled")

CHECKS: dict[Check, str] = {
    "not_empty": "The queries found rows.",
    "row_count_in_range": f"The number of rows is between half the least and twice the most of the last "
    f"{COMPARED} executions. Passes while there are fewer than {_LEAST_COMPARED}.",
    "delivered": "Everybody who is to get the report has it.",
    "on_time": "The report was delivered within REPORTHUB_LATE_MINUTES of its slot. Passes for what a person "
    "asked for.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check says of an execution.

    Attributes:
        is_failure: Where it has not passed: something went wrong; else it is only worth a look.
        text: Why, in one sentence.
    """

    check: Check
    passed: bool
    text: str
    is_failure: bool = False


def judge(
    execution: Execution, earlier: Sequence[int], *, late_after: timedelta, at: datetime
) -> tuple[Verdict, ...]:
    """What there is to say of an execution; of its rows only when they were read.

    Args:
        execution: As its row is now.
        earlier: Rows of the report's executions before it, at most COMPARED.
        late_after: How long after its slot it is late.
        at: When it ended; now, where it has not.
    """
    rows = execution.rows_returned
    of_rows = () if rows is None else (_not_empty(rows), _in_range(rows, earlier))
    return (*of_rows, _delivered(execution), _on_time(execution, late_after, at))


def _not_empty(rows: int) -> Verdict:
    return Verdict("not_empty", rows > 0, f"{rows:,} rows")


def _in_range(rows: int, earlier: Sequence[int]) -> Verdict:
    if len(earlier) < _LEAST_COMPARED:
        return Verdict("row_count_in_range", True, f"{rows:,} rows; too few executions to compare with")
    least, most = min(earlier) / 2, max(earlier) * 2
    text = f"{rows:,} rows; expected {least:,.0f} to {most:,} after the last {len(earlier)} executions"
    return Verdict("row_count_in_range", least <= rows <= most, text)


def _delivered(execution: Execution) -> Verdict:
    if execution.status == "completed":
        return Verdict("delivered", True, _how_it_ended(execution))
    if execution.status in _LOST:
        reason = execution.error_message or "no reason is known"
        is_failure = execution.status == "failed"
        return Verdict("delivered", False, f"{execution.status}: {reason}", is_failure)
    return Verdict("delivered", False, "not everybody has it yet; the next attempt follows")


def _how_it_ended(execution: Execution) -> str:
    not_sent = (execution.context.get("send_if") or {}).get("not_sent")
    if not_sent:
        return f"not sent: {not_sent}"
    deliver = execution.context.get("deliver", "all")
    if deliver == "none":
        return "nobody was to get it"
    return "everybody has it" if deliver == "all" else f"a test run, to {', '.join(deliver)}"


def _on_time(execution: Execution, late_after: timedelta, at: datetime) -> Verdict:
    slot = execution.context.get("slot")
    if not isinstance(slot, str):
        return Verdict("on_time", True, "not of a slot")
    due = datetime.fromisoformat(slot)
    minutes = f"{(at - due) / timedelta(minutes=1):,.0f} min"
    text = f"{execution.status} {minutes} after its slot {due:%Y-%m-%d %H:%M} UTC"
    return Verdict("on_time", execution.status not in _LOST and at - due <= late_after, text)
