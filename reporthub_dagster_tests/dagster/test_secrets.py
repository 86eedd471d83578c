"""No secret of a row or of the environment reaches anything that is kept or shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.mariadb import MariaDBServer

CANARY = "canary/Qx7731Zz"
QUOTED = "canary%2FQx7731Zz"
KEPT = (
    "report_executions",
    "report_delivery_logs",
    "report_config_audits",
    "report_schedules",
    "reporthub_deliveries",
    "reporthub_notices",
)

SOURCE = "UPDATE report_datasources SET connection_url = REPLACE(connection_url, "
FAULTS = {
    "echo": ("UPDATE report_deliveries SET max_retry = 0", "550 5.7.1 you said"),
    "mail server": ("SELECT 1", "offers no way to sign in"),
    "wrong password": (SOURCE + "'canary', 'canarie')", "report_datasources 1, column connection_url"),
    "no such server": (
        SOURCE + "'@127.0.0.1', '@no.invalid')",
        "report_datasources 1, column connection_url",
    ),
    "no url": (SOURCE + "'mysql://', 'mysql//')", "report_datasources 1, column connection_url"),
    "sql error": ("UPDATE report_configs SET report_query = 'SELECT t.nowhere FROM trx t'", "report_query"),
}


@pytest.mark.parametrize("world", ["mariadb"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_canary_is_nowhere(
    world: World,
    mariadb_server: MariaDBServer,
    fault: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mariadb_server.execute(
        f"CREATE OR REPLACE USER reader@localhost IDENTIFIED BY '{CANARY}'",
        "GRANT SELECT ON *.* TO reader@localhost",
    )
    url = world.source_url.replace(mariadb_server.user, "reader", 1)
    head, _, tail = url.partition("reader:")
    world.go.execute(
        "UPDATE report_datasources SET connection_url = :url",
        url=f"{head}reader:{QUOTED}@{tail.split('@')[-1]}",
    )
    delivery = {
        "smtp_server": world.mail.host,
        "smtp_port": world.mail.port,
        "username": "" if fault == "echo" else "u",
        "password": CANARY,
        "from_email": "hub@x.test",
        "use_tls": False,
    }
    world.go.execute(
        "UPDATE report_deliveries SET delivery_config = :config WHERE id = 1", config=json.dumps(delivery)
    )
    world.mail.script("ana@finance.test", "RCPT", f"550 5.7.1 you said {CANARY}")
    monkeypatch.setenv("REPORTHUB_OPERATOR_EMAIL", "ops@hub.test")
    statement, expected = FAULTS[fault]
    world.go.execute(statement)
    result = world.run(config_id=1)
    assert expected in world.execution(result.run_id)["error_message"]
    assert leaks_in_files(world.home) == []
    assert [
        table for table in KEPT if leaks(json.dumps(world.go.rows(f"SELECT * FROM {table}"), default=str))
    ] == []
    assert not leaks("".join(capfd.readouterr()))
    (notice,) = world.mail.to("ops@hub.test")
    assert expected in notice.text
    assert not leaks(notice.content.decode())


def leaks(text: str) -> bool:
    return "Qx7731Zz" in text


def leaks_in_files(home: Path) -> list[Path]:
    """Dagster's database, its pickles, the executions' folders and the shared files."""
    return [path for path in home.rglob("*") if path.is_file() and b"Qx7731Zz" in path.read_bytes()]
