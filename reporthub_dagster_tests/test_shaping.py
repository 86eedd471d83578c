"""A report's script over the spools of its queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reporthub_dagster.db.claims import LostClaimError
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.plan import make_plan
from reporthub_dagster.reporting.records import QueryResult, ReportPlan
from reporthub_dagster.shaping import Shaped, Shaping, check_script
from reporthub_dagster.storage.execution_folder import ExecutionFolder, SavedResult, is_ours
from reporthub_dagster.storage.spool import Spool, columns_of
from reporthub_dagster_tests.reporting.builders import config, window
from reporthub_dagster_tests.sandbox.conftest import kernel  # noqa: F401 - fails in CI where it is missing
from reporthub_dagster_tests.sandbox.running import write_spool

ROWS = pa.table({"v": [1, 2, 3]})


class Report:
    """A report whose queries have run."""

    def __init__(self, home: Path, *names: str) -> None:
        self.folder = ExecutionFolder(home / "e")
        self.folder.create()
        self.said: list[str] = []
        self.results = [self._read(position, name) for position, name in enumerate(names or ("",))]

    def _read(self, position: int, name: str) -> QueryResult:
        spool = write_spool(ROWS, self.folder.spool(position))
        result = QueryResult(spool, columns_of(ROWS.schema), ROWS.num_rows, False, 5, name=name)
        self.folder.save_result(SavedResult(result, "SELECT 1", {}), position)
        return result

    def shape(self, script: str, max_rows: int = 100, guard: Any = lambda _: nullcontext()) -> Shaped:
        shaping = Shaping(plan(script, max_rows), self.folder, {"day": "2026-01-31"}, guard, self.said.append)
        return shaping.shape(self.results)


def plan(script: Any, max_rows: int = 100) -> ReportPlan:
    row = config(parameters={"script": script})
    made = make_plan(
        execution_id="e",
        config=row,
        schedule_id=None,
        window=window(),
        overrides={},
        deliver="none",
        executed_by="x",
    )
    return type(made)(**{**{name: getattr(made, name) for name in made.__slots__}, "max_rows": max_rows})


def rows_of(result: QueryResult) -> dict[str, Any]:
    found: dict[str, Any] = Spool.open(result.spool).head(100).to_pydict()
    return found


def test_files_show_what_the_script_made(tmp_path: Path) -> None:
    report = Report(tmp_path)
    shaped = report.shape("print('seen')\nresult = data.assign(day=params['day'])[:2]")
    (result,) = shaped.results
    assert rows_of(result) == {"v": [1, 2], "day": ["2026-01-31"] * 2}
    assert [(column.name, column.type) for column in result.columns] == [("v", "int64"), ("day", "string")]
    assert (result.row_count, result.truncated, result.query_ms) == (2, False, 5)
    assert report.said == ["seen\n"]
    assert report.folder.load_results() == [result]
    assert is_ours(report.folder.path)


def test_a_script_runs_once(tmp_path: Path) -> None:
    report = Report(tmp_path)
    script = "print('seen')\nresult = data"
    first, second = report.shape(script), report.shape(script)
    assert (first.reused, second.reused) == (False, True)
    assert second.results == first.results
    assert report.said == ["seen\n"]


@pytest.mark.parametrize("change", ["script", "rows", "max_rows"])
def test_a_script_runs_again_when_what_it_depends_on_has_changed(tmp_path: Path, change: str) -> None:
    report = Report(tmp_path)
    report.shape("result = data")
    report.folder.manifest.write_text("{}")
    if change == "rows":
        write_spool(pa.table({"v": [7]}), report.folder.spool())
    script = "result = data * 2" if change == "script" else "result = data"
    again = report.shape(script, max_rows=2 if change == "max_rows" else 100)
    assert not again.reused
    assert not report.folder.manifest.exists(), "no file may be taken for one of these rows"


def test_a_query_that_runs_again_forgets_what_a_script_made(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.shape("result = data")
    report.folder.forget_result()
    assert report.folder.load_shape() is None


def test_a_script_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.shape("result = data[:1]")
    report.folder.manifest.write_text("{}")
    report.folder.forget_shape()
    assert report.folder.load_results() == report.results
    assert not report.folder.manifest.exists()


def test_of_several_queries_those_that_the_result_names_are_shaped(tmp_path: Path) -> None:
    report = Report(tmp_path, "A", "B")
    shaped = report.shape("result = {'B': data['A'] * 10}")
    assert shaped.results[0] == report.results[0]
    assert rows_of(shaped.results[1]) == {"v": [10, 20, 30]}
    assert shaped.results[1].name == "B"
    assert report.folder.load_results() == list(shaped.results)


def test_more_rows_than_the_report_may_have_are_cut_and_said(tmp_path: Path) -> None:
    shaped = Report(tmp_path).shape("result = pd.concat([data] * 2)", max_rows=4)
    assert (shaped.results[0].row_count, shaped.results[0].truncated) == (4, True)


def test_an_error_names_the_row_the_line_and_no_secret(tmp_path: Path) -> None:
    report = Report(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        report.shape("print('before')\nraise ValueError('mysql://me:hunter2@db/x')")
    words = str(caught.value)
    assert words == "report_configs 42, column parameters.script: line 2: ValueError: mysql://me:•••@db/x"
    assert report.said == ["before\n"]
    assert report.folder.load_shape() is None


def test_a_run_that_was_taken_over_ends_its_script(tmp_path: Path) -> None:
    @contextmanager
    def lost(stop: Callable[[], None]) -> Iterator[None]:
        stop()
        try:
            yield
        except ReportHubError:
            raise LostClaimError("taken over") from None

    with pytest.raises(LostClaimError):
        Report(tmp_path).shape("import time\ntime.sleep(60)\nresult = data", guard=lost)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (7, "column parameters.script: not a text (value 7)"),
        ("x" * 65_537, "column parameters.script: 65,537 bytes"),
        ("result = data\nfor (", "column parameters.script: line 2: SyntaxError: "),
        ("\0", "column parameters.script: "),
        ("-" * 60_000 + "1", "column parameters.script: "),
    ],
)
def test_what_is_no_script_is_refused_before_anything_runs(script: Any, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_script(plan(script))
    assert words in str(caught.value)


@pytest.mark.parametrize("script", [None, "", " \n", "raise SystemExit", "result = data"])
def test_checking_a_script_runs_nothing(script: Any) -> None:
    assert check_script(plan(script)) == ""


def test_without_the_kernels_bars_checking_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reporthub_dagster.sandbox.bars.missing", lambda: "no Landlock")
    assert check_script(plan("result = data")).endswith("scripts cannot be run safely here: no Landlock")
    monkeypatch.setenv("REPORTHUB_SCRIPT_RUNNER", "unix:/run/scripts.sock")
    assert check_script(plan("result = data")) == ""
    monkeypatch.setenv("REPORTHUB_SCRIPT_RUNNER", "somewhere")
    with pytest.raises(ConfigurationError, match="REPORTHUB_SCRIPT_RUNNER"):
        check_script(plan("result = data"))
