"""Whole runs that make several files, and runs that die or find no room while they make them."""

from __future__ import annotations

import json
import resource
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import dagster as dg
import openpyxl
import pytest

from reporthub_dagster.storage.execution_folder import ExecutionFolder, is_ours
from reporthub_dagster.storage.manifest import read_manifest
from reporthub_dagster_tests import forked, run_process
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.process import wait_until

on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
TOTALS = "SELECT t.status, count(*) AS orders FROM trx t GROUP BY t.status ORDER BY 1"
LIST = "SELECT t.trx_id, t.amount FROM trx t ORDER BY t.trx_id"


def set_parameters(world: World, **parameters: Any) -> None:
    world.go.execute(
        "UPDATE report_configs SET file_name = 'sales', parameters = :p", p=json.dumps(parameters)
    )


def attachments(world: World, address: str) -> dict[str, bytes]:
    (mail,) = world.mail.to(address)
    parts = list(mail.message.iter_attachments())
    return {str(part.get_filename()): bytes(part.get_payload(decode=True)) for part in parts}


def only(world: World) -> dict[str, Any]:
    return world.go.row("SELECT * FROM report_executions")


def test_several_formats_of_several_queries_are_delivered_together(world: World) -> None:
    queries = [{"name": "Totals", "sql": TOTALS}, {"name": "All orders", "sql": LIST}]
    set_parameters(world, formats=["xlsx", "csv"], queries=queries)
    result = world.run(config_id=1)
    assert result.success, only(world)["error_message"]
    names = ["sales.xlsx", "sales_Totals.csv", "sales_All orders.csv"]
    assert sorted(path.name for path in world.share.iterdir()) == sorted(names)
    for address in ("ana@finance.test", "budi@finance.test"):
        assert attachments(world, address) == {name: (world.share / name).read_bytes() for name in names}
    book = openpyxl.load_workbook(BytesIO(attachments(world, "ana@finance.test")["sales.xlsx"]))
    assert book.sheetnames == ["Totals", "All orders"]
    row = only(world)
    folder = ExecutionFolder(world.home / "output" / row["id"])
    files = read_manifest(folder)
    assert [file.name for file in files] == names
    assert is_ours(folder.path), "what runs write there, a purge may remove"
    assert (row["rows_returned"], row["file_size_bytes"]) == (10, files[0].size)
    assert row["file_generated_path"] == str(files[0].path)
    context = row["execution_context"]
    assert [(file["name"], file["sha256"]) for file in context["files"]] == [
        (file.name, file.sha256) for file in files
    ]
    assert (context["output_format"], context["formats"]) == ("xlsx", ["xlsx", "csv"])
    assert context["original_query"] == f"-- Totals\n{TOTALS}\n\n-- All orders\n{LIST}"
    assert [(query["name"], query["rows"]) for query in context["queries"]] == [
        ("Totals", 3),
        ("All orders", 7),
    ]
    (mail,) = world.mail.to("ana@finance.test")
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert "10 rows" in body.get_content()


@on_sqlite
def test_the_run_page_shows_every_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTHUB_FILES_URL", "https://reports.example.com/files/")
    set_parameters(world, formats=["csv", "json"], queries={"A": LIST, "B": TOTALS})
    result = world.run(config_id=1, deliver="none")
    (output,) = [
        event.event_specific_data
        for event in result.events_for_node("render_file")
        if event.is_successful_output
    ]
    table = output.metadata["files"].records
    rows = [(record.data["name"], record.data["rows"]) for record in table]
    assert rows[:2] == [("sales_A.csv", 7), ("sales_B.csv", 3)]
    assert all(len(record.data["sha256"]) == 64 for record in table)
    url = f"https://reports.example.com/files/{result.run_id}/files/sales_A.csv"
    assert output.metadata["file: sales_A.csv"] == dg.MetadataValue.url(url)
    (query,) = [
        event.event_specific_data
        for event in result.events_for_node("run_query")
        if event.is_successful_output
    ]
    assert {"preview: A", "preview: B", "columns: A"} <= set(query.metadata)


