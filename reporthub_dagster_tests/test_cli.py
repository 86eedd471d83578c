from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reporthub_dagster.cli import main
from reporthub_dagster_tests.installation import YESTERDAY, ZONE, World
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import free_port, wait_until


@pytest.fixture(autouse=True)
def _own_instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands choose `DAGSTER_HOME` themselves; what they set is undone."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def reporthub(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def document(result: Result) -> dict[str, Any]:
    """Standard output, which must be one JSON document and nothing else."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def on_sqlite(test: Any) -> Any:
    return pytest.mark.parametrize("world", ["sqlite"], indirect=True)(test)


def on_mariadb(test: Any) -> Any:
    return pytest.mark.parametrize("world", ["mariadb"], indirect=True)(test)


def test_init_creates_what_is_absent_and_says_so(tmp_path: Path) -> None:
    first = reporthub("init")
    second = reporthub("init")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "report_configs" in first.stdout
    assert "tables: all there" in second.stdout
    assert (tmp_path / "reporthub.db").exists()
    assert "telemetry" in (tmp_path / "dagster" / "dagster.yaml").read_text()


def test_init_leaves_an_instance_file_alone(tmp_path: Path) -> None:
    reporthub("init")
    file = tmp_path / "dagster" / "dagster.yaml"
    file.write_text("# mine\n")
    reporthub("init")
    assert file.read_text() == "# mine\n"


@on_sqlite
def test_run_delivers_and_prints_one_document(world: World) -> None:
    reporthub("init")
    result = reporthub("run", "1", "--json", "--executed-by", "ana")
    assert result.exit_code == 0, result.output
    found = document(result)
    assert (found["status"], found["rows_returned"], found["truncated"]) == ("completed", 3, False)
    assert found["executed_by"] == "ana"
    assert found["execution_id"] == found["run_id"]
    assert found["window"]["timezone"] == ZONE
    (file,) = found["files"]
    assert Path(file["path"]).stat().st_size == file["size"]
    assert sorted((receipt["recipient"], receipt["state"]) for receipt in found["receipts"])[1:] == [
        ("ana@finance.test", "sent"),
        ("budi@finance.test", "sent"),
    ]
    assert "3 rows from sales" in result.stderr


@on_sqlite
def test_run_takes_everything_that_a_launch_takes(world: World) -> None:
    reporthub("init")
    result = reporthub(
        *("run", "1", "--schedule-id", "1", "--start", f"{YESTERDAY:%Y-%m-%d}"),
        *(
            "--end",
            f"{YESTERDAY:%Y-%m-%d} 12:00:01",
            "--param",
            "merchant_id=M-1",
            "--deliver",
            "none",
            "--json",
        ),
    )
    found = document(result)
    assert (result.exit_code, found["schedule_id"], found["rows_returned"]) == (0, 1, 2)
    assert found["window"]["calculation_method"] == "explicit"
    assert Path(found["files"][0]["path"]).name == f"Sales_M-1_{YESTERDAY:%Y-%m-%d}.csv"
    assert found["receipts"] == []


@on_sqlite
def test_run_exits_1_when_a_delivery_failed(world: World) -> None:
    reporthub("init")
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    result = reporthub("run", "1", "--json")
    assert result.exit_code == 1
    assert "550" in document(result)["error"]


@on_sqlite
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE report_configs SET is_active = 0", "report_configs 1, column is_active"),
        ("UPDATE report_configs SET report_query = 'SELECT * FROM nowhere t'", "report_query"),
        ("UPDATE report_configs SET output_format = 'docx'", "output_format"),
    ],
    ids=["inactive", "sql error", "format"],
)
def test_run_exits_2_when_a_person_must_fix_a_row(world: World, statement: str, words: str) -> None:
    reporthub("init")
    world.go.execute(statement)
    result = reporthub("run", "1", "--json")
    assert result.exit_code == 2
    assert words in document(result)["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "99", "--json"), "report_configs 99, column id: there is no such row"),
        (("run", "1", "--param", "x", "--json"), "--param: not KEY=VALUE"),
        (("preview", "99", "--json"), "report_configs 99"),
    ],
    ids=["unknown report", "bad parameter", "preview"],
)
@on_sqlite
def test_errors_are_one_line_and_a_document(world: World, arguments: tuple[str, ...], words: str) -> None:
    reporthub("init")
    result = reporthub(*arguments)
    assert result.exit_code == 2
    assert words in document(result)["error"]
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


@on_sqlite
def test_without_an_instance_run_says_how_to_get_one(world: World) -> None:
    result = reporthub("run", "1")
    assert (result.exit_code, "reporthub init" in result.stderr) == (2, True)


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PORT", "many")
    result = reporthub("executions")
    assert result.exit_code == 2
    assert "SMTP_PORT" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_settings_are_read_from_a_dotenv_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DB_TIMEZONE=Mars/Base\n")
    try:
        result = reporthub("executions")
    finally:
        os.environ.pop("DB_TIMEZONE", None)
    assert "DB_TIMEZONE" in result.stderr


@on_sqlite
def test_preview_shows_sql_window_columns_and_rows_and_nothing_else(world: World) -> None:
    result = reporthub("preview", "1", "--limit", "2", "--json")
    found = document(result)
    assert result.exit_code == 0
    assert "M-77" not in found["sql"]
    assert "M-77" in found["parameters"].values()
    assert [column["name"] for column in found["columns"]][:2] == ["trx_id", "merchant_id"]
    assert (len(found["rows"]), found["more_rows"]) == (2, True)
    assert found["window"]["calculation_method"] == "default_daily"
    assert world.go.rows("SELECT id FROM report_executions") == []
    assert world.files() == []
    text = reporthub("preview", "1").stdout
    assert "SELECT" in text
    assert "trx_id" in text


@on_sqlite
def test_a_dry_preview_shows_the_sql_and_asks_for_no_rows(world: World) -> None:
    found = document(reporthub("preview", "1", "--dry-run", "--json"))
    (query,) = found["queries"]
    assert "M-77" in query["parameters"].values()
    assert query["bytes"] is None
    text = reporthub("preview", "1", "--dry-run").stdout
    assert text.rstrip().endswith("its source does not say what it reads")
    assert "trx_id  " not in text


@on_sqlite
def test_executions_lists_the_latest(world: World) -> None:
    reporthub("init")
    reporthub("run", "1", "--deliver", "none")
    found = document(reporthub("executions", "--status", "completed", "--json"))["executions"]
    assert [(execution["config_id"], execution["rows_returned"]) for execution in found] == [(1, 3)]
    assert document(reporthub("executions", "--config-id", "2", "--json")) == {"executions": []}
    assert "completed" in reporthub("executions").stdout


def test_executions_of_an_empty_hub_is_a_header() -> None:
    reporthub("init")
    assert reporthub("executions").stdout.split()[0] == "execution"


@on_sqlite
def test_check_finds_nothing_where_all_is_well(world: World) -> None:
    result = reporthub("check")
    assert (result.exit_code, result.stdout) == (0, "")


@on_sqlite
def test_check_names_every_faulty_row_in_a_line(world: World) -> None:
    go = world.go
    go.execute("UPDATE report_schedules SET cron_expression = 'every day'")
    go.insert(
        "report_datasources", id=2, name="gone", connection_url="sqlite:///no/such.db", db_type="sqlite"
    )
    go.insert("report_configs", id=2, report_name="b", report_query="SELECT {{nothing}}", datasource_id=1)
    go.insert("report_configs", id=3, report_name="c", report_query="SELECT 1", datasource_id=99)
    go.insert("report_configs", id=4, report_name="off", report_query="DROP", datasource_id=1, is_active=0)
    go.insert(
        "report_deliveries", id=3, config_id=1, delivery_name="d", method="file_share", delivery_config={}
    )
    go.insert("report_delivery_recipients", id=9, delivery_id=1, recipient_value="not an address")
    result = reporthub("check", "--json")
    assert result.exit_code == 1
    texts = [finding["text"] for finding in document(result)["findings"]]
    for words in (
        "report_datasources 2",
        "report_configs 2, column report_query",
        "datasource",
        "report_schedules 1, column cron_expression",
        "report_deliveries 3",
        "report_delivery_recipients 9",
    ):
        assert any(words in text for text in texts), (words, texts)
    assert not any("report_configs 4" in text for text in texts)
    assert len(reporthub("check").stdout.splitlines()) == len(texts)


@on_sqlite
def test_check_names_a_fault_once_that_several_rows_meet(world: World) -> None:
    needs_key = {"auth": {"type": "api_key", "value": {"env": "NO_SUCH_KEY"}}}
    world.go.insert(
        "report_datasources",
        id=3,
        name="planes",
        connection_url="http://127.0.0.1:1/planes",
        db_type="http_api",
        connection_config=needs_key,
    )
    world.go.insert(
        "report_configs",
        id=5,
        report_name="Seats",
        report_query="SELECT * FROM planes",
        datasource_id=1,
        parameters={"sources": {"planes": 3}},
    )
    (fault,) = document(reporthub("check", "--json"))["findings"]
    assert fault["text"].startswith("report_datasources 3, column connection_config.auth.value")


@on_mariadb
def test_ctrl_c_cancels_the_run_and_its_query(world: World, mariadb_server: MariaDBServer) -> None:
    reporthub("init")
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT SLEEP(60) AS t', parameters = NULL")
    command = [sys.executable, "-m", "reporthub_dagster.cli", "run", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: sleeping(mariadb_server), "the query on the server", 30)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    (execution,) = world.go.rows("SELECT * FROM report_executions")
    assert execution["status"] == "cancelled", stderr.decode()
    assert execution["completed_at"] is not None
    assert not sleeping(mariadb_server)
    assert process.returncode == 1
    assert json.loads(stdout)["status"] == "cancelled"


@on_sqlite
def test_ctrl_c_between_two_tries_cancels_the_run(world: World) -> None:
    reporthub("init")
    world.go.execute(
        "UPDATE report_datasources SET db_type = 'mysql', connection_url = :url",
        url=f"mysql://u:p@127.0.0.1:{free_port()}/d",
    )
    command = [sys.executable, "-m", "reporthub_dagster.cli", "run", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Trying again"):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert [row["status"] for row in world.go.rows("SELECT status FROM report_executions")] == ["cancelled"]


@on_sqlite
def test_a_folder_that_does_not_exist_is_a_persons_to_fix(world: World) -> None:
    reporthub("init")
    world.share.rmdir()
    result = reporthub("run", "1", "--json")
    assert result.exit_code == 2
    assert "report_deliveries 2, column delivery_config.path" in document(result)["error"]


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("REPORTHUB_HOME", "/proc/nope", "check"),
        ("REPORTHUB_HOME", "/proc/nope", "init"),
        ("REPORT_OUTPUT_PATH", "/proc/version", "init"),
        ("REPORTHUB_DATABASE_URL", "mysql://u:p@h:abc/db", "executions"),
    ],
)
def test_settings_that_lead_nowhere_are_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, command: str
) -> None:
    monkeypatch.setenv(name, value)
    result = reporthub(command)
    assert result.exit_code == 2
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1


def executions_to(stdout: int, *options: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """`reporthub executions` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "reporthub_dagster.cli", "executions", *options],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_nothing_is_said_to_who_has_stopped_reading(options: tuple[str, ...]) -> None:
    reporthub("init")
    reader, writer = os.pipe()
    os.close(reader)
    done = executions_to(writer, *options)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_output_that_cannot_be_written_is_one_line(options: tuple[str, ...]) -> None:
    reporthub("init")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = executions_to(full.fileno(), *options)
    assert done.returncode == 1
    assert done.stderr == "reporthub: what was to be written could not be: No space left on device\n"


