"""`parameters.send_if`: what is not worth sending is not sent, and says so everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reporthub_dagster_tests.installation import PARAMETERS, World

on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
NOBODY = [{"field": "t.merchant_id", "operator": "=", "type": "string", "value": "nobody"}]


def send_if(world: World, condition: Any, **more: Any) -> None:
    parameters = json.dumps({**PARAMETERS, **more, "send_if": condition})
    world.go.execute("UPDATE report_configs SET parameters = :parameters", parameters=parameters)


def sent(world: World, **config: Any) -> bool:
    """Whether one more run has reached people."""
    before = len(world.mail.mails)
    row = world.execution(world.run(config_id=1, **config).run_id)
    assert row["status"] == "completed", row["error_message"]
    return len(world.mail.mails) > before


def test_what_is_not_sent_says_why_and_completes(world: World) -> None:
    send_if(world, "not_empty", filters=NOBODY)
    row = world.execution(world.run(config_id=1, schedule_id=1).run_id)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert row["execution_context"]["send_if"]["not_sent"] == "send_if: there are no rows"
    assert world.mail.mails == []
    assert list(world.share.iterdir()) == []
    logs = world.go.rows("SELECT * FROM report_delivery_logs")
    assert {(log["status"], log["recipient_count"]) for log in logs} == {("success", 0)}
    assert {log["delivery_details"]["not_sent"] for log in logs} == {"send_if: there are no rows"}
    assert world.go.row("SELECT last_run_at FROM report_schedules")["last_run_at"] is not None


def test_a_slot_says_that_its_report_was_not_sent(world: World) -> None:
    send_if(world, "not_empty", filters=NOBODY)
    slot = {"schedule_id": 1, "slot": "2025-01-31 01:00:00", "state": "launched"}
    world.go.insert("report_executions", id="e", config_id=1, status="queued", executed_by="x")
    world.go.insert("reporthub_slots", **slot, execution_id="e", decided_at="2025-01-31 01:00:00")
    world.run(execution_id="e")
    assert world.go.row("SELECT reason FROM reporthub_slots") == {
        "reason": "not sent: send_if: there are no rows"
    }


def test_what_has_not_changed_since_everybody_got_it_is_not_sent(world: World) -> None:
    send_if(world, "changed")
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    assert world.execution(world.run(config_id=1).run_id)["status"] == "failed"
    assert sent(world), "not everybody had it"
    assert not sent(world)
    send_if(world, "changed", filters=[])
    assert sent(world)
    assert not sent(world)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("always", True),
        ({"column": "amount", "op": ">", "value": 1000}, True),
        ({"column": "amount", "op": ">", "value": 1000, "rows": "all"}, False),
        ({"threshold": {"column": "amount", "op": ">=", "value": 0.01, "rows": "all"}}, True),
        ({"column": "status", "op": "=", "value": "REFUNDED"}, False),
        ({"sql": "SELECT COUNT(*) > 1 FROM trx t WHERE t.merchant_id = {{merchant_id}}"}, True),
        ({"sql": "SELECT 0"}, False),
        ({"sql": "SELECT t.trx_id FROM trx t WHERE t.amount < 0"}, False),
    ],
    ids=["always", "any", "all", "threshold", "text", "true", "false", "no rows"],
)
def test_each_condition(world: World, condition: Any, expected: bool) -> None:
    send_if(world, condition)
    assert sent(world) is expected


@on_sqlite
def test_what_a_person_sends_to_some_is_sent(world: World) -> None:
    send_if(world, "not_empty", filters=NOBODY)
    assert sent(world, deliver="ana@finance.test")


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("sometimes", "report_configs 1, column parameters.send_if: not a condition"),
        ({"column": "amount", "op": "~", "value": 1}, "parameters.send_if.op: not usable"),
        ({"column": "nothing", "op": ">", "value": 1}, "parameters.send_if.column: the result has no such"),
        ({"sql": "DELETE FROM trx"}, "parameters.send_if.sql"),
        ({"sql": "SELECT nothing FROM trx t"}, "parameters.send_if.sql"),
    ],
    ids=["word", "operator", "column", "not a select", "sql error"],
)
@on_sqlite
def test_a_condition_that_cannot_be_judged_names_its_place(world: World, condition: Any, words: str) -> None:
    send_if(world, condition)
    row = world.execution(world.run(config_id=1).run_id)
    assert row["status"] == "failed"
    assert words in row["error_message"]
    assert world.mail.mails == []
