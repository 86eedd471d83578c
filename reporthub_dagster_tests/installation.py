"""A whole installation in a temporary folder: hub, data source, mail server, share, Dagster instance."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from sqlalchemy import create_engine

from reporthub_dagster.instance import redelivery_job, report_job
from reporthub_dagster.run_config import redelivery_config_of
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.local_instance import local_instance
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.smtp import MailServer

ZONE = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
"""The zone in which it is noon: no test crosses midnight."""
TODAY = datetime.now(ZoneInfo(ZONE)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
YESTERDAY = TODAY - timedelta(days=1)

TRANSACTIONS = [
    # id, merchant, amount, status, created_at
    (1, "M-77", "10.50", "PAID", YESTERDAY - timedelta(seconds=1)),
    (2, "M-77", "20.00", "PAID", YESTERDAY),
    (3, "M-77", "1234567890.25", "SETTLED", YESTERDAY + timedelta(hours=12)),
    (4, "M-77", "5.00", "FAILED", YESTERDAY + timedelta(hours=13)),
    (5, "M-78", "7.00", "PAID", YESTERDAY + timedelta(hours=14)),
    (6, "M-77", "0.01", "PAID", TODAY - timedelta(seconds=1)),
    (7, "M-77", "9.99", "PAID", TODAY),
]

QUERY = """SELECT t.trx_id, t.merchant_id, t.amount, t.status, t.created_at
FROM trx t
WHERE t.amount > 0 OR t.amount IS NULL
ORDER BY t.trx_id"""

# docs and contract: the `parameters` of an existing row.
PARAMETERS = {
    "date_field": "t.created_at",
    "filters": [
        {"field": "t.merchant_id", "operator": "=", "type": "string", "value": "M-77"},
        {"field": "t.status", "operator": "IN", "type": "string", "value": ["PAID", "SETTLED"]},
    ],
    "display_columns": ["trx_id", "amount", "status"],
    "filename_template": "{{report_name}}_{{merchant_id}}_{{yesterday}}",
    "start_date": "2025-01-01",
}


@dataclass
class World:
    """One installation.

    Attributes:
        source_url: URL of the data source, as its row has it.
        go: The Go API's client of the shared database.
    """

    home: Path
    source_url: str
    source_kind: str
    go: GoApi
    mail: MailServer
    instance: dg.DagsterInstance

    @property
    def share(self) -> Path:
        """The shared folder of delivery 2."""
        return self.home / "share"

    def run(self, **config: Any) -> dg.ExecuteJobResult:
        """Run the job as a launch would."""
        return self.execute({"ops": {"compute_time_range": {"config": config}}})

    def execute(self, run_config: dict[str, Any], **options: Any) -> Any:
        """Run the job with a whole run config; the result is closed."""
        run_config = {**run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.execute_job(dg.reconstructable(report_job), self.instance, run_config, **options) as result:
            return result

    def retry_from_failure(self, run_id: str) -> Any:
        """What the UI does with a run that failed: the steps that failed and those after them."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        options = dg.ReexecutionOptions.from_failure(run_id, self.instance)
        return self.execute(dict(run.run_config), reexecution_options=options)

    def redeliver(self, run_config: Mapping[str, Any], **options: Any) -> Any:
        """Run `redeliver_report` with a whole run config; the result is closed."""
        whole = {**run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = dg.reconstructable(redelivery_job)
        with dg.execute_job(job, self.instance, run_config=whole, **options) as result:
            return result

    def ask_again(self, execution_id: str, **config: Any) -> Any:
        """Redeliver as a person asks for it."""
        return self.redeliver(redelivery_config_of({"execution_id": execution_id, **config}))

    def ledger(self) -> dict[str, str]:
        """Recipient → state, of the only execution."""
        return {
            row["recipient"]: row["state"]
            for row in self.go.rows("SELECT recipient, state FROM reporthub_deliveries")
        }

    def execution(self, execution_id: str) -> dict[str, Any]:
        """The row of an execution."""
        return self.go.row("SELECT * FROM report_executions WHERE id = :id", id=execution_id)

    def drop_source(self) -> None:
        """Take the data away: whoever queries it again fails."""
        engine = create_engine(self.source_url.replace("mysql://", "mysql+pymysql://"))
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE trx")
        engine.dispose()

    def files(self) -> list[Path]:
        """Every file in every execution's folder that a person could see as a report."""
        return sorted(path for path in (self.home / "output").rglob("files/*") if path.is_file())


@pytest.fixture(params=["sqlite", "mariadb"])
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    smtp_server: MailServer,
) -> Iterator[World]:
    """An installation whose hub and data source are SQLite, and one where both are MariaDB."""
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path))
    monkeypatch.setenv("SCHEDULER_TIMEZONE", ZONE)
    for name, value in smtp_server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("reporthub_dagster.delivering.HICCUP_SECONDS", 0.01)
    (tmp_path / "share").mkdir()
    (tmp_path / "dagster").mkdir()
    if request.param == "sqlite":
        url, source_url = f"sqlite:///{tmp_path / 'reporthub.db'}", f"sqlite:///{tmp_path / 'sales.db'}"
        fill_sqlite(tmp_path / "sales.db")
    else:
        database: MariaDBDatabase = request.getfixturevalue("mariadb_database")
        url, source_url = database.url, database.server.url(database.name, scheme="mysql")
        fill_mariadb(database)
        GoApi(url).create_tables()
        for name, value in mysql_settings(database).items():
            monkeypatch.setenv(name, value)
    create_tables()
    go = GoApi(url)
    with local_instance(tmp_path / "dagster") as instance:
        kind = "sqlite" if request.param == "sqlite" else "mysql"
        world = World(tmp_path, source_url, kind, go, smtp_server, instance)
        insert_rows(world)
        yield world
    go.close()