@on_sqlite
def test_letters_that_the_terminal_lacks_are_escaped(world: World) -> None:
    error = "é Ž 😀"
    world.go.insert("report_executions", id="e", config_id=1, executed_by="Ž", error_message=error)
    shown = {}
    for options in ((), ("--json",)):
        with Path("shown").open("wb+") as file:
            done = executions_to(file.fileno(), *options, encoding="latin-1")
            file.seek(0)
            shown[options] = file.read().decode("latin-1")
        assert (done.returncode, done.stderr) == (0, "")
    assert "é \\u017d" in shown[()]
    assert json.loads(shown["--json",])["executions"][0]["error"] == error


@on_sqlite
def test_an_instance_that_cannot_be_used_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/no/such/folder")
    result = reporthub("run", "1", "--json")
    assert result.exit_code == 2
    assert "DAGSTER_HOME" in document(result)["error"]


@on_sqlite
def test_preview_prints_json_whatever_the_values_are(world: World) -> None:
    world.go.execute(
        "UPDATE report_configs SET parameters = NULL, "
        "report_query = 'SELECT 9e999 AS inf, x''00ff'' AS bytes'"
    )
    result = reporthub("preview", "1", "--json")
    assert json.loads(result.stdout, parse_constant=pytest.fail)["rows"] == [["inf", "00ff"]]


