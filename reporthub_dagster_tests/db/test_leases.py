from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import inspect

from reporthub_dagster.db import leases as leases_module
from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Holder, Leases
from reporthub_dagster.db.queue import ExecutionQueue
from reporthub_dagster.db.session import Hub
from reporthub_dagster.heartbeat import Heartbeat, beating
from reporthub_dagster.reaping import Fate, FateKind, Reaper
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.process import wait_until

NOW = datetime(2025, 1, 31, 1, 0, tzinfo=UTC)
LONG_AGO = "2001-01-01 00:00:00.000"


@pytest.fixture
def executions(hub: Hub, go: GoApi) -> Executions:
    executions = Executions(hub)
    executions.add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW, context={"launch": {"a": 1}})
    return executions


def claimed(executions: Executions, run_id: str = "run-1", after: Claim | None = None) -> Claim:
    claim = executions.claim("e", run_id, after=after, from_status="running", at=NOW)
    assert claim is not None
    return claim


def silence(go: GoApi) -> None:
    go.execute("UPDATE reporthub_leases SET heartbeat_at = :then", then=LONG_AGO)


def reaper(hub: Hub, crash_retries: int = 1, **fates: Fate) -> Reaper:
    def known(run_ids: Sequence[str]) -> Mapping[str, Fate]:
        return {
            run.replace("_", "-"): fate for run, fate in fates.items() if run.replace("_", "-") in run_ids
        }

    return Reaper(Leases(hub), crash_retries, known)


def waiting(hub: Hub) -> list[str]:
    return [one.id for one in ExecutionQueue(hub).waiting()]


def row(go: GoApi) -> dict[str, object]:
    return go.row("SELECT status, error_message FROM report_executions WHERE id = 'e'")


def held(hub: Hub) -> Claim | None:
    """The latest claim, whoever holds it."""
    holder = Leases(hub).holder("e")
    return holder.claim if holder else None


def test_a_claim_is_a_heartbeat_by_the_databases_clock(executions: Executions, hub: Hub, go: GoApi) -> None:
    claim = claimed(executions)
    assert Leases(hub).holder("e") == Holder(claim, silent=False, attempts=0)
    silence(go)
    assert Leases(hub).holder("e") == Holder(claim, silent=True, attempts=0)
    Leases(hub).beat(claim)
    assert Leases(hub).holder("e") == Holder(claim, silent=False, attempts=0)


def test_a_lease_runs_out_after_its_seconds(
    executions: Executions, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "LEASE_SECONDS", 0.2)
    claim = claimed(executions)

    def is_silent() -> bool:
        holder = Leases(hub).holder("e")
        return holder is not None and holder.silent

    started = time.monotonic()
    wait_until(is_silent, "silence", 10)
    assert time.monotonic() - started > 0.1
    Leases(hub).beat(claim)


def test_the_machines_clock_does_not_matter(executions: Executions, hub: Hub, go: GoApi) -> None:
    zone = Hub(hub.engine.url.render_as_string(hide_password=False), ZoneInfo("Asia/Jakarta"))
    claim = claimed(executions)
    holder = Leases(zone).holder("e")
    zone.close()
    assert holder == Holder(claim, silent=False, attempts=0)


def test_who_was_taken_over_cannot_beat(executions: Executions, hub: Hub) -> None:
    zombie = claimed(executions)
    claimed(executions, "run-2", after=zombie)
    with pytest.raises(LostClaimError):
        Leases(hub).beat(zombie)
    holder = Leases(hub).holder("e")
    assert holder is not None
    assert holder.attempts == 1


def test_a_living_run_is_left_alone(executions: Executions, hub: Hub, go: GoApi) -> None:
    claimed(executions)
    assert reaper(hub).reap(NOW) == []
    assert reaper(hub, run_1=Fate("at work")).reap(NOW) == []
    assert row(go)["status"] == "running"


def test_a_silent_run_is_requeued_and_then_failed(executions: Executions, hub: Hub, go: GoApi) -> None:
    zombie = claimed(executions)
    silence(go)
    (verdict,) = reaper(hub, run_1=Fate("at work")).reap(NOW)
    assert (verdict.status, row(go)["status"]) == ("queued", "queued")
    assert waiting(hub) == ["e"]
    assert reaper(hub).reap(NOW) == []
    with pytest.raises(LostClaimError):
        executions.finish(zombie, "completed", at=NOW)
    free = held(hub)
    heir = executions.claim("e", "run-2", after=free, from_status="queued", at=NOW)
    assert heir == Claim("e", "run-2", 3)
    assert waiting(hub) == []
    silence(go)
    reaper(hub).reap(NOW)
    assert row(go) == {"status": "failed", "error_message": "the process that ran it died (2 attempts)"}
    found = executions.find("e")
    assert found is not None
    assert found.context["given_up_runs"] == ["run-1", "run-2"]
    assert found.completed_at == NOW


