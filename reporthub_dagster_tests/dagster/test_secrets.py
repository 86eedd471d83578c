"""No secret of a row or of the environment reaches anything that is kept or shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from reporthub_dagster.db.ledger import Lease
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import free_port
from reporthub_dagster_tests.servers.sftp import SftpServer
from reporthub_dagster_tests.servers.smb import HOST, SmbServer
from reporthub_dagster_tests.servers.web import Answer, WebServer

CANARY = "canary/Qx7731Zz"
QUOTED = "canary%2FQx7731Zz"
GIVEN = {"report_datasources", "report_deliveries", "report_delivery_recipients"}
"""Tables whose rows people fill with secrets; every other one is looked at."""

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

RUN = """query ($run: ID!) {
  runOrError(runId: $run) { ... on Run {
    runConfigYaml
    tags { key value }
    eventConnection { events {
      ... on MessageEvent { eventType message }
      ... on ErrorEvent { error { message stack errorChain { error { message stack } } } }
      ... on DisplayableEvent { ...described }
      ... on ExecutionStepFailureEvent { failureMetadata { ...described } }
    } }
  } }
}
fragment described on DisplayableEvent {
  label
  description
  metadataEntries {
    label
    description
    ... on TextMetadataEntry { text }
    ... on MarkdownMetadataEntry { mdStr }
    ... on JsonMetadataEntry { jsonString }
    ... on PathMetadataEntry { path }
    ... on UrlMetadataEntry { url }
    ... on TableMetadataEntry { table { records } }
  }
}"""


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
        "DROP USER IF EXISTS reader@localhost",
        f"CREATE USER reader@localhost IDENTIFIED BY '{CANARY}'",
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
    assert leaks_in_tables(world) == []
    assert not leaks("".join(capfd.readouterr()))
    (notice,) = world.mail.to("ops@hub.test")
    assert expected in notice.text
    assert not leaks(notice.content.decode())


@pytest.mark.parametrize("world", ["mariadb"], indirect=True)
def test_a_canary_in_every_secret_of_every_method_is_nowhere_after_their_faults(
    world: World,
    web_server: WebServer,
    sftp_server: SftpServer,
    smb_server: SmbServer,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPORTHUB_EGRESS_ALLOW", HOST)
    monkeypatch.setenv("REPORTHUB_OPERATOR_EMAIL", "ops@hub.test")
    web_server.answer("*", *[Answer(410, body=f"<Error><Code>X{CANARY}</Code></Error>")] * 99)
    deliveries = dict(enumerate(with_secrets(web_server, sftp_server, smb_server), 10))
    for row, (method, options, _) in deliveries.items():
        delivery = {"delivery_name": method, "method": method, "delivery_config": options, "max_retry": 0}
        world.go.insert("report_deliveries", id=row, config_id=1, **delivery)
    result = world.run(config_id=1)
    found = world.go.rows("SELECT delivery_id, detail FROM reporthub_deliveries WHERE state <> 'sent'")
    details = {row["delivery_id"]: row["detail"] for row in found}
    assert details.keys() == deliveries.keys()
    assert {row: reason for row, (*_, reason) in deliveries.items() if reason not in details[row]} == {}
    assert world.execution(result.run_id)["status"] == "failed"
    shown = shown_by_graphql(world, result.run_id)
    assert "answered 410 Gone" in shown
    assert not leaks(shown)
    assert leaks_in_files(world.home) == []
    assert leaks_in_tables(world) == []
    assert not leaks("".join(capfd.readouterr()))
    assert not [mail for mail in world.mail.mails if leaks(mail.content.decode())]
    assert world.mail.to("ops@hub.test")


def with_secrets(web: WebServer, sftp: SftpServer, smb: SmbServer) -> list[tuple[str, dict[str, Any], str]]:
    """Deliveries with the canary in every secret, and what is heard: a refusal, the canary, nothing."""
    nowhere = free_port()
    hook = {
        "url": f"{web.url}/{QUOTED}?key={QUOTED}",
        "secret": CANARY,
        "headers": {"X-Api-Key": CANARY},
        "auth": {"type": "basic", "username": "hub", "password": CANARY},
    }
    keys = {"access_key": CANARY, "secret_key": CANARY, "session_token": CANARY, "bucket": "b"}
    ssh = {"host": HOST, "username": sftp.user, "password": CANARY, "remote_path": "/nowhere"}
    private_key = sftp.client_key.export_private_key("pkcs8-pem", CANARY).decode()
    share = {"server": HOST, "share": "reports", "username": smb.user, "password": CANARY, "path": "x"}
    away, refused = "cannot be reached", "refused the user name or the password"
    return [
        ("webhook", hook, "answered 410 Gone"),
        ("webhook", {**hook, "auth": {"type": "bearer", "token": CANARY}, "send_file": True}, "410 Gone"),
        ("webhook", {**hook, "url": f"http://{HOST}:{nowhere}/{QUOTED}"}, away),
        ("s3", {**keys, "endpoint_url": f"http://{HOST}:{web.port}"}, "answered 410 X"),
        ("s3", {**keys, "endpoint_url": f"http://{HOST}:{nowhere}"}, away),
        ("sftp", {**ssh, "port": sftp.port}, refused),
        (
            "sftp",
            {**ssh, "private_key": private_key, "passphrase": CANARY, "port": sftp.port},
            "the folder does not exist",
        ),
        ("sftp", {**ssh, "port": nowhere}, away),
        ("file_share", {**share, "port": smb.port}, refused),
        ("file_share", {**share, "port": nowhere}, away),
    ]


def shown_by_graphql(world: World, run_id: str) -> str:
    """What the webserver answers about a run: its config, tags, events and errors."""
    with WorkspaceProcessContext(world.instance, EmptyWorkspaceTarget()) as server:
        answer = execute_dagster_graphql(server.create_request_context(), RUN, {"run": run_id})
    assert not answer.errors
    return json.dumps(answer.data, ensure_ascii=False)


def leaks_in_tables(world: World) -> list[str]:
    """Tables of the hub, other than those whose rows people fill with secrets."""
    names = {table.name for table in Lease.metadata.sorted_tables} - GIVEN
    rows = {name: world.go.rows(f"SELECT * FROM {name}") for name in names}
    return [table for table, found in rows.items() if leaks(json.dumps(found, default=str))]


def leaks(text: str) -> bool:
    return "Qx7731Zz" in text


def leaks_in_files(home: Path) -> list[Path]:
    """Dagster's database, its pickles, the executions' folders and the shared files."""
    return [path for path in home.rglob("*") if path.is_file() and b"Qx7731Zz" in path.read_bytes()]
