from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import inspect

from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.process import free_port

SHARED = {
    "report_datasources",
    "report_configs",
    "report_schedules",
    "report_deliveries",
    "report_delivery_recipients",
    "report_executions",
    "report_delivery_logs",
    "report_config_audits",
}
OURS = {
    "reporthub_leases",
    "reporthub_slots",
    "reporthub_schedules",
    "reporthub_launches",
    "reporthub_schedulers",
    "reporthub_deliveries",
    "reporthub_circuits",
    "reporthub_notices",
    "reporthub_late",
    "reporthub_digests",
    "reporthub_host_keys",
    "reporthub_backfills",
    "reporthub_catalog",
}
UTC_ZONE = ZoneInfo("UTC")


def test_all_tables_are_created_once(hub_url: str) -> None:
    hub = Hub(hub_url, UTC_ZONE)
    created = hub.create_missing_tables()
    again = hub.create_missing_tables()
    hub.close()
    assert set(created) == SHARED | OURS
    assert again == []


def test_tables_of_the_go_api_are_left_as_they_are(mysql_or_mariadb: MariaDBDatabase) -> None:
    go = GoApi(mysql_or_mariadb.url)
    go.create_tables()
    before = {name: mysql_or_mariadb.execute(f"SHOW CREATE TABLE {name}") for name in SHARED}
    hub = Hub(mysql_or_mariadb.url, UTC_ZONE)
    created = hub.create_missing_tables()
    hub.close()
    go.close()
    assert set(created) == OURS
    assert {name: mysql_or_mariadb.execute(f"SHOW CREATE TABLE {name}") for name in SHARED} == before


def test_our_mysql_tables_have_the_columns_of_the_go_api(mysql_or_mariadb: MariaDBDatabase) -> None:
    def shape(hub: Hub) -> dict[str, dict[str, tuple[str, bool]]]:
        inspector = inspect(hub.engine)
        return {
            table: {
                column["name"]: (str(column["type"]), column["nullable"])
                for column in inspector.get_columns(table)
                if column["name"] not in {"vault_path", "db_type", "status"}  # theirs differ on purpose
            }
            for table in SHARED
        }

    hub = Hub(mysql_or_mariadb.url, UTC_ZONE)
    hub.create_missing_tables()
    ours = shape(hub)
    for table in SHARED:
        mysql_or_mariadb.execute("SET FOREIGN_KEY_CHECKS = 0", f"DROP TABLE {table}")
    go = GoApi(mysql_or_mariadb.url)
    go.create_tables()
    theirs = shape(hub)
    go.close()
    hub.close()
    assert ours == theirs


def test_a_word_that_no_enum_knew_is_read(mysql_or_mariadb: MariaDBDatabase) -> None:
    from reporthub_dagster.db.executions import Executions  # noqa: PLC0415

    go = GoApi(mysql_or_mariadb.url)
    go.create_tables()
    go.insert("report_datasources", id=1, name="s", connection_url="u", db_type="bigquery")
    go.insert("report_configs", id=1, report_name="r", report_query="q", datasource_id=1)
    go.insert("report_executions", id="e", config_id=1, status="paused", executed_by="x")
    hub = Hub(mysql_or_mariadb.url, UTC_ZONE)
    found = Executions(hub).find("e")
    assert found is not None
    assert found.status == "paused"
    assert Repository(hub).data_source(1).kind == "bigquery"
    go.close()
    hub.close()


def test_wall_times_of_another_zone_are_the_same_instants(hub_url: str) -> None:
    jakarta = Hub(hub_url, ZoneInfo("Asia/Jakarta"))
    jakarta.create_missing_tables()
    go = GoApi(jakarta.engine.url.render_as_string(hide_password=False))
    go.insert("report_datasources", id=1, name="s", connection_url="u", db_type="mysql")
    go.insert("report_configs", id=1, report_name="r", report_query="q", datasource_id=1)
    with jakarta.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO report_schedules (id, config_id, cron_expression, last_run_at) "
            "VALUES (1, 1, '0 8 * * *', '2025-01-31 08:00:00')"
        )
    schedule = Repository(jakarta).schedule(1)
    go.close()
    jakarta.close()
    assert schedule.last_run_at == datetime(2025, 1, 31, 1, 0, tzinfo=UTC)


def test_the_session_of_mysql_has_the_zone_of_the_hub(mysql_or_mariadb: MariaDBDatabase) -> None:
    hub = Hub(mysql_or_mariadb.url, ZoneInfo("Asia/Jakarta"))
    with hub.begin() as connection:
        offset = connection.exec_driver_sql("SELECT TIMEDIFF(NOW(), UTC_TIMESTAMP())").scalar()
    hub.close()
    assert str(offset) == "7:00:00"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("nonsense", "not a database URL", id="no url"),
        pytest.param("oracle://h/d", "valid: mysql, mariadb, postgresql, sqlite", id="other kind"),
    ],
)
def test_a_wrong_url_says_what_would_be_valid(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Hub(url, UTC_ZONE)


def test_a_missing_table_says_how_to_create_it(hub_url: str) -> None:
    hub = Hub(hub_url, UTC_ZONE)
    with pytest.raises(ConfigurationError, match=r"report_configs does not exist.*reporthub init"):
        Repository(hub).report_config(1)
    hub.close()


def test_a_wrong_password_is_told_without_it(mysql_or_mariadb: MariaDBDatabase) -> None:
    url = mysql_or_mariadb.server.url(mysql_or_mariadb.name, password="canary-7731")
    hub = Hub(url, UTC_ZONE)
    with pytest.raises(ConfigurationError, match="refuses us") as caught:
        Repository(hub).report_config(1)
    hub.close()
    assert "canary-7731" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_server_that_is_down_is_transient() -> None:
    hub = Hub(f"mysql://u:canary-7731@127.0.0.1:{free_port()}/db", UTC_ZONE)
    with pytest.raises(TransientError, match="does not answer") as caught:
        Repository(hub).report_config(1)
    assert "canary-7731" not in str(caught.value)
