"""A row of `report_configs` becomes a delivered file, with the hub on SQLite and on MariaDB."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from reporthub_dagster_tests.installation import PARAMETERS, TODAY, YESTERDAY, World
from reporthub_dagster_tests.servers.process import wait_until

NAME = f"Sales_M-77_{YESTERDAY:%Y-%m-%d}.csv"
CONTENT = b"trx_id,amount,status\r\n2,20.00,PAID\r\n3,1234567890.25,SETTLED\r\n6,0.01,PAID\r\n"


def test_a_row_becomes_a_file_in_peoples_hands(world: World) -> None:
    result = world.run(config_id=1, executed_by="ana")
    assert result.success
    assert (world.share / NAME).read_bytes() == CONTENT
    for address in ("ana@finance.test", "budi@finance.test"):
        (mail,) = world.mail.to(address)
        assert mail.message["Subject"] == f"Sales of {YESTERDAY:%Y-%m-%d}"
        (attachment,) = mail.message.iter_attachments()
        assert attachment.get_filename() == NAME
        assert attachment.get_content() in {CONTENT, CONTENT.decode()}
    assert len(world.mail.mails) == 2


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize("password", [None, "ZIP_PASSWORD"])
def test_a_mail_shows_the_first_rows_unless_they_are_under_a_password(
    world: World, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZIP_PASSWORD", "p4ss")
    compress = {"compress": {"method": "zip", "password": {"env": password}}} if password else {}
    world.go.execute("UPDATE report_configs SET parameters = :p", p=json.dumps({**PARAMETERS, **compress}))
    world.go.execute("UPDATE report_deliveries SET delivery_config = :c WHERE id = 1", c='{"body_rows": 2}')
    assert world.run(config_id=1).success
    text = world.mail.to("ana@finance.test")[0].text
    assert ("1234567890.25" in text) == (password is None)
    assert ("3 rows, here the first 2" in text) == (password is None)
    assert ("not shown here: the report is packed with a password" in text) == (password is not None)
    assert "0.01" not in text


def test_the_execution_tells_what_happened(world: World) -> None:
    result = world.run(config_id=1, executed_by="ana")
    row = world.execution(result.run_id)
    assert (row["status"], row["config_id"], row["schedule_id"]) == ("completed", 1, None)
    assert (row["executed_by"], row["rows_returned"], row["error_message"]) == ("ana", 3, None)
    assert row["started_at"] is not None
    assert row["completed_at"] is not None
    assert row["query_execution_time_ms"] >= 0
    path = Path(row["file_generated_path"])
    assert (path.name, path.read_bytes(), row["file_size_bytes"]) == (NAME, CONTENT, len(CONTENT))
    context = row["execution_context"]
    assert context["dagster_run_id"] == result.run_id
    assert context["original_query"].startswith("SELECT t.trx_id")
    assert "M-77" not in context["final_query"]
    assert "M-77" in context["variables_used"].values()
    assert context["time_range"]["calculation_method"] == "default_daily"
    assert (context["datasource_type"], context["output_format"]) == (world.source_kind, "csv")
    assert (context["truncated"], context["warnings"]) == (False, [])
    assert context["file_sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_each_delivery_attempt_has_a_log_row(world: World) -> None:
    result = world.run(config_id=1)
    logs = world.go.rows(
        "SELECT * FROM report_delivery_logs WHERE execution_id = :id ORDER BY delivery_id", id=result.run_id
    )
    assert [(log["delivery_id"], log["status"]) for log in logs] == [(1, "success"), (2, "success")]
    assert [(log["recipient_count"], log["success_count"]) for log in logs] == [(2, 2), (1, 1)]
    details = logs[0]["delivery_details"]["recipients"]
    assert [(entry["recipient"], entry["state"]) for entry in details] == [
        ("ana@finance.test", "sent"),
        ("budi@finance.test", "sent"),
    ]


def test_the_run_carries_tags_and_metadata(world: World) -> None:
    result = world.run(config_id=1, schedule_id=1, executed_by="ana")
    run = world.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert {name: value for name, value in run.tags.items() if name.startswith("reporthub/")} == {
        "reporthub/kind": "report",
        "reporthub/report": "Sales",
        "reporthub/config_id": "1",
        "reporthub/execution_id": result.run_id,
        "reporthub/schedule_id": "1",
        "reporthub/datasource_id": "1",
        "reporthub/executed_by": "ana",
    }
    query = metadata_of(result, "run_query")
    assert query["dagster/row_count"].value == 3
    assert "M-77" in query["sql"].value
    assert len(query["preview"].records) == 3
    file = metadata_of(result, "render_file")
    assert file["size_bytes"].value == len(CONTENT)
    (receipts,) = (metadata_of(result, "deliver[delivery_2]")["receipts"],)
    assert receipts.records[0].data["state"] == "sent"


def metadata_of(result: Any, step: str) -> dict[str, Any]:
    (output,) = (
        event.step_output_data
        for event in result.all_events
        if event.is_successful_output and event.step_key == step
    )
    return dict(output.metadata)


def test_nothing_is_delivered_when_nobody_wants_it(world: World) -> None:
    result = world.run(config_id=1, deliver="none")
    assert world.execution(result.run_id)["status"] == "completed"
    assert world.mail.mails == []
    assert list(world.share.iterdir()) == []
    assert len(world.files()) == 1


@pytest.mark.parametrize(
    ("deliver", "caller"),
    [("dewi@elsewhere.test", "dewi@elsewhere.test"), ("me", "budi@finance.test")],
    ids=["an address", "me"],
)
def test_a_test_run_goes_to_the_caller_alone_and_says_so(world: World, deliver: str, caller: str) -> None:
    world.go.execute(
        "UPDATE report_deliveries SET delivery_config = :config WHERE id = 1",
        config='{"subject": "{{report_name}}", "cc": "boss@finance.test", "bcc": ["audit@finance.test"]}',
    )
    result = world.run(config_id=1, schedule_id=1, deliver=deliver, executed_by=caller)
    row = world.execution(result.run_id)
    assert row["status"] == "completed"
    (mail,) = world.mail.mails
    assert (mail.recipient, mail.message["Subject"], mail.message["Cc"]) == (caller, "[Test] Sales", None)
    assert mail.attachments == {NAME: CONTENT}
    assert list(world.share.iterdir()) == []
    assert row["execution_context"]["deliver"] == [caller]
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert (log["delivery_id"], log["status"], log["delivery_details"]["test"]) == (1, "success", True)
    assert world.go.row("SELECT last_run_at FROM report_schedules") == {"last_run_at": None}


@pytest.mark.parametrize(
    ("statement", "deliver", "words"),
    [
        ("SELECT 1", "me at home", "'me at home'"),
        ("SELECT 1", "me", "executed_by: deliver: me goes to the address of whoever asks, and this is none"),
        ("DELETE FROM report_delivery_recipients WHERE delivery_id = 1", "me@x.test", ""),
        ("UPDATE report_deliveries SET is_active = FALSE WHERE id = 1", "me@x.test", "no active e-mail"),
    ],
    ids=["no address", "nobody", "nobody else", "no e-mail"],
)
def test_who_may_try_a_report(world: World, statement: str, deliver: str, words: str) -> None:
    world.go.execute(statement)
    row = world.execution(world.run(config_id=1, deliver=deliver).run_id)
    assert (row["status"], words in (row["error_message"] or "")) == (
        "failed" if words else "completed",
        True,
    )
    assert len(world.mail.mails) == (0 if words else 1)


def test_a_person_chooses_the_window(world: World) -> None:
    unread = world.execution(world.run(config_id=1, schedule_id=1, start="soon").run_id)
    assert unread["error_message"].startswith("start: not a date or time (value 'soon')")
    result = world.run(config_id=1, start=f"{YESTERDAY:%Y-%m-%d %H:%M:%S}", end=f"{TODAY:%Y-%m-%d} 00:00:01")
    row = world.execution(result.run_id)
    assert row["rows_returned"] == 4
    assert row["execution_context"]["time_range"]["calculation_method"] == "explicit"


def test_a_person_chooses_parameters(world: World) -> None:
    world.go.execute(
        "UPDATE report_configs SET report_query = 'SELECT trx_id FROM trx WHERE merchant_id = \\:merchant', "
        "parameters = :parameters",
        parameters='{"merchant": "M-77"}',
    )
    result = world.run(config_id=1, parameters={"merchant": "M-78"})
    assert world.execution(result.run_id)["rows_returned"] == 1


def test_a_scheduled_window_moves_last_run_at(world: World) -> None:
    result = world.run(config_id=1, schedule_id=1)
    row = world.execution(result.run_id)
    assert row["execution_context"]["time_range"]["calculation_method"] == "cron_detection"
    end = row["execution_context"]["time_range"]["end"]
    last = world.go.row("SELECT last_run_at FROM report_schedules")["last_run_at"]
    assert f"{str(last)[:19].replace(' ', 'T')}+00:00" == end
    later = datetime.fromisoformat(end) + timedelta(seconds=1)
    wait_until(lambda: datetime.now(UTC) >= later, "a moment after the first window", 5)
    second = world.execution(world.run(config_id=1, schedule_id=1).run_id)["execution_context"]["time_range"]
    assert (second["calculation_method"], second["start"]) == ("last_run_at", end)


def test_a_failed_run_leaves_last_run_at(world: World) -> None:
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT nothing FROM nowhere'")
    world.run(config_id=1, schedule_id=1)
    assert world.go.row("SELECT last_run_at FROM report_schedules") == {"last_run_at": None}


def test_a_queued_row_is_executed(world: World) -> None:
    execution_id = str(uuid4())
    world.go.insert(
        "report_executions", id=execution_id, config_id=1, status="queued", executed_by="front end"
    )
    result = world.run(execution_id=execution_id)
    assert result.success
    row = world.execution(execution_id)
    assert (row["status"], row["executed_by"]) == ("completed", "front end")
    assert row["execution_context"]["dagster_run_id"] == result.run_id


def test_asking_twice_is_asking_once(world: World) -> None:
    execution_id = str(uuid4())
    first = world.run(execution_id=execution_id, config_id=1)
    second = world.run(execution_id=execution_id, config_id=1)
    assert first.success
    assert second.success
    assert world.execution(execution_id)["execution_context"]["dagster_run_id"] == first.run_id
    assert len(world.mail.mails) == 2


def test_a_cut_result_is_told(world: World) -> None:
    world.go.execute("UPDATE report_configs SET max_rows = 2")
    result = world.run(config_id=1)
    row = world.execution(result.run_id)
    assert (row["rows_returned"], row["execution_context"]["truncated"]) == (2, True)
    assert metadata_of(result, "run_query")["truncated"].value is True


def test_what_is_tolerated_is_a_warning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_parameters(world, display_columns=["trx_id", "nonsense"])
    row = world.execution(world.run(config_id=1).run_id)
    assert row["status"] == "completed"
    assert any("nonsense" in warning for warning in row["execution_context"]["warnings"])
    monkeypatch.setenv("REPORTHUB_STRICT", "true")
    strict = world.execution(world.run(config_id=1).run_id)
    assert strict["status"] == "failed"
    assert "nonsense" in strict["error_message"]


def test_a_report_without_rows_goes_out_with_its_header(world: World) -> None:
    set_parameters(
        world, filters=[{"field": "t.merchant_id", "operator": "=", "type": "string", "value": "?"}]
    )
    result = world.run(config_id=1)
    assert world.execution(result.run_id)["rows_returned"] == 0
    assert [path.read_bytes() for path in world.share.iterdir()] == [b"trx_id,amount,status\r\n"]


@pytest.mark.parametrize("output_format", ["csv", "xlsx", "json", "pdf"])
def test_every_format_is_delivered(world: World, output_format: str) -> None:
    world.go.execute("UPDATE report_configs SET output_format = :format", format=output_format)
    assert world.run(config_id=1).success
    (file,) = world.share.iterdir()
    assert file.suffix == f".{output_format}"
    assert file.stat().st_size > 0


def set_parameters(world: World, **changed: Any) -> None:
    import json  # noqa: PLC0415

    world.go.execute(
        "UPDATE report_configs SET parameters = :parameters", parameters=json.dumps({**PARAMETERS, **changed})
    )


BAD_ROWS = {
    "inactive report": ("UPDATE report_configs SET is_active = FALSE", "report_configs 1, column is_active"),
    "inactive source": (
        "UPDATE report_datasources SET is_active = FALSE",
        "report_datasources 1, column is_",
    ),
    "inactive schedule": ("UPDATE report_schedules SET is_active = FALSE", "report_schedules 1, column is_"),
    "bad cron": (
        "UPDATE report_schedules SET cron_expression = '61 * * * *'",
        "report_schedules 1, column cron",
    ),
    "bad zone": ("UPDATE report_schedules SET timezone = 'Mars/Base'", "report_schedules 1, column timezone"),
    "unknown format": (
        "UPDATE report_configs SET output_format = 'docx'",
        "column output_format.*'docx'.*csv",
    ),
    "not a select": (
        "UPDATE report_configs SET report_query = 'DELETE FROM trx'",
        "report_configs 1.*report_query",
    ),
    "two statements": ("UPDATE report_configs SET report_query = 'SELECT 1; SELECT 2'", "report_query"),
    "sql error": (
        "UPDATE report_configs SET report_query = 'SELECT nothing FROM trx t'",
        "report_query.*nothing",
    ),
    "missing variable": (
        "UPDATE report_configs SET report_query = 'SELECT {{nothing}} FROM trx t'",
        "report_configs 1, column report_query.*nothing",
    ),
    "unknown host": (
        "UPDATE report_datasources SET db_type = 'mysql', connection_url = 'mysql://u:canary-7731@no.invalid/d'",
        "report_datasources 1",
    ),
    "url of another kind": (
        "UPDATE report_datasources SET connection_url = 'oracle://u:canary-7731@h/d'",
        "report_datasources 1, column connection_url",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_input_ends_failed_with_its_place(world: World, case: str) -> None:
    statement, expected = BAD_ROWS[case]
    world.go.execute(statement)
    result = world.run(config_id=1, schedule_id=1)
    assert not result.success
    row = world.execution(result.run_id)
    assert row["status"] == "failed"
    assert row["completed_at"] is not None
    assert_matches(expected, row["error_message"])
    assert "canary-7731" not in row["error_message"]
    assert world.files() == []
    assert world.mail.mails == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"filters": [{"field": "t.x", "operator": "~", "type": "string", "value": "1"}]}, r"operator.*'~'"),
        ({"filters": [{"field": "t.x; DROP", "operator": "=", "type": "string", "value": "1"}]}, "field"),
        ({"filters": "all of them"}, r"parameters\.filters"),
        ({"date_field": "x.created_at"}, "date_field"),
    ],
    ids=["operator", "field", "no list", "date field of no source"],
)
def test_bad_parameters_name_the_place(world: World, changed: dict[str, Any], expected: str) -> None:
    set_parameters(world, **changed)
    row = world.execution(world.run(config_id=1).run_id)
    assert row["status"] == "failed"
    assert row["error_message"].startswith("report_configs 1")
    assert_matches(expected, row["error_message"])


def test_a_schedule_of_another_report_is_refused(world: World) -> None:
    world.go.insert("report_configs", id=2, report_name="Other", report_query="SELECT 1", datasource_id=1)
    row = world.execution(world.run(config_id=2, schedule_id=1).run_id)
    assert row["status"] == "failed"
    assert_matches("report_schedules 1, column config_id", row["error_message"])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "config_id"),
        ({"config_id": 99}, "report_configs 99, column id: there is no such row"),
        ({"config_id": 1, "schedule_id": 99}, "report_schedules 99, column id"),
        ({"execution_id": "no-such"}, "execution_id of a row"),
        ({"execution_id": "../../etc"}, "not an execution id"),
        ({"config_id": -1}, "report_configs -1, column id: there is no such row"),
    ],
    ids=["nothing", "unknown report", "unknown schedule", "unknown execution", "no id", "negative"],
)
def test_a_launch_that_names_nothing_fails_in_the_first_op(
    world: World, config: dict[str, Any], expected: str
) -> None:
    result = world.run(**config)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert failure.step_key == "compute_time_range"
    assert_matches(expected, str(failure.step_failure_data.user_failure_data))
    assert world.go.rows("SELECT id FROM report_executions") == []


def test_an_output_folder_that_cannot_be_written_is_told(world: World) -> None:
    (world.home / "output").write_text("a file where the folder should be")
    row = world.execution(world.run(config_id=1).run_id)
    assert row["status"] == "failed"
    assert_matches("^REPORT_OUTPUT_PATH: the output folder cannot be written", row["error_message"])


def assert_matches(pattern: str, text: str) -> None:
    import re  # noqa: PLC0415

    assert re.search(pattern, text, re.DOTALL), text


def test_a_refused_recipient_stops_nobody_else(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    result = world.run(config_id=1)
    assert not result.success
    row = world.execution(result.run_id)
    assert row["status"] == "failed"
    assert_matches("email delivery 1.*ana@finance.test.*550", row["error_message"])
    assert [mail.recipient for mail in world.mail.mails] == ["budi@finance.test"]
    assert (world.share / NAME).exists()


def test_a_row_that_wants_no_retry_gets_none(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET max_retry = 0")
    world.mail.script("ana@finance.test", "RCPT", "450 4.2.0 later")
    assert not world.run(config_id=1).success
    assert len(world.go.rows("SELECT id FROM report_delivery_logs WHERE delivery_id = 1")) == 1


def test_a_broken_delivery_stops_no_other(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET method = 's3' WHERE id = 1")
    result = world.run(config_id=1)
    row = world.execution(result.run_id)
    assert row["status"] == "failed"
    assert_matches("report_deliveries 1, column delivery_config.bucket", row["error_message"])
    assert (world.share / NAME).exists()
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs WHERE delivery_id = 1")
    assert log["status"] == "failed"


def test_a_re_execution_reaches_only_who_did_not_get_it(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    first = world.run(config_id=1)
    world.drop_source()
    second = re_execute(world, first.run_id, world.instance)
    assert second.success
    assert sorted(mail.recipient for mail in world.mail.mails) == ["ana@finance.test", "budi@finance.test"]
    row = world.execution(first.run_id)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert row["execution_context"]["dagster_run_id"] == second.run_id


def test_a_query_that_a_person_corrected_is_read_again(world: World) -> None:
    world.go.execute("UPDATE report_configs SET output_format = 'docx'")
    first = world.run(config_id=1)
    world.go.execute(
        "UPDATE report_configs SET output_format = 'csv', parameters = NULL, "
        "report_query = 'SELECT trx_id FROM trx t WHERE trx_id = 5'"
    )
    assert re_execute(world, first.run_id, world.instance).success
    row = world.execution(first.run_id)
    assert (row["status"], row["rows_returned"]) == ("completed", 1)
    assert "trx_id = 5" in row["execution_context"]["original_query"]


def re_execute(world: World, run_id: str, instance: dg.DagsterInstance) -> Any:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return world.execute(dict(run.run_config), reexecution_options=dg.ReexecutionOptions(run_id))


def test_a_retry_from_failure_is_the_failed_delivery_alone(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    first = world.run(config_id=1)
    (world.share / NAME).unlink()
    assert world.retry_from_failure(first.run_id).success
    assert sorted(mail.recipient for mail in world.mail.mails) == ["ana@finance.test", "budi@finance.test"]
    assert world.execution(first.run_id)["status"] == "completed"
    assert not (world.share / NAME).exists(), "what had been delivered is not delivered again"


def test_warnings_of_a_delivery_are_kept_and_refused_when_strict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.go.execute(
        "UPDATE report_deliveries SET delivery_config = :config WHERE id = 1",
        config='{"subject": "{{nobody}}", "from_email": "hub@x.test", "colour": "red"}',
    )
    row = world.execution(world.run(config_id=1).run_id)
    warnings = row["execution_context"]["warnings"]
    assert row["status"] == "completed"
    assert any("report_deliveries 1" in text and "colour" in text for text in warnings)
    assert any("report_deliveries 1" in text and "{{nobody}}" in text for text in warnings)
    sent = len(world.mail.mails)
    monkeypatch.setenv("REPORTHUB_STRICT", "true")
    strict = world.execution(world.run(config_id=1).run_id)
    assert strict["status"] == "failed"
    assert "colour" in strict["error_message"]
    assert len(world.mail.mails) == sent


def test_a_launch_for_nobody_is_refused(world: World) -> None:
    row = world.execution(world.run(config_id=1, deliver=" , ").run_id)
    assert (row["status"], "deliver" in row["error_message"]) == ("failed", True)


def test_a_parameter_may_be_null(world: World) -> None:
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT {{x}} AS x', parameters = NULL")
    assert world.run(config_id=1, parameters={"x": None}).success


def test_who_asked_may_have_a_long_name(world: World) -> None:
    assert world.run(config_id=1, executed_by="a" * 300).success


def test_rendering_options_of_the_wrong_shape_are_named(world: World) -> None:
    set_parameters(world, format="red")
    row = world.execution(world.run(config_id=1).run_id)
    assert row["error_message"].startswith("report_configs 1, column parameters.format: not an object")
    set_parameters(world, format={"bom": "perhaps"})
    row = world.execution(world.run(config_id=1).run_id)
    assert row["error_message"].startswith("report_configs 1, column parameters.format.bom")
