"""From rows to files without a run: which files there are, what is in them, when they are made again."""

from __future__ import annotations

import gc
import gzip
import json
import resource
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
import stream_unzip
from click.testing import CliRunner

from reporthub_dagster.cli import main
from reporthub_dagster.connectors.base import Connector, QueryLimits
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import ReportRows, read_rows
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.rendering import write_files
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import RenderedFile, ReportPlan
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder, is_ours
from reporthub_dagster.storage.manifest import read_manifest
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.installation import QUERY, create_tables, fill_sqlite

NOW = datetime(2025, 1, 31, 8, 0, tzinfo=UTC)
TOTALS = "SELECT t.status, count(*) AS orders FROM trx t GROUP BY t.status ORDER BY 1"
LIST = "SELECT t.trx_id, t.amount FROM trx t ORDER BY t.trx_id"
pytestmark = pytest.mark.filterwarnings("ignore:PBKDF2 without:DeprecationWarning")


class Making:
    """A report on its way to its files, outside a run."""

    def __init__(self, home: Path, folder: str = "e") -> None:
        settings = Settings.load()
        self.home = home
        self.hub = Hub(settings.hub_url, ZoneInfo("UTC"))
        self.go = GoApi(settings.hub_url)
        self.repository = Repository(self.hub)
        self.folder = ExecutionFolder(home / "output" / folder)

    def close(self) -> None:
        self.hub.close()
        self.go.close()

    def drop_source(self) -> None:
        """Whoever queries the data again fails."""
        with closing(sqlite3.connect(self.home / "sales.db")) as database:
            database.execute("DROP TABLE trx")

    def elsewhere(self, **parameters: Any) -> tuple[RenderedFile, ...]:
        """The files of another execution of the same report."""
        other = Making(self.home, "other")
        files = other.files(**parameters)
        other.close()
        return files

    def plan(self, **parameters: Any) -> ReportPlan:
        self.go.execute(
            "UPDATE report_configs SET parameters = :p, file_name = 'sales'", p=json.dumps(parameters)
        )
        return plan_report(
            self.repository,
            ReportRequest(1),
            execution_id="e",
            now=NOW,
            default_timezone="UTC",
        )

    def rows(self, plan: ReportPlan) -> ReportRows:
        return read_rows(plan, self.repository, self.folder, lambda _: None)

    def files(self, **parameters: Any) -> tuple[RenderedFile, ...]:
        plan = self.plan(**parameters)
        return write_files(plan, self.rows(plan).results, self.folder)

    @property
    def visible(self) -> list[str]:
        return sorted(path.name for path in self.folder.files.iterdir())


@pytest.fixture
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Making]:
    """A report of seven rows on the embedded default; nothing of Dagster."""
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path))
    fill_sqlite(tmp_path / "sales.db")
    create_tables()
    made = Making(tmp_path)
    url = f"sqlite:///{tmp_path / 'sales.db'}"
    made.go.insert("report_datasources", id=1, name="sales", connection_url=url, db_type="sqlite")
    made.go.insert("report_configs", id=1, report_name="Sales", report_query=QUERY, datasource_id=1)
    yield made
    made.close()


def test_one_query_gives_a_file_of_every_format(making: Making) -> None:
    files = making.files(formats=["xlsx", "csv", "json"], format={})
    assert [(file.name, file.format, file.row_count) for file in files] == [
        ("sales.xlsx", "xlsx", 7),
        ("sales.csv", "csv", 7),
        ("sales.json", "json", 7),
    ]
    assert read_manifest(making.folder) == files
    assert making.visible == ["sales.csv", "sales.json", "sales.xlsx"]


def test_an_option_for_one_format_is_remarked_on_by_no_other(making: Making) -> None:
    files = making.files(formats=["csv", "pdf"], format={"delimiter": ";", "compression": "zstd"})
    told = [warning for file in files for warning in file.warnings]
    assert told == [
        "parameters.format.compression has no effect in csv",
        "parameters.format.compression has no effect in pdf",
    ]


def test_a_format_that_nobody_knows_is_named_by_its_place(making: Making) -> None:
    with pytest.raises(
        ConfigurationError, match=r"report_configs 1, column parameters\.formats\[1\].*'docx'"
    ):
        making.plan(formats=["csv", "docx"])