def test_a_person_who_starts_anew_starts_at_zero(executions: Executions, hub: Hub, go: GoApi) -> None:
    claimed(executions)
    silence(go)
    reaper(hub, crash_retries=0).reap(NOW)
    assert row(go)["status"] == "failed"
    executions.claim("e", "run-2", after=held(hub), from_status="failed", at=NOW)
    assert go.row("SELECT attempts FROM reporthub_leases") == {"attempts": 0}


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("failed", "failed", "no such table"),
        ("succeeded", "failed", "run run-1 ended without an outcome"),
        ("cancelled", "cancelled", "cancelled by a person"),
        ("crashed", "queued", "the process that ran it died (1 attempt)"),
    ],
)
def test_the_row_ends_as_its_run_did(
    executions: Executions, hub: Hub, go: GoApi, kind: FateKind, status: str, error: str
) -> None:
    claim = claimed(executions)
    reaper(hub, run_1=Fate(kind, "no such table" if kind == "failed" else "")).reap(NOW)
    assert row(go) == {"status": status, "error_message": error}
    with pytest.raises(LostClaimError):
        Leases(hub).beat(claim)


def test_a_beat_between_the_look_and_the_verdict_saves_the_run(
    executions: Executions, hub: Hub, go: GoApi
) -> None:
    claim = claimed(executions)
    silence(go)
    (seen,) = Leases(hub).open_executions()
    Leases(hub).beat(claim)
    assert not Leases(hub).settle(seen, "queued", at=NOW, died=True)
    executions.finish(claim, "completed", at=NOW)


def test_an_outcome_between_the_look_and_the_verdict_stands(
    executions: Executions, hub: Hub, go: GoApi
) -> None:
    claim = claimed(executions)
    silence(go)
    (seen,) = Leases(hub).open_executions()
    executions.finish(claim, "completed", at=NOW)
    assert not Leases(hub).settle(seen, "queued", at=NOW, died=True)
    assert row(go)["status"] == "completed"


def test_a_row_that_nobody_claimed_is_requeued(executions: Executions, hub: Hub, go: GoApi) -> None:
    (verdict,) = reaper(hub).reap(NOW)
    assert (verdict.status, row(go)["status"]) == ("queued", "queued")
    assert waiting(hub) == ["e"]


def test_a_row_that_was_just_written_has_time_to_be_claimed(executions: Executions, hub: Hub) -> None:
    executions.finish(claimed(executions), "completed", at=NOW)
    executions.add(
        "new", config_id=1, schedule_id=None, executed_by="x", at=datetime.now(UTC), context={"launch": {}}
    )
    (seen,) = Leases(hub).open_executions()
    assert seen.age < timedelta(seconds=30)
    assert reaper(hub).reap(NOW) == []


def test_rows_of_the_old_engine_are_left_alone(executions: Executions, hub: Hub, go: GoApi) -> None:
    executions.finish(claimed(executions), "completed", at=NOW)
    for status in ("running", "queued"):
        go.insert(
            "report_executions", id=status, config_id=1, status=status, executed_by="go", started_at=LONG_AGO
        )
    assert reaper(hub).reap(NOW) == []


def test_a_column_without_the_word_queued_is_no_obstacle(mysql_or_mariadb: MariaDBDatabase) -> None:
    hub = Hub(mysql_or_mariadb.url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    mysql_or_mariadb.execute(
        "ALTER TABLE report_executions MODIFY status ENUM('running','completed','failed','cancelled')"
    )
    go = GoApi(mysql_or_mariadb.url)
    go.insert("report_datasources", id=1, name="s", connection_url="u", db_type="mysql")
    go.insert("report_configs", id=1, report_name="r", report_query="q", datasource_id=1)
    executions = Executions(hub)
    executions.add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW)
    claimed(executions)
    silence(go)
    reaper(hub).reap(NOW)
    assert row(go)["status"] == "running"
    assert waiting(hub) == ["e"]
    assert reaper(hub).reap(NOW) == []
    assert claimed(executions, "run-2", after=held(hub)).token == 3
    assert go.row("SELECT attempts FROM reporthub_leases") == {"attempts": 1}
    go.close()
    hub.close()


