from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.delivery_logs import AttemptOutcome, DeliveryAttempt, DeliveryLogs
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import (
    Column,
    DeliveryReceipt,
    QueryResult,
    ReceiptState,
    RenderedFile,
    ReportPlan,
    ReportQuery,
    TimeWindow,
)
from reporthub_dagster_tests.go_api import GoApi

NOW = datetime(2025, 1, 31, 1, 0, tzinfo=UTC)
WINDOW = TimeWindow(NOW - timedelta(days=1), NOW, "UTC", "cron_detection", "daily", NOW)
FILE = RenderedFile(Path("/out/e/files/a.csv"), "a.csv", "csv", "text/csv", 12, "00", 3)

PLAN = ReportPlan(
    execution_id="e",
    config_id=1,
    schedule_id=1,
    datasource_id=1,
    report_name="Sales",
    queries=(ReportQuery("", "SELECT 1"),),
    formats=("csv",),
    file_name="",
    window=WINDOW,
    variables={},
    parameters={},
    timeout_seconds=60,
    max_rows=10,
    deliver="all",
    executed_by="x",
)


@pytest.fixture
def executions(hub: Hub, go: GoApi) -> Executions:
    executions = Executions(hub)
    executions.add("e", config_id=1, schedule_id=1, executed_by="tester", at=NOW)
    return executions


def claimed(executions: Executions, run_id: str = "run-1", after: Claim | None = None) -> Claim:
    claim = executions.claim("e", run_id, after=after, from_status="running", at=NOW)
    assert claim is not None
    return claim


def test_an_execution_is_there_before_anything_runs(executions: Executions) -> None:
    found = executions.find("e")
    assert found is not None
    assert (found.status, found.config_id, found.schedule_id, found.executed_by) == (
        "running",
        1,
        1,
        "tester",
    )
    assert found.started_at == NOW


def test_adding_twice_is_adding_once(executions: Executions) -> None:
    again = executions.add("e", config_id=1, schedule_id=None, executed_by="somebody else", at=NOW)
    assert again.executed_by == "tester"


def test_a_queued_row_is_claimed_once(executions: Executions, go: GoApi) -> None:
    go.insert("report_executions", id="q", config_id=1, status="queued", executed_by="go")
    first = executions.claim("q", "run-1", after=None, from_status="queued", at=NOW)
    second = executions.claim("q", "run-2", after=None, from_status="queued", at=NOW)
    assert first == Claim("q", "run-1", 1)
    assert second is None
    assert go.row("SELECT status FROM report_executions WHERE id = 'q'") == {"status": "running"}


def test_of_many_runs_at_once_one_gets_the_claim(executions: Executions) -> None:
    barrier = Barrier(8)
    claims: list[Claim | None] = []

    def run(number: int) -> None:
        barrier.wait()
        claims.append(executions.claim("e", f"run-{number}", after=None, from_status="running", at=NOW))

    threads = [Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in claims if claim]) == 1


def test_a_run_that_was_taken_over_writes_nothing(executions: Executions) -> None:
    zombie = claimed(executions)
    heir = claimed(executions, "run-2", after=zombie)
    with pytest.raises(LostClaimError, match="taken over"):
        executions.finish(zombie, "completed", at=NOW)
    with pytest.raises(LostClaimError):
        executions.remember(zombie, {"a": 1})
    with pytest.raises(LostClaimError):
        executions.files_done(zombie, [FILE], PLAN)
    with pytest.raises(LostClaimError):
        executions.require(zombie)
    executions.require(heir)
    found = executions.find("e")
    assert found is not None
    assert (found.status, found.context, found.file_path) == ("running", {}, None)


def test_the_context_keeps_what_others_wrote(executions: Executions, go: GoApi) -> None:
    go.execute("""UPDATE report_executions SET execution_context = '{"requested_from": "ui"}'""")
    claim = claimed(executions)
    executions.remember(claim, {"dagster_run_id": "run-1"})
    executions.remember(claim, {"truncated": True})
    found = executions.find("e")
    assert found is not None
    assert found.context == {"requested_from": "ui", "dagster_run_id": "run-1", "truncated": True}


