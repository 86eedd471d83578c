"""Backfills: dates of the asset `report_file`, and slots of a schedule through `backfill_report`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from reporthub_dagster.cli import main
from reporthub_dagster.definitions import wiring
from reporthub_dagster.partition_sensor import report_partitions_sensor
from reporthub_dagster.partitions import report_keys
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import EXECUTION_TAG, run_config_of
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster_tests.installation import TODAY, YESTERDAY, ZONE, World

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RECONSTRUCTABLE = ReconstructableRepository.for_module(
    "reporthub_dagster.definitions", "defs"
).get_reconstructable_job("__ASSET_JOB")
BACKFILL = {"dagster/backfill": "abcdefgh"}
on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


def tick(world: World, sensor: dg.SensorDefinition) -> Any:
    """One tick of a sensor, with its partition requests carried out as the daemon does."""
    with dg.build_sensor_context(
        instance=world.instance, definitions=wiring(), resources={"hub": HubDatabase()}
    ) as context:
        data = sensor.evaluate_tick(context)
    for request in data.dynamic_partitions_requests or ():
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            world.instance.add_dynamic_partitions(str(report_keys.name), list(request.partition_keys))
        else:
            for key in request.partition_keys:
                world.instance.delete_dynamic_partition(str(report_keys.name), key)
    return data


def keys(world: World) -> list[str]:
    return sorted(world.instance.get_dynamic_partitions(str(report_keys.name)))


def materialize(world: World, report: str, day: datetime, tags: Any = BACKFILL, **config: Any) -> Any:
    """A run of one partition, as a backfill of Dagster launches it."""
    said = {"ops": {"report_file": {"ops": {"compute_partition_window": {"config": config}}}}}
    job = wiring().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        run_config={**said, **QUIET},
        partition_key=dg.MultiPartitionKey({"config": report, "date": f"{day:%Y-%m-%d}"}),
        instance=world.instance,
        tags=tags,
        raise_on_error=False,
    )


def executions(world: World) -> list[dict[str, Any]]:
    return world.go.rows("SELECT * FROM report_executions ORDER BY id")


def test_the_partitions_are_the_active_reports_and_keep_their_keys(world: World) -> None:
    go = world.go
    copied = "report_query, output_format, datasource_id, max_rows, timeout_seconds, version, is_active"
    copy = f"INSERT INTO report_configs (id, report_name, {copied}) SELECT :id, :name, {copied}"
    go.execute(f"{copy} FROM report_configs WHERE id = 1", id=12, name="Täglich: Umsatz | EU")
    go.execute(f"{copy} FROM report_configs WHERE id = 1", id=13, name="|||")
    assert tick(world, report_partitions_sensor).skip_message == "3 active reports; 3 keys added, 0 deleted"
    assert keys(world) == ["1-sales", "12-täglich-umsatz-eu", "13"]
    go.execute("UPDATE report_configs SET report_name = 'Turnover' WHERE id = 1")
    go.execute("UPDATE report_configs SET is_active = :no WHERE id = 13", no=False)
    tick(world, report_partitions_sensor)
    assert keys(world) == ["1-sales", "12-täglich-umsatz-eu"]


def test_a_date_is_that_day_of_the_report_and_nothing_is_delivered(world: World) -> None:
    tick(world, report_partitions_sensor)
    before = world.go.row("SELECT last_run_at, next_run_at FROM report_schedules")
    result = materialize(world, "1-sales", YESTERDAY)
    assert result.success
    (row,) = executions(world)
    window = row["execution_context"]["time_range"]
    assert (row["status"], row["executed_by"], row["schedule_id"]) == ("completed", "backfill", None)
    assert window["start_datetime"] == f"{YESTERDAY:%Y-%m-%d %H:%M:%S}"
    assert window["end_datetime"] == f"{TODAY:%Y-%m-%d %H:%M:%S}"
    assert window["timezone"] == ZONE
    # The rows of that day, the file's name of that day.
    assert row["rows_returned"] == 3
    assert f"{YESTERDAY:%Y-%m-%d}" in world.files()[0].name
    assert world.mail.mails == []
    assert list(world.share.iterdir()) == []
    assert world.go.row("SELECT last_run_at, next_run_at FROM report_schedules") == before
    made = {event.asset_key.path[-1]: event for event in result.get_asset_materialization_events()}
    partitions = {key: event.partition for key, event in made.items()}
    day = f"{YESTERDAY:%Y-%m-%d}"
    assert partitions == {"report_file": f"1-sales|{day}", "1-sales": day}
    shown = [event.materialization.metadata for event in made.values()]
    assert shown[0].items() >= shown[1].items() or shown[1].items() >= shown[0].items()
    assert shown[0]["dagster/row_count"].value == 3


@on_sqlite
def test_the_day_is_the_one_of_the_schedules_zone(world: World) -> None:
    world.go.execute("UPDATE report_schedules SET timezone = 'Asia/Jakarta'")
    tick(world, report_partitions_sensor)
    materialize(world, "1-sales", YESTERDAY)
    window = executions(world)[0]["execution_context"]["time_range"]
    before = YESTERDAY - timedelta(days=1)
    assert window["start"] == f"{before:%Y-%m-%d}T17:00:00+00:00"
    assert window["end"] == window["as_of"] == f"{YESTERDAY:%Y-%m-%d}T17:00:00+00:00"


@on_sqlite
def test_a_backfill_delivers_to_whom_it_is_told_to(world: World) -> None:
    tick(world, report_partitions_sensor)
    config = {"deliver": "me", "executed_by": "ana@finance.test"}
    assert materialize(world, "1-sales", YESTERDAY, **config).success
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]


@on_sqlite
def test_a_partition_tried_again_is_the_same_execution_and_another_backfill_is_not(world: World) -> None:
    tick(world, report_partitions_sensor)
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT nothing FROM trx t'")
    assert not materialize(world, "1-sales", YESTERDAY).success
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT t.trx_id FROM trx t'")
    (failed,) = world.instance.get_runs(limit=1)
    # The UI's retry from failure keeps the partition and drops what tells the backfill.
    partition = {name: value for name, value in failed.tags.items() if name.startswith("dagster/partition")}
    retry = dg.ReexecutionOptions.from_failure(failed.run_id, world.instance)
    with dg.execute_job(
        RECONSTRUCTABLE, world.instance, QUIET, reexecution_options=retry, tags=partition
    ) as result:
        assert result.success
    assert [row["status"] for row in executions(world)] == ["completed"]
    assert materialize(world, "1-sales", YESTERDAY, tags={"dagster/backfill": "another1"}).success
    assert [row["status"] for row in executions(world)] == ["completed", "completed"]


@on_sqlite
def test_an_unknown_or_inactive_report_fails_before_its_query(world: World) -> None:
    world.instance.add_dynamic_partitions(str(report_keys.name), ["99-gone", "1-sales", "sales"])
    world.drop_source()
    world.go.execute("UPDATE report_configs SET is_active = 0")
    expected = {
        "99-gone": "report_configs 99, column id: there is no such row",
        "1-sales": "report_configs 1, column is_active: the row is not active",
        "sales": "not the key of a report",
    }
    for key, words in expected.items():
        result = materialize(world, key, YESTERDAY)
        (failure,) = result.get_step_failure_events()
        assert words in failure.step_failure_data.user_failure_data.description
        assert failure.step_key.endswith("compute_partition_window")


def slots_job(world: World, **config: Any) -> Any:
    job = wiring().resolve_job_def("backfill_report")
    return job.execute_in_process(
        run_config={"ops": {"queue_windows": {"config": {"config_id": 1, **config}}}, **QUIET},
        instance=world.instance,
        raise_on_error=False,
    )


def test_the_job_queues_one_execution_for_each_slot_and_the_sensor_runs_them(world: World) -> None:
    start, end = YESTERDAY - timedelta(days=2), TODAY
    result = slots_job(world, start=f"{start:%Y-%m-%d}", end=f"{end:%Y-%m-%d}", executed_by="ana")
    assert result.success
    rows = sorted(executions(world), key=lambda row: str(row["execution_context"]["time_range"]["start"]))
    windows = [row["execution_context"]["time_range"] for row in rows]
    assert [window["end_datetime"][:13] for window in windows] == [
        f"{start + timedelta(days=day):%Y-%m-%d} 01" for day in range(3)
    ]
    assert [window["end"] for window in windows[:-1]] == [window["start"] for window in windows[1:]]
    assert {(row["status"], row["executed_by"], row["schedule_id"]) for row in rows} == {
        ("queued", "ana", None)
    }
    world.go.insert("report_executions", id="due", config_id=1, status="queued", executed_by="go")
    requests = tick(world, report_schedule_sensor).run_requests
    assert [request.tags.get("dagster/priority") for request in requests] == [None, "-10", "-10", "-10"]
    before = world.go.row("SELECT last_run_at FROM report_schedules")
    for request in requests[1:]:
        assert world.execute(request.run_config, tags=request.tags).success
    done = [row for row in executions(world) if row["id"] != "due"]
    assert {row["status"] for row in done} == {"completed"}
    assert world.mail.mails == []
    assert world.go.row("SELECT last_run_at FROM report_schedules") == before


@on_sqlite
def test_only_missing_leaves_out_what_was_made_or_waits(world: World) -> None:
    start = f"{YESTERDAY - timedelta(days=3):%Y-%m-%d}"
    slots_job(world, start=start, end=f"{YESTERDAY:%Y-%m-%d}")
    world.go.execute(
        "UPDATE report_executions SET status = 'failed' WHERE id = (SELECT MIN(id) FROM report_executions)"
    )
    slots_job(world, start=start, end=f"{TODAY:%Y-%m-%d}", only_missing=True)
    # Three at first, of which one failed, and one more day.
    assert len(executions(world)) == 3 + 2


@on_sqlite
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"start": "soon"}, "start: not a date or time (value 'soon')"),
        ({"start": "2999-01-01"}, "no slot of 0 1 * * *"),
        (
            {"start": "2025-01-01", "schedule_id": 7},
            "not an active schedule of the report (value 7); valid: 1",
        ),
        ({"start": "2025-01-01", "deliver": "me"}, "give your e-mail address in executed_by"),
        ({"start": "2025-01-01", "config_id": 9}, "report_configs 9, column id: there is no such row"),
    ],
)
def test_a_wish_that_cannot_be_filled_says_what_to_change(
    world: World, config: dict[str, Any], words: str
) -> None:
    (failure,) = slots_job(world, **config).get_step_failure_events()
    assert words in failure.step_failure_data.user_failure_data.description
    assert executions(world) == []


@on_sqlite
def test_days_of_the_past_are_there_to_choose(world: World) -> None:
    partitions = wiring().resolve_asset_graph().get(dg.AssetKey("report_file")).partitions_def
    assert isinstance(partitions, dg.MultiPartitionsDefinition)
    dates = partitions.get_partitions_def_for_dimension("date").get_partition_keys()
    assert 400 <= len(dates) <= 431
    assert dates[-1] == f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


@on_sqlite
def test_the_command_line_queues_shows_and_cancels_a_backfill(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(world.home / "dagster"))
    monkeypatch.setenv("REPORTHUB_EXECUTED_BY", "ana@finance.test")
    (world.home / "dagster" / "dagster.yaml").touch()
    dates = ("--from", f"{YESTERDAY - timedelta(days=2):%Y-%m-%d}", "--to", f"{TODAY:%Y-%m-%d}")
    dry = command("backfill", "1", *dates, "--dry-run")
    assert (len(dry["windows"]), dry["queued"], executions(world)) == (3, 0, [])
    world.go.execute("UPDATE report_schedules SET is_active = :no", no=False)
    days = [
        window["start_datetime"][:10] for window in command("backfill", "1", *dates, "--dry-run")["windows"]
    ]
    assert days == [f"{TODAY - timedelta(days=back):%Y-%m-%d}" for back in (3, 2, 1)]
    world.go.execute("UPDATE report_schedules SET is_active = :yes", yes=True)
    queued = command("backfill", "1", *dates, "--deliver", "me")
    assert queued["queued"] == 3
    assert command("backfill", "1", *dates, "--only", "missing")["queued"] == 0
    request = tick(world, report_schedule_sensor).run_requests[0]
    assert world.execute(request.run_config, tags=request.tags).success
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]
    with dg.DagsterInstance.from_config(str(world.home / "dagster")) as instance:
        (waiting, _) = world.go.rows("SELECT id FROM report_executions WHERE status = 'queued'")
        target = LoadableTargetOrigin(module_name="reporthub_dagster.definitions", attribute="defs")
        location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "reporthub")
        instance.create_run_for_job(
            wiring().resolve_job_def("execute_report"),
            status=dg.DagsterRunStatus.QUEUED,
            run_config=run_config_of({"execution_id": waiting["id"]}),
            tags={EXECUTION_TAG: waiting["id"]},
            remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin(
                "execute_report"
            ),
        )
        (shown,) = command("backfills", queued["backfill_id"], "--cancel")["backfills"]
        assert instance.get_runs()[0].status == dg.DagsterRunStatus.CANCELED
    assert shown["by_status"] == {"cancelled": 2, "completed": 1}
    assert (shown["executions"], shown["config_id"]) == (3, 1)
    assert shown["bytes"] == world.files()[0].stat().st_size
    assert tick(world, report_schedule_sensor).run_requests == []


def command(*arguments: str) -> Any:
    """What a command prints as JSON."""
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