def test_each_query_is_a_sheet_or_a_file_of_its_own(making: Making) -> None:
    files = making.files(formats=["xlsx", "csv"], queries={"Totals": TOTALS, "All orders": LIST})
    book = openpyxl.load_workbook(files[0].path)
    assert book.sheetnames == ["Totals", "All orders"]
    assert [(file.name, file.row_count) for file in files] == [
        ("sales.xlsx", 10),
        ("sales_Totals.csv", 3),
        ("sales_All orders.csv", 7),
    ]
    assert files[1].path.read_text() == "status,orders\nFAILED,1\nPAID,5\nSETTLED,1\n"


def test_the_conditions_of_the_report_hold_for_every_query(making: Making) -> None:
    only = [{"field": "t.status", "operator": "=", "value": "PAID"}]
    own = {"sql": LIST, "filters": [{"field": "t.merchant_id", "operator": "=", "value": "M-78"}]}
    files = making.files(
        queries={"Totals": TOTALS, "All": own, "None": {"sql": LIST, "filters": None}}, filters=only
    )
    assert files[0].path.read_text() == "status,orders\nPAID,5\n"
    assert [file.row_count for file in files] == [1, 1, 7]


def test_only_the_query_that_failed_runs_again(making: Making) -> None:
    plan = making.plan(queries={"One": LIST, "Two": "SELECT nope FROM trx t"})
    with pytest.raises(ConfigurationError, match=r"parameters\.queries\.Two"):
        making.rows(plan)
    first = making.folder.spool().stat().st_mtime_ns
    rows = making.rows(making.plan(queries={"One": LIST, "Two": TOTALS}))
    assert [query.reused for query in rows.queries] == [True, False]
    making.drop_source()
    again = making.rows(making.plan(queries={"One": LIST, "Two": TOTALS}))
    assert [query.reused for query in again.queries] == [True, True]
    assert [result.name for result in again.results] == ["One", "Two"]
    assert making.folder.spool().stat().st_mtime_ns == first


def test_max_rows_holds_for_each_query(making: Making) -> None:
    making.go.execute("UPDATE report_configs SET max_rows = 4")
    totals, orders = making.files(queries={"Totals": TOTALS, "Orders": LIST})
    assert (totals.row_count, totals.truncated) == (3, False)
    assert (orders.row_count, orders.truncated) == (4, True)