def test_rows_time_and_file_are_recorded(executions: Executions) -> None:
    claim = claimed(executions)
    result = QueryResult(Path("spool"), (Column("a", "int64"),), 3, truncated=False, query_ms=17)
    executions.query_done(claim, [result], {"final_query": "SELECT 1"})
    assert executions.files_done(claim, [FILE], replace(PLAN, schedule_id=None)) is True
    assert executions.files_done(claim, [FILE], replace(PLAN, schedule_id=None)) is False, "they are known"
    executions.finish(claim, "completed", at=NOW + timedelta(seconds=9))
    found = executions.find("e")
    assert found is not None
    assert (found.status, found.rows_returned, found.query_ms) == ("completed", 3, 17)
    assert (found.file_path, found.file_size_bytes) == ("/out/e/files/a.csv", 12)
    assert found.completed_at == NOW + timedelta(seconds=9)


def test_a_long_error_is_cut(executions: Executions) -> None:
    executions.finish(claimed(executions), "failed", at=NOW, error="x" * 100_000)
    found = executions.find("e")
    assert found is not None
    assert found.error_message == "x" * 4_000


def test_last_run_at_moves_forward_only(executions: Executions, go: GoApi) -> None:
    claim = claimed(executions)

    def done(window: TimeWindow) -> object:
        executions.files_done(claim, [FILE], replace(PLAN, window=window))
        return go.row("SELECT last_run_at FROM report_schedules")["last_run_at"]

    first = done(WINDOW)
    assert str(first)[:19] == "2025-01-31 01:00:00"
    assert done(replace(WINDOW, end=NOW - timedelta(hours=1))) == first
    assert str(done(replace(WINDOW, end=NOW + timedelta(hours=1))))[:19] == "2025-01-31 02:00:00"


def test_a_window_that_knew_of_no_other_does_not_skip_rows(executions: Executions, go: GoApi) -> None:
    claim = claimed(executions)
    executions.files_done(claim, [FILE], PLAN)
    later = replace(WINDOW, start=WINDOW.end + timedelta(minutes=1), end=WINDOW.end + timedelta(hours=1))
    for window, moment in (
        (later, "2025-01-31 01:00:00"),
        (replace(later, method="last_run_at"), "2025-01-31 02:00:00"),
    ):
        executions.files_done(claim, [FILE], replace(PLAN, window=window))
        found = go.row("SELECT last_run_at FROM report_schedules")["last_run_at"]
        assert str(found)[:19] == moment


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, window=replace(WINDOW, method="explicit")),
        replace(PLAN, deliver="none"),
        replace(PLAN, deliver=("ana@x.test",)),
    ],
    ids=["a person's window", "delivered to nobody", "delivered to somebody"],
)
def test_what_is_not_the_regular_run_leaves_the_schedule_alone(
    executions: Executions, go: GoApi, plan: ReportPlan
) -> None:
    executions.files_done(claimed(executions), [FILE], plan)
    assert go.row("SELECT last_run_at FROM report_schedules") == {"last_run_at": None}


def test_writing_last_run_at_does_not_touch_updated_at(executions: Executions, go: GoApi) -> None:
    go.execute("UPDATE report_schedules SET updated_at = '2020-01-01 00:00:00', updated_by = 'ana'")
    before = go.row("SELECT updated_at, updated_by FROM report_schedules")
    executions.files_done(claimed(executions), [FILE], PLAN)
    assert go.row("SELECT updated_at, updated_by FROM report_schedules") == before


def test_the_latest_executions_come_first(executions: Executions) -> None:
    executions.add("later", config_id=1, schedule_id=None, executed_by="x", at=NOW + timedelta(hours=1))
    executions.finish(claimed(executions), "failed", at=NOW, error="no")
    assert [execution.id for execution in executions.latest()] == ["later", "e"]
    assert [execution.id for execution in executions.latest(status="failed")] == ["e"]
    assert executions.latest(config_id=99) == []


