"""What `reporthub backfills` shows: each backfill's totals, its progress, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from reporthub_dagster.backfilling import BackfillPlan
from reporthub_dagster.db.backfills import Backfills
from reporthub_dagster.reporting.kept_window import window_to_json
from reporthub_dagster.reporting.records import TimeWindow

_WINDOWS_SHOWN = 10

Document = dict[str, Any]


def backfill_documents(backfills: Backfills, backfill_id: str | None, limit: int) -> list[Document]:
    """The latest backfills, or the one of an id, as `--json` prints them."""
    documents: dict[str, Document] = {}
    for row in backfills.progress(backfill_id, limit):
        empty = {
            "backfill_id": row.backfill_id,
            "config_id": row.config_id,
            "created_at": row.created_at.isoformat(),
            "executions": 0,
            "rows": 0,
            "bytes": 0,
            "by_status": {},
            "failures": [],
        }
        document = documents.setdefault(row.backfill_id, empty)
        document["by_status"][row.status] = row.executions
        for total in ("executions", "rows", "bytes"):
            document[total] += int(getattr(row, total))
    for key, document in documents.items():
        if backfill_id is not None and "failed" in document["by_status"]:
            document["failures"] = [_failure(row) for row in backfills.failures(key)]
    return list(documents.values())


def plan_document(plan: BackfillPlan, queued: int) -> Document:
    """What a backfill queues, as `--json` prints it."""
    return {
        "backfill_id": plan.request.id if queued else None,
        "config_id": plan.request.config_id,
        "deliver": plan.request.deliver,
        "queued": queued,
        "left_out": plan.left_out,
        "windows": [window_to_json(window) for window in plan.wanted],
    }


def print_plan(plan: BackfillPlan, queued: int) -> None:
    """What a backfill queues, for a person: the first windows and the last."""
    windows = plan.wanted
    for window in windows[:_WINDOWS_SHOWN]:
        click.echo(f"  {_text(window)}")
    if len(windows) > _WINDOWS_SHOWN:
        click.echo(f"  … and {len(windows) - _WINDOWS_SHOWN:,} more, to {_text(windows[-1])}")
    left_out = f", {plan.left_out:,} are filled" if plan.left_out else ""
    click.echo(f"{len(windows):,} windows{left_out}; deliver: {plan.request.deliver}")
    if queued:
        click.echo(f"queued as backfill {plan.request.id}; see: reporthub backfills {plan.request.id}")


def print_backfills(documents: Iterable[Mapping[str, Any]]) -> None:
    """Backfills for a person, one line each, and what failed."""
    for document in documents:
        counts = document["by_status"]
        states = ", ".join(f"{counts[status]:,} {status}" for status in sorted(counts))
        created = datetime.fromisoformat(document["created_at"])
        click.echo(
            f"{document['backfill_id']}: report {document['config_id']}, {created:%Y-%m-%d %H:%M} UTC, "
            f"{document['executions']:,} executions: {states}; {document['rows']:,} rows, "
            f"{document['bytes']:,} bytes"
        )
        print_failures(document["failures"])


def print_failures(failures: Sequence[Mapping[str, Any]]) -> None:
    """A line for each execution that failed."""
    for failure in failures:
        click.echo(f"  failed  {failure['slot']}  {failure['execution_id']}: {failure['error']}")


def _failure(row: Any) -> Document:
    return {"slot": row.slot.isoformat(), "execution_id": row.id, "error": row.error_message}


def _text(window: TimeWindow) -> str:
    shown = window_to_json(window)
    return f"{shown['start_datetime']} to {shown['end_datetime']} {window.timezone}"