def test_the_time_limit_holds_for_all_queries_together(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[QueryLimits] = []
    spool = Connector.spool

    def watched(self: Connector, query: Any, path: Path, limits: QueryLimits, *rest: Any) -> Any:
        seen.append(limits)
        return spool(self, query, path, limits, *rest)

    monkeypatch.setattr(Connector, "spool", watched)
    making.go.execute("UPDATE report_configs SET timeout_seconds = 60")
    making.rows(making.plan(queries={"One": LIST, "Two": TOTALS, "Three": LIST}))
    assert [limits.timeout_seconds for limits in seen] == [60, 60, 60]
    assert 0 <= seen[0].spent_seconds < seen[1].spent_seconds < seen[2].spent_seconds < 60


def test_columns_that_no_query_has_are_told_once(making: Making) -> None:
    queries = {"Totals": TOTALS, "Orders": LIST}
    first, *_ = making.files(queries=queries, display_columns=["trx_id", "status", "nonsense"])
    assert first.warnings == ("display_columns: the result has no column nonsense",)


def test_whole_files_are_not_made_again(making: Making) -> None:
    files = making.files(formats=["csv", "pdf"])
    before = {path: path.stat().st_ino for path in making.folder.files.iterdir()}
    assert making.files(formats=["csv", "pdf"]) == files
    assert {path: path.stat().st_ino for path in making.folder.files.iterdir()} == before


@pytest.mark.parametrize("spoil", ["changed", "gone", "no manifest"])
def test_files_that_are_not_whole_are_made_again_with_the_same_bytes(making: Making, spoil: str) -> None:
    files = making.files(formats=["csv", "xlsx", "json", "pdf"])
    bytes_of = {file.name: file.path.read_bytes() for file in files}
    if spoil == "changed":
        files[1].path.write_bytes(b"else")
    elif spoil == "gone":
        files[1].path.unlink()
    else:
        making.folder.manifest.unlink()
    assert making.files(formats=["csv", "xlsx", "json", "pdf"]) == files
    assert {path.name: path.read_bytes() for path in making.folder.files.iterdir()} == bytes_of


def test_other_settings_give_other_files_and_leave_none_of_the_old(making: Making) -> None:
    making.files(formats=["csv"])
    making.files(formats=["csv", "json"])
    (file,) = making.files(formats=["csv"], format={"delimiter": ";"})
    assert file.path.read_text().startswith("trx_id;")
    assert file.options == {"delimiter": ";"}
    assert making.visible == ["sales.csv"]
    (file,) = making.files(formats=["csv"], format={"delimiter": "|"})
    assert file.path.read_text().startswith("trx_id|")


def test_a_query_that_runs_again_unmakes_the_manifest_first(making: Making) -> None:
    making.files()
    making.go.execute("UPDATE report_configs SET report_query = 'SELECT nope FROM trx t'")
    with pytest.raises(ConfigurationError):
        making.files()
    assert not making.folder.manifest.exists()
    assert making.folder.load_result() is None


def test_rows_that_a_purge_took_are_asked_for_by_name(making: Making) -> None:
    plan = making.plan()
    results = making.rows(plan).results
    making.folder.spool().unlink()
    with pytest.raises(PermanentError, match=r"gone.*run the report again"):
        write_files(plan, results, making.folder)


@pytest.mark.parametrize("output_format", ["csv", "xlsx", "json", "pdf"])
def test_a_report_without_rows_has_its_files_with_their_header(making: Making, output_format: str) -> None:
    making.go.execute("UPDATE report_configs SET report_query = :sql", sql=f"{LIST} LIMIT 0")
    (file,) = making.files(formats=[output_format])
    assert (file.row_count, file.truncated) == (0, False)
    if output_format == "csv":
        assert file.path.read_text() == "trx_id,amount\n"
    if output_format == "xlsx":
        values = [cell.value for row in openpyxl.load_workbook(file.path).active for cell in row]
        assert values[-2:] == ["trx_id", "amount"]
    if output_format == "json":
        assert json.loads(file.path.read_bytes()) == []
    if output_format == "pdf":
        assert file.path.read_bytes().startswith(b"%PDF-")


def test_gzip_packs_each_file(making: Making) -> None:
    plain = making.elsewhere(formats=["csv", "json"])
    packed = making.files(formats=["csv", "json"], compress="gzip")
    assert [(file.name, file.format, file.media_type, file.row_count) for file in packed] == [
        ("sales.csv.gz", "csv", "application/gzip", 7),
        ("sales.json.gz", "json", "application/gzip", 7),
    ]
    assert [gzip.decompress(file.path.read_bytes()) for file in packed] == [
        file.path.read_bytes() for file in plain
    ]
    assert sorted(path.name for path in making.folder.path.iterdir()) == [
        *("files", "manifest.json", "result.json", "spool.arrow")
    ]


def test_zip_packs_all_files_and_the_same_rows_give_the_same_bytes(making: Making) -> None:
    wanted: dict[str, Any] = {
        "formats": ["xlsx", "csv"],
        "queries": {"A": LIST, "B": TOTALS},
        "compress": "zip",
    }
    (file,) = making.files(**wanted)
    assert (file.name, file.format, file.media_type) == ("sales.zip", "zip", "application/zip")
    assert file.row_count == 10
    with zipfile.ZipFile(file.path) as archive:
        assert archive.namelist() == ["sales.xlsx", "sales_A.csv", "sales_B.csv"]
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(2025, 1, 31, 8, 0, 0)}
    (other,) = making.elsewhere(**wanted)
    assert other.sha256 == file.sha256