def sleeping(server: MariaDBServer) -> bool:
    return any("SLEEP" in statement for statement in server.statements())


@on_sqlite
def test_schedules_shows_the_fates_and_the_next_slots_in_both_zones(world: World) -> None:
    world.go.execute("UPDATE report_schedules SET timezone = 'Asia/Jakarta'")
    world.go.insert("report_schedules", id=2, config_id=1, cron_expression="61 * * * *", timezone="UTC")
    for slot, state, reason in (("01", "coalesced", "into the slot of x"), ("02", "launched", None)):
        world.go.insert(
            "reporthub_slots",
            schedule_id=1,
            slot=f"2025-01-{slot} 18:00:00",
            state=state,
            reason=reason,
            decided_at="2025-01-03 00:00:00",
        )
    result = reporthub("schedules", "--next", "2", "--json")
    assert result.exit_code == 0, result.output
    good, broken = document(result)["schedules"]
    assert [(fate["local"], fate["state"]) for fate in good["last"]] == [
        ("2025-01-03T01:00:00+07:00", "launched"),
        ("2025-01-02T01:00:00+07:00", "coalesced"),
    ]
    assert [slot["local"][10:] for slot in good["next"]] == ["T01:00:00+07:00"] * 2
    assert [slot["utc"][10:] for slot in good["next"]] == ["T18:00:00+00:00"] * 2
    assert (good["error"], good["policy"]["catch_up"]) == (None, "latest")
    assert "minute takes 0-59" in broken["error"]
    assert broken["next"] == []
    lines = reporthub("schedules").stdout.splitlines()
    assert lines[0] == "schedule 1: Sales, 0 1 * * * Asia/Jakarta"
    assert "  coalesced  Thu 2025-01-02 01:00 (2025-01-01 18:00 UTC)  into the slot of x" in lines
    assert any(line.startswith("  error      report_schedules 2, column cron_expression") for line in lines)


