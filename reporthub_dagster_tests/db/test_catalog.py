from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from reporthub_dagster.db.catalog import Catalog, Entry
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.report_checks import COMPARED
from reporthub_dagster_tests.go_api import GoApi


def test_a_report_keeps_the_key_of_its_first_name(hub: Hub, go: GoApi) -> None:
    catalog = Catalog(hub)
    assert catalog.keys({2: "Stock", 1: "Sales"}) == {2: "2-stock", 1: "1-sales"}
    assert catalog.keys({1: "Turnover", 3: "|||"}) == {1: "1-sales", 3: "3"}
    go.execute("UPDATE report_configs SET report_name = 'Turnover'")
    assert catalog.entry(1) == Entry("1-sales")


def test_the_first_runs_of_a_report_agree_on_its_key(hub: Hub, go: GoApi) -> None:
    names = [f"Name {number}" for number in range(4)]
    with ThreadPoolExecutor(5) as pool:
        keys = set(pool.map(lambda name: Catalog(hub).keys({1: name})[1], names))
        keys.add(pool.submit(lambda: Catalog(hub).entry(1).key).result())
    assert len(keys) == 1


def test_the_latest_counts_are_kept_once_an_execution(hub: Hub, go: GoApi) -> None:
    catalog = Catalog(hub)
    for number in range(30):
        assert catalog.made(1, f"e{number}", number) == "1-sales"
    catalog.made(1, "e28", 100)
    entry = catalog.entry(1)
    assert entry.row_counts[:3] == (("e28", 100), ("e29", 29), ("e27", 27))
    assert len(entry.row_counts) == COMPARED + 1
    assert [count for _, count in entry.others("e28")][:2] == [29, 27]


def test_a_row_that_cannot_be_read_hides_no_other_report(hub: Hub, go: GoApi) -> None:
    go.insert("report_configs", id=2, report_name="Bad", report_query="SELECT 2", datasource_id=1, max_rows=0)
    problems: list[object] = []
    (report,) = Catalog(hub).reports(problems.append)
    assert (report.key, report.config.name, report.source.name) == ("1-sales", "Sales", "sales")
    assert [schedule.cron_expression for schedule in report.schedules] == ["0 8 * * *"]
    assert [str(problem).split(":")[0] for problem in problems] == ["report_configs 2, column max_rows"]