def test_a_zip_with_a_password_opens_with_it_and_is_not_made_again(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_ZIP", "canary-7731")
    wanted = {"compress": {"method": "zip", "password": {"env": "SALES_ZIP"}}}
    (file,) = making.files(**wanted)
    content = stream_unzip.stream_unzip([file.path.read_bytes()], password=b"canary-7731")
    ((name, _, pieces),) = [(name, size, b"".join(pieces)) for name, size, pieces in content]
    assert (name, pieces[:7]) == (b"sales.csv", b"trx_id,")
    assert making.files(**wanted) == (file,)
    kept = b"".join(path.read_bytes() for path in making.folder.path.rglob("*") if path.is_file())
    assert b"canary-7731" not in kept


@pytest.mark.parametrize(
    ("variable", "problem"), [("UNSET_7731", "not set"), ("SMTP_PASSWORD", "is a setting")]
)
def test_a_password_that_is_not_there_is_told_before_anything_is_made(
    making: Making, variable: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"parameters\.compress\.password.*{problem}"):
        making.files(compress={"method": "zip", "password": {"env": variable}})
    assert making.visible == []


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The archive of the xlsx library says once more, when it is collected, that the disk was full.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("compress", [None, "gzip", "zip"])
@pytest.mark.parametrize("output_format", RENDERERS.kinds())
def test_a_full_disk_leaves_no_part_of_a_file(
    making: Making, output_format: str, compress: str | None
) -> None:
    wanted = {"formats": [output_format], "compress": compress}
    plan = making.plan(**wanted)
    results = making.rows(plan).results
    with pytest.raises(OSError, match="File too large"), full_disk(16):
        write_files(plan, results, making.folder)
    gc.collect()
    assert making.visible == []
    assert not making.folder.manifest.exists()
    making.drop_source()
    (file,) = making.files(**wanted)
    assert file.row_count == 7
    assert [path.name for path in making.folder.path.rglob("*.part")] == []


def test_a_disk_that_is_full_for_the_second_file_gives_no_manifest(making: Making) -> None:
    plan = making.plan(formats=["csv", "pdf"])
    results = making.rows(plan).results
    with pytest.raises(OSError, match="File too large"), full_disk(2_000):
        write_files(plan, results, making.folder)
    assert making.visible == ["sales.csv"]
    assert not making.folder.manifest.exists()
    assert [file.name for file in write_files(plan, results, making.folder)] == ["sales.csv", "sales.pdf"]


@pytest.mark.parametrize(
    ("parameters", "column"),
    [
        ({"formats": ["csv", "docx"]}, "parameters.formats[1]"),
        ({"formats": []}, "parameters.formats"),
        ({"queries": {"A": LIST, "B": "SELECT {{nope}}"}}, "parameters.queries.B"),
        ({"queries": {"A/B": LIST}}, "parameters.queries.A/B"),
        ({"compress": "rar"}, "parameters.compress"),
        ({"compress": {"method": "zip", "password": {"env": "UNSET_7731"}}}, "parameters.compress.password"),
    ],
)
def test_check_names_what_is_wrong_with_the_files(
    making: Making, parameters: dict[str, Any], column: str
) -> None:
    making.go.execute("UPDATE report_configs SET parameters = :p", p=json.dumps(parameters))
    result = CliRunner().invoke(main, ["check", "--json"])
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["text"].startswith(f"report_configs 1, column {column}: ")


def test_preview_shows_every_query(making: Making) -> None:
    making.plan(queries={"Totals": TOTALS, "Orders": LIST}, formats=["xlsx", "csv"])
    found = json.loads(CliRunner().invoke(main, ["preview", "1", "--limit", "2", "--json"]).stdout)
    assert found["formats"] == ["xlsx", "csv"]
    assert [(query["name"], len(query["rows"]), query["more_rows"]) for query in found["queries"]] == [
        ("Totals", 2, True),
        ("Orders", 2, True),
    ]
    text = CliRunner().invoke(main, ["preview", "1"]).stdout
    assert "query    Totals" in text
    assert "query    Orders" in text


def test_the_folder_tells_a_reader_everything(making: Making) -> None:
    making.files(formats=["csv"])
    (entry,) = json.loads((making.folder.path / "manifest.json").read_bytes())["files"]
    assert (Path(making.folder.files / entry["name"]).stat().st_size, entry["row_count"]) == (
        entry["size"],
        7,
    )
    assert is_ours(making.folder.path)