@on_sqlite
def test_check_finds_a_broken_policy(world: World) -> None:
    world.go.execute("""UPDATE report_configs SET parameters = '{"schedule": {"overlap": "wait"}}'""")
    result = reporthub("check", "--json")
    assert result.exit_code == 1
    texts = [finding["text"] for finding in document(result)["findings"]]
    (text,) = [text for text in texts if "schedule.overlap" in text]
    assert text.startswith("report_configs 1, column parameters.schedule.overlap: not valid (value 'wait')")


@on_sqlite
def test_redeliver_reaches_who_has_not_got_it(world: World) -> None:
    reporthub("init")
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    execution_id = document(reporthub("run", "1", "--json"))["execution_id"]
    result = reporthub("redeliver", execution_id, "--recipient", "ana@finance.test", "--json")
    assert result.exit_code == 0, result.output
    found = document(result)
    assert (found["execution_id"], found["status"]) == (execution_id, "completed")
    assert {receipt["state"] for receipt in found["receipts"]} == {"sent"}
    again = reporthub("redeliver", execution_id, "--recipient", "ana@finance.test")
    assert (again.exit_code, "has got it already" in again.stderr) == (1, True)
    assert [mail.recipient for mail in world.mail.mails] == ["budi@finance.test", "ana@finance.test"]