ATTEMPT = DeliveryAttempt(
    config_id=1,
    delivery_id=5,
    schedule_id=1,
    execution_id="e",
    started_at=NOW,
    recipient_count=3,
    file_size_bytes=12,
    notes={},
)


def finished(logs: DeliveryLogs, *, error: str | None = None, **states: ReceiptState) -> None:
    attempt = replace(ATTEMPT, recipient_count=len(states))
    made = [DeliveryReceipt(5, f"{name}@x", state, "answer", NOW) for name, state in states.items()]
    outcome = AttemptOutcome(NOW + timedelta(seconds=1.5), made, "retry" in states.values(), error)
    logs.close(logs.open(attempt), attempt, outcome)


def test_each_attempt_has_its_log_row(executions: Executions, hub: Hub, go: GoApi) -> None:
    logs = DeliveryLogs(hub)
    finished(logs, a="sent", b="retry", c="refused")
    finished(logs, b="sent")
    finished(logs, error="no server")
    first, second, third = go.rows("SELECT * FROM report_delivery_logs ORDER BY id")
    counts = (first["recipient_count"], first["success_count"], first["failure_count"])
    assert (first["status"], counts) == ("retry", (3, 1, 2))
    assert first["error_message"] == "b@x: answer; c@x: answer"
    assert (first["retry_count"], first["processing_time_ms"], first["file_size_bytes"]) == (0, 1500, 12)
    assert (second["status"], second["retry_count"], second["error_message"]) == ("success", 1, None)
    assert (third["status"], third["error_message"], third["recipient_count"]) == ("failed", "no server", 0)


def test_what_was_never_tried_is_no_attempt_that_a_later_one_repeats(
    executions: Executions, hub: Hub, go: GoApi
) -> None:
    logs = DeliveryLogs(hub)
    logs.not_sent(ATTEMPT, "no rows")
    waits = [DeliveryReceipt(5, "a@x", "retry", "not tried: the server is away", NOW)]
    put_off = AttemptOutcome(NOW, waits, will_retry=True, is_made=False)
    for _ in range(2):
        logs.close(logs.open(ATTEMPT), ATTEMPT, put_off)
    finished(logs, a="retry")
    logs.close(logs.open(ATTEMPT), ATTEMPT, put_off)
    finished(logs, a="sent")
    # Of another execution of the same delivery.
    other = replace(ATTEMPT, execution_id="other")
    logs.open(other)
    found = go.rows("SELECT status, retry_count, delivery_details FROM report_delivery_logs ORDER BY id")
    assert [(log["status"], log["retry_count"]) for log in found] == [
        ("success", 0),
        ("retry", 0),
        ("retry", 0),
        ("retry", 0),
        ("retry", 1),
        ("success", 1),
        ("pending", 0),
    ]
    assert [log["delivery_details"].get("not_tried", False) for log in found[1:5]] == [
        True,
        True,
        False,
        True,
    ]


def test_an_attempt_is_pending_before_its_first_byte(executions: Executions, hub: Hub, go: GoApi) -> None:
    DeliveryLogs(hub).open(ATTEMPT)
    (log,) = go.rows("SELECT * FROM report_delivery_logs")
    assert (log["status"], log["recipient_count"], log["completed_at"]) == ("pending", 3, None)


def test_what_a_release_without_ledger_wrote_is_known(executions: Executions, hub: Hub) -> None:
    logs = DeliveryLogs(hub)
    finished(logs, a="sent", b="retry", c="unknown", d="refused")
    history = logs.history("e", 5)
    assert {name: history.state_of(f"{name}@x") for name in "abcd"} == {
        "a": "sent",
        "b": "pending",
        "c": "unknown",
        "d": "pending",
    }
    assert logs.history("other", 5).state_of("a@x") == "pending"