def test_a_table_of_an_earlier_release_gets_its_new_columns(hub: Hub, go: GoApi) -> None:
    go.execute("DROP TABLE reporthub_leases")
    go.execute(
        "CREATE TABLE reporthub_leases (execution_id VARCHAR(36) PRIMARY KEY, run_id VARCHAR(36) NOT NULL, "
        "token INTEGER NOT NULL, claimed_at TIMESTAMP NOT NULL)"
    )
    go.execute("INSERT INTO reporthub_leases VALUES ('e', 'run-0', 7, '2025-01-31 00:00:00')")
    with pytest.raises(ConfigurationError, match=r"does not exist.*reporthub init"):
        Leases(hub).holder("e")
    assert hub.create_missing_tables() == [
        "reporthub_leases.heartbeat_at",
        "reporthub_leases.attempts",
        "reporthub_leases.ix_reporthub_leases_heartbeat_at",
    ]
    assert hub.create_missing_tables() == []
    assert Leases(hub).holder("e") == Holder(Claim("e", "run-0", 7), silent=True, attempts=0)
    names = {column["name"] for column in inspect(hub.engine).get_columns("reporthub_leases")}
    assert {"heartbeat_at", "attempts"} <= names


def fast(monkeypatch: pytest.MonkeyPatch, lease: float) -> None:
    monkeypatch.setattr(leases_module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(leases_module, "LEASE_SECONDS", lease)


def heartbeat_of(go: GoApi) -> str:
    return str(go.row("SELECT heartbeat_at FROM reporthub_leases")["heartbeat_at"])


def test_a_heart_beats_while_the_block_runs(
    executions: Executions, hub: Hub, go: GoApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch, lease=30)
    with beating(Leases(hub), claimed(executions)) as heart:
        first = heartbeat_of(go)
        wait_until(lambda: heartbeat_of(go) > first, "the next beat", 10)
        wait_until(lambda: hub.engine.pool.status().endswith("Current Checked out connections: 0"), "no loan")
        heart.check()
    assert not heart._thread.is_alive()  # noqa: SLF001 - nothing else shows it


def test_a_heart_notices_that_the_claim_was_lost(
    executions: Executions, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch, lease=30)
    claim = claimed(executions)
    with beating(Leases(hub), claim) as heart:
        claimed(executions, "run-2", after=claim)
        wait_until(lambda: heart.is_lost, "the loss", 10)
        with pytest.raises(LostClaimError):
            heart.check()


def test_a_lost_claim_does_not_begin_to_beat(executions: Executions, hub: Hub) -> None:
    claim = claimed(executions)
    claimed(executions, "run-2", after=claim)
    with pytest.raises(LostClaimError):
        Heartbeat(Leases(hub), claim).start()


def on_mariadb_alone(mariadb_database: MariaDBDatabase) -> tuple[Hub, Claim]:
    hub = Hub(mariadb_database.url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    go = GoApi(mariadb_database.url)
    go.insert("report_datasources", id=1, name="s", connection_url="u", db_type="mysql")
    go.insert("report_configs", id=1, report_name="r", report_query="q", datasource_id=1)
    go.close()
    Executions(hub).add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW)
    return hub, claimed(Executions(hub))


def test_a_heart_survives_a_restart_of_the_database(
    mariadb_database: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch, lease=60)
    hub, claim = on_mariadb_alone(mariadb_database)
    with beating(Leases(hub), claim) as heart:
        mariadb_database.server.stop()
        mariadb_database.server.start()
        mariadb_database.execute(f"UPDATE reporthub_leases SET heartbeat_at = '{LONG_AGO}'")
        query = "SELECT heartbeat_at > '2002-01-01' FROM reporthub_leases"
        wait_until(lambda: bool(mariadb_database.execute(query)[0][0]), "the next beat", 20)
        heart.check()
    hub.close()


def test_a_heart_gives_up_when_the_lease_has_run_out(
    mariadb_database: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch, lease=0.5)
    hub, claim = on_mariadb_alone(mariadb_database)
    with beating(Leases(hub), claim) as heart:
        mariadb_database.server.stop()
        wait_until(lambda: heart.is_lost, "the loss", 20)
        with pytest.raises(LostClaimError, match="last heartbeat"):
            heart.check()
    hub.close()