@on_sqlite
def test_redeliver_of_what_never_was_is_told(world: World) -> None:
    reporthub("init")
    result = reporthub("redeliver", "no-such")
    assert (result.exit_code, "there is no such execution" in result.stderr) == (2, True)


@on_sqlite
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"send_if": "sometimes"}, "parameters.send_if: not a condition"),
        ({"send_if": {"sql": "DROP TABLE trx"}}, "parameters.send_if.sql"),
        ({"notify": ["ana at finance"]}, "parameters.notify: not e-mail addresses"),
    ],
    ids=["condition", "query", "notify"],
)
def test_check_finds_what_would_stop_a_report(world: World, parameters: Any, words: str) -> None:
    world.go.execute("UPDATE report_configs SET parameters = :parameters", parameters=json.dumps(parameters))
    result = reporthub("check", "--json")
    (text,) = [finding["text"] for finding in document(result)["findings"]]
    assert text.startswith("report_configs 1, column")
    assert words in text


@on_sqlite
def test_a_data_source_that_is_not_there_is_told_of_the_report_that_names_it(world: World) -> None:
    sources = json.dumps({"sources": {"o": {"datasource": 77, "query": "SELECT 1 AS x"}}})
    world.go.execute("UPDATE report_configs SET parameters = :sources", sources=sources)
    result = reporthub("check", "--json")
    (text,) = [finding["text"] for finding in document(result)["findings"]]
    place = "report_configs 1, column parameters.sources.o"
    assert text == f"{place}: there is no such row of report_datasources (value 77); give the id of one"


@on_sqlite
def test_preview_shows_the_rows_before_and_after_the_script(world: World) -> None:
    script = "print('seen', len(data))\nresult = data.groupby('status').size().rename('orders')"
    world.go.execute("UPDATE report_configs SET parameters = :p", p=json.dumps({"script": script}))
    result = reporthub("preview", "1", "--limit", "2", "--json")
    found = json.loads(result.stdout)
    assert (len(found["rows"]), found["more_rows"]) == (2, True)
    (after,) = found["after_script"]
    assert [column["name"] for column in after["columns"]] == ["status", "orders"]
    assert (len(after["rows"]), after["more_rows"]) == (2, True), "of all rows, not of those that are shown"
    assert "seen 7" in result.stderr
    text = reporthub("preview", "1").stdout
    assert text.index("merchant_id") < text.index("after the script") < text.index("orders")


@on_sqlite
def test_check_reads_a_script_and_does_not_run_it(world: World) -> None:
    parameters = json.dumps({"script": "print('ran')\nresult = data["})
    world.go.execute("UPDATE report_configs SET parameters = :p", p=parameters)
    result = reporthub("check", "--json")
    (finding,) = document(result)["findings"]
    assert finding["text"].startswith("report_configs 1, column parameters.script: line 2: SyntaxError")
    assert "ran" not in result.stdout + result.stderr