@on_sqlite
def test_a_password_leaves_no_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_ZIP", "canary-7731")
    set_parameters(world, compress={"method": "zip", "password": {"env": "SALES_ZIP"}})
    assert world.run(config_id=1).success
    content = attachments(world, "ana@finance.test")
    assert list(content) == ["sales.zip"]
    with zipfile.ZipFile(BytesIO(content["sales.zip"])) as archive:
        assert [info.flag_bits & 1 for info in archive.infolist()] == [1]
    kept = [path for path in world.home.rglob("*") if path.is_file()]
    assert [path for path in kept if b"canary-7731" in path.read_bytes()] == []


@pytest.mark.parametrize("place", ["mid-render", "second file", "manifest"])
@on_sqlite
def test_killed_while_it_renders_nothing_partial_is_visible_and_the_spool_is_enough(
    world: World, place: str
) -> None:
    set_parameters(world, formats=["csv", "json"])
    process = run_process.start(world.home, halt=place, config_id=1)
    wait_until(lambda: run_process.halted(world.home), place)
    forked.kill(process)
    assert process.exitcode == -signal.SIGKILL
    whole = {"mid-render": [], "second file": ["sales.csv"], "manifest": ["sales.csv", "sales.json"]}[place]
    visible = [path.name for path in world.files() if not path.name.startswith(".")]
    assert visible == whole
    assert list(world.home.glob("output/*/manifest.json")) == []
    world.drop_source()
    (run,) = world.instance.get_runs()
    folder = ExecutionFolder(world.home / "output" / run.run_id)
    world.go.execute("UPDATE reporthub_leases SET heartbeat_at = '2000-01-01 00:00:00'")
    result = world.run(execution_id=run.run_id)
    assert result.success, only(world)["error_message"]
    assert only(world)["status"] == "completed"
    assert [file.name for file in read_manifest(folder)] == ["sales.csv", "sales.json"]
    assert sorted(path.name for path in folder.path.rglob("*") if path.is_file()) == [
        *("manifest.json", "result.json", "sales.csv", "sales.json", "spool.arrow")
    ]


@on_sqlite
def test_a_disk_that_is_full_fails_the_run_and_the_next_attempt_needs_no_query(world: World) -> None:
    # Names that json repeats in each row: the spool and Dagster's own files fit where the report does not.
    columns = ", ".join(f"1 AS {letter * 1000}" for letter in "abcd")
    sql = f"SELECT {columns} FROM trx t, trx a, trx b, trx c"
    world.go.execute("UPDATE report_configs SET report_query = :sql", sql=sql)
    set_parameters(world, formats=["json", "csv"])
    with full_disk(6_000_000):
        first = world.run(config_id=1, deliver="none")
    row = only(world)
    assert not first.success
    assert (row["status"], "File too large" in row["error_message"]) == ("failed", True)
    assert world.files() == []
    world.drop_source()
    again = world.retry_from_failure(first.run_id)
    assert again.success, only(world)["error_message"]
    assert [path.name for path in world.files()] == ["sales.csv", "sales.json"]


@on_sqlite
def test_a_disk_that_is_full_in_mid_query_leaves_no_rows_and_the_next_attempt_asks_again(
    world: World,
) -> None:
    sql = "SELECT hex(randomblob(2000)) AS x FROM trx t, trx a, trx b, trx c"
    world.go.execute("UPDATE report_configs SET report_query = :sql", sql=sql)
    set_parameters(world)
    with full_disk(6_000_000):
        first = world.run(config_id=1, deliver="none")
    row = only(world)
    folder = ExecutionFolder(world.home / "output" / first.run_id)
    assert not first.success
    assert (row["status"], "File too large" in row["error_message"]) == ("failed", True)
    assert [path.name for path in folder.path.rglob("*") if path.suffix in (".arrow", ".json")] == []
    assert world.files() == []
    again = world.retry_from_failure(first.run_id)
    assert again.success, only(world)["error_message"]
    (file,) = world.files()
    assert (file.name, file.stat().st_size > 6_000_000) == ("sales.csv", True)
    assert [path.name for path in folder.path.rglob("*") if path.name.startswith(".")] == []


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
