"""Reports over several sources: MariaDB, PostgreSQL and a file, joined as one row says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from reporthub_dagster import joining
from reporthub_dagster.cli import main
from reporthub_dagster.conditions import Judge
from reporthub_dagster.db.digests import Digests
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import ReportRows, read_rows
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import ReportPlan
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder, is_ours
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.installation import create_tables
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.mongodb import MongoDBFront
from reporthub_dagster_tests.servers.postgresql import PostgreSQLDatabase
from reporthub_dagster_tests.servers.web import Answer, WebServer

JOIN = """SELECT o.id, c.name, p.label, o.amount, c.score
FROM orders o
JOIN customers c ON c.id = o.customer
LEFT JOIN products p ON p.code = o.product
ORDER BY o.id"""
ORDERS = "SELECT id, customer, product, amount, day FROM orders WHERE day >= '{{start_date}}'"
SOURCES = {
    "orders": {"datasource": 1, "query": ORDERS},
    "customers": {"datasource": 2, "query": "SELECT id, name, score FROM customers"},
    "products": 3,
}


class Shop:
    """A report that joins three sources."""

    def __init__(self, home: Path) -> None:
        settings = Settings.load()
        self.home = home
        self.hub = Hub(settings.hub_url, ZoneInfo("UTC"))
        self.go = GoApi(settings.hub_url)
        self.repository = Repository(self.hub)
        self.folder = ExecutionFolder(home / "output" / "e")

    def plan(self, query: str = JOIN, sources: Any = SOURCES, **parameters: Any) -> ReportPlan:
        whole = json.dumps({"sources": sources, **parameters})
        self.go.execute("UPDATE report_configs SET report_query = :q, parameters = :p", q=query, p=whole)
        now = datetime(2025, 1, 31, tzinfo=UTC)
        request = ReportRequest(1, start="2025-01-01", end="2025-02-01")
        return plan_report(self.repository, request, execution_id="e", now=now, default_timezone="UTC")

    def rows(self, *given: Any, **parameters: Any) -> tuple[ReportRows, list[dict[str, Any]]]:
        report = read_rows(self.plan(*given, **parameters), self.repository, self.folder, lambda _: None)
        return report, Spool.open(report.results[0].spool).head(100).to_pylist()


@pytest.fixture
def shop(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mariadb_database: MariaDBDatabase,
    postgresql_database: PostgreSQLDatabase,
) -> Iterator[Shop]:
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path))
    monkeypatch.setenv("REPORTHUB_FILE_ROOTS", str(tmp_path / "in"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "products.csv").write_text("code,label\n007,Łódź\n008,Other\n")
    mariadb_database.execute(
        "CREATE TABLE orders "
        "(id BIGINT UNSIGNED, customer INT, product CHAR(3), amount DECIMAL(12,2), day DATE)",
        "INSERT INTO orders VALUES (18446744073709551615, 1, '007', 9.90, '2025-01-02'), "
        "(2, 2, '009', 5, '2025-01-03'), (3, 1, '007', 1, '2024-12-31')",
    )
    postgresql_database.execute(
        "CREATE TABLE customers (id int, name text, score numeric)",
        "INSERT INTO customers VALUES (1, 'Ana', 0.12345), (2, 'Budi', 12)",
    )
    create_tables()
    made = Shop(tmp_path)
    urls = (
        (mariadb_database.url, "mysql"),
        (postgresql_database.url, "postgresql"),
        ("products.csv", "file"),
    )
    for row, (url, kind) in enumerate(urls, 1):
        config = {"kind": kind} if kind == "file" else None
        made.go.insert(
            "report_datasources",
            id=row,
            name=kind,
            connection_url=url,
            db_type="mysql" if config else kind,
            connection_config=config,
        )
    made.go.insert("report_configs", id=1, report_name="Joined", report_query=JOIN, datasource_id=1)
    yield made
    made.go.close()
    made.hub.close()


def test_a_report_joins_two_databases_and_a_file(shop: Shop) -> None:
    report, rows = shop.rows()

    assert rows == [
        {"id": 2, "name": "Budi", "label": None, "amount": Decimal("5.00"), "score": Decimal("12.00000")},
        {
            "id": 18446744073709551615,
            "name": "Ana",
            "label": "Łódź",
            "amount": Decimal("9.90"),
            "score": Decimal("0.12345"),
        },
    ]
    sources = report.context()["sources"]
    assert [(one["name"], one["datasource_type"], one["rows"]) for one in sources] == [
        ("orders", "mysql", 2),
        ("customers", "postgresql", 2),
        ("products", "file", 2),
    ]
    assert sources[0]["variables_used"] == {"start_date": "2025-01-01"}
    assert is_ours(shop.folder.path)


def test_conditions_and_values_of_the_report_hold_for_the_joined_rows(shop: Shop) -> None:
    filters = [{"field": "o.amount", "operator": ">", "type": "number", "value": "{{least}}"}]
    query = "SELECT o.id, o.day FROM orders o JOIN customers c ON c.id = o.customer WHERE c.name = :name"

    report, rows = shop.rows(query, date_field="o.day", filters=filters, least=6, name="Ana")

    assert rows == [{"id": 18446744073709551615, "day": date(2025, 1, 2)}]
    assert report.queries[0].binds["name"] == "Ana"


def test_a_further_attempt_reads_no_source_again(shop: Shop, mariadb_database: MariaDBDatabase) -> None:
    first, rows = shop.rows()
    mariadb_database.execute("DROP TABLE orders")

    again, same = shop.rows()

    assert same == rows
    assert [read.reused for _, read in again.joined] == [True] * 3
    assert (first.queries[0].reused, again.queries[0].reused) == (False, True)
    assert shop.rows("SELECT count(*) AS n FROM orders")[1] == [{"n": 2}]


def test_a_source_that_is_asked_something_else_makes_the_join_anew(shop: Shop) -> None:
    shop.rows()
    other = {
        **SOURCES,
        "customers": {"datasource": 2, "query": "SELECT id, upper(name) AS name, score FROM customers"},
    }

    report, rows = shop.rows(JOIN, other)

    assert [row["name"] for row in rows] == ["BUDI", "ANA"]
    assert [read.reused for _, read in report.joined] == [True, False, True]
    broken = {**other, "customers": {"datasource": 2, "query": "SELECT 1 / 0 AS id"}}
    with pytest.raises(ConfigurationError, match="division by zero"):
        shop.rows(JOIN, broken)
    assert shop.folder.load_result(0) is None, "an attempt that dies here leaves no join of other rows"


def test_what_is_asked_without_sql_joins_as_well(
    shop: Shop, web_server: WebServer, mongodb_front: MongoDBFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTHUB_EGRESS_ALLOW", "127.0.0.1")
    web_server.answer("*", Answer(200, body='{"rates": [{"customer": 1, "rate": 1.5}, {"customer": 2}]}'))
    mongodb_front.insert("notes", {"_id": 2, "text": {"id": "for Budi"}}, {"_id": 3, "text": {"id": "no"}})
    for row, kind, url, more in (
        (4, "http_api", web_server.url, {"rows": "rates"}),
        (5, "mongodb", mongodb_front.url(), {}),
    ):
        config = {"kind": kind, **more}
        columns = {"id": row, "name": kind, "connection_url": url, "db_type": "mysql"}
        shop.go.insert("report_datasources", **columns, connection_config=config)
    notes = {"datasource": 5, "query": '{"collection": "notes", "filter": {"_id": {"$lt": 3}}}'}

    _, rows = shop.rows(
        """SELECT c.name, o.amount, p.label, r.rate, n."text.id" AS note FROM customers c
        JOIN orders o ON o.customer = c.id LEFT JOIN products p ON p.code = o.product
        LEFT JOIN rates r ON r.customer = c.id LEFT JOIN notes n ON n._id = c.id ORDER BY c.id""",
        {**SOURCES, "rates": 4, "notes": notes},
    )

    assert [list(row.values()) for row in rows] == [
        ["Ana", Decimal("9.90"), "Łódź", 1.5, None],
        ["Budi", Decimal("5.00"), None, None, "for Budi"],
    ]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([1], "parameters.sources: not an object"),
        ({"my orders": 1}, "parameters.sources.my orders: not the name of a table"),
        ({"a": 3, "A": 3}, "parameters.sources.A: named twice"),
        ({"a": "1"}, "parameters.sources.a.datasource: not an id"),
        ({"a": {"datasource": 1, "sql": ""}}, "parameters.sources.a.sql: no such option"),
        ({"a": {"datasource": 99, "query": "SELECT 1"}}, "99"),
        ({"a": 1}, "parameters.sources.a: a source of kind mysql needs a query"),
        (
            {"a": {"datasource": 1, "query": "DELETE FROM orders"}},
            "parameters.sources.a: DELETE is not a query",
        ),
        (
            {"a": {"datasource": 1, "query": "SELECT {{nobody}}"}},
            "parameters.sources.a: .*nobody.* has no value",
        ),
        (
            {"a": {"datasource": 1, "query": "SELECT no_such FROM orders"}},
            "parameters.sources.a: the database refused",
        ),
        ({"orders": 3}, "report_query: the database refused the query: .*customers"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(shop: Shop, sources: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        shop.rows(JOIN, sources)


def test_a_join_reads_no_file_of_this_machine(shop: Shop) -> None:
    for query in ("SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')"):
        with pytest.raises(ConfigurationError, match=r"does not exist|not allowed"):
            shop.rows(query)


def test_a_part_of_a_source_is_not_joined(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reporthub_dagster.producing.MOST_SOURCE_ROWS", 1)

    with pytest.raises(PermanentError, match=r"parameters.sources.orders has more than .* rows"):
        shop.rows()

    assert joining.MOST_SOURCE_ROWS > 1_000_000


def test_whether_to_send_is_asked_of_the_joined_rows(shop: Shop) -> None:
    for least, sent in ((2, True), (3, False)):
        condition = {"sql": f"SELECT count(*) >= {least} FROM orders o JOIN customers c ON c.id = o.customer"}
        report, _ = shop.rows(JOIN, SOURCES, send_if=condition)
        plan = shop.plan(JOIN, SOURCES, send_if=condition)
        judge = Judge(shop.repository, Digests(shop.hub), plan, tuple(report.results), shop.folder)
        assert (judge.judge().not_sent is None) is sent


def test_check_and_preview_know_the_sources(shop: Shop) -> None:
    shop.plan()
    preview = CliRunner().invoke(
        main, ["preview", "1", "--start", "2025-01-01", "--end", "2025-02-01", "--limit", "1"]
    )
    assert preview.exit_code == 0, preview.output
    assert "Budi" in preview.output
    assert CliRunner().invoke(main, ["check"]).exit_code == 0
    shop.plan(JOIN, {**SOURCES, "orders": {"datasource": 1, "query": "DROP TABLE orders"}})
    broken = CliRunner().invoke(main, ["check"])
    assert broken.exit_code == 1
    assert "report_configs 1, column parameters.sources.orders: DROP is not a query" in broken.output