def mysql_settings(database: MariaDBDatabase) -> dict[str, str]:
    """The settings that an operator of the old engine has in `.env`."""
    server = database.server
    return {
        "DB_HOST": server.host,
        "DB_PORT": str(server.port),
        "DB_USER": server.user,
        "DB_PASSWORD": server.password,
        "DB_NAME": database.name,
    }


def create_tables() -> None:
    """What `reporthub init` does with the database."""
    from reporthub_dagster.db.session import Hub  # noqa: PLC0415 - after the environment is set
    from reporthub_dagster.settings import Settings  # noqa: PLC0415

    settings = Settings.load()
    hub = Hub(settings.hub_url, settings.hub_zone)
    hub.create_missing_tables()
    hub.close()


def fill_sqlite(path: Path) -> None:
    """The data source as a SQLite file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE trx (trx_id INTEGER, merchant_id TEXT, amount DECIMAL(14,2), status TEXT, "
            "created_at DATETIME)"
        )
        rows = [(*row[:4], f"{row[4]:%Y-%m-%d %H:%M:%S}") for row in TRANSACTIONS]
        database.executemany("INSERT INTO trx VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()


def fill_mariadb(database: MariaDBDatabase) -> None:
    """The data source as a table of MariaDB."""
    database.execute(
        "CREATE TABLE trx (trx_id INT, merchant_id VARCHAR(20), amount DECIMAL(14,2), status VARCHAR(20), "
        "created_at DATETIME)",
        *(
            f"INSERT INTO trx VALUES ({i}, '{merchant}', {amount}, '{status}', '{at:%Y-%m-%d %H:%M:%S}')"
            for i, merchant, amount, status, at in TRANSACTIONS
        ),
    )


def insert_rows(world: World) -> None:
    """One report with a mail to two people and a folder."""
    go = world.go
    go.insert(
        "report_datasources",
        id=1,
        name="sales",
        connection_url=world.source_url,
        db_type=world.source_kind,
        connection_config={"pool_size": 5, "connect_timeout": 10},
    )
    go.insert(
        "report_configs",
        id=1,
        report_name="Sales",
        report_query=QUERY,
        output_format="csv",
        datasource_id=1,
        parameters=PARAMETERS,
    )
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 1 * * *", timezone=ZONE)
    go.insert(
        "report_deliveries",
        id=1,
        config_id=1,
        delivery_name="Finance",
        method="email",
        delivery_config={"subject": "{{report_name}} of {yesterday}", "body": "{{row_count}} rows"},
    )
    go.insert(
        "report_deliveries",
        id=2,
        config_id=1,
        delivery_name="Folder",
        method="file_share",
        delivery_config={"path": str(world.share)},
    )
    for row, address in enumerate(("ana@finance.test", "budi@finance.test"), 1):
        go.insert("report_delivery_recipients", id=row, delivery_id=1, recipient_value=address)
