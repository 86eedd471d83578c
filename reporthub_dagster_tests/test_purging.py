from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from reporthub_dagster.cli import main
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.uses import Use, Uses
from reporthub_dagster.definitions import wiring
from reporthub_dagster.purging import Fate, Purge, parse_age
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster_tests.go_api import GoApi

NOW = datetime.now(UTC)
OLD, YOUNG = NOW - timedelta(days=40), NOW - timedelta(days=20)
BEFORE = NOW - timedelta(days=30)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def execution(output: Path, changed: datetime = OLD, name: str = "") -> Path:
    """The folder of an execution as a run leaves it."""
    folder = ExecutionFolder(output / (name or str(uuid4())))
    folder.create()
    folder.spool().write_bytes(b"rows")
    folder.spool(1).write_bytes(b"more")
    (folder.path / "result.json").write_text("{}")
    (folder.files / "sales.csv").write_bytes(b"a\r\n")
    folder.manifest.write_text("{}")
    touch(folder.path, changed)
    return folder.path


def touch(folder: Path, changed: datetime) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (changed.timestamp(), changed.timestamp()), follow_symlinks=False)


def purge(output: Path, uses: dict[str, Use] | None = None, *, dry: bool = False) -> dict[str, Fate]:
    known = uses or {}
    look = Purge(output, lambda ids: {key: known[key] for key in ids if key in known}, BEFORE, dry)
    return {verdict.name: verdict.fate for verdict in look.run()}


def test_what_is_old_and_over_goes_and_nothing_else(output: Path) -> None:
    old, young, rewritten, needed, orphan = (execution(output) for _ in range(5))
    touch(rewritten, YOUNG)
    uses = {
        old.name: Use(False, OLD),
        young.name: Use(False, YOUNG),
        rewritten.name: Use(False, OLD),
        needed.name: Use(True, OLD),
    }
    assert purge(output, uses) == {
        old.name: "purged",
        young.name: "young",
        rewritten.name: "young",
        needed.name: "needed",
        orphan.name: "purged",
    }
    assert sorted(output.iterdir()) == sorted([young, rewritten, needed])


def test_a_dry_run_says_the_same_and_removes_nothing(output: Path) -> None:
    old = execution(output)
    (verdict,) = Purge(output, lambda _: {}, BEFORE, dry=True).run()
    assert (verdict.name, verdict.fate, verdict.bytes) == (old.name, "purged", 15)
    assert (old / "files" / "sales.csv").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "files" / "more").mkdir(),
        lambda folder: (folder / "photos").mkdir(),
        lambda folder: (folder / "files" / "link").symlink_to("/etc"),
        lambda folder: (folder / "spool-3.arrow").symlink_to("/etc/passwd"),
    ],
    ids=["a file", "a folder in files", "a folder", "a link in files", "a link"],
)
def test_a_folder_with_anything_of_somebody_else_is_left_alone(output: Path, spoil: object) -> None:
    folder = execution(output)
    assert callable(spoil)
    spoil(folder)
    touch(folder, OLD)
    assert purge(output, {folder.name: Use(False, OLD)}) == {folder.name: "foreign"}
    assert folder.exists()


def test_what_is_not_an_execution_is_left_alone(output: Path, tmp_path: Path) -> None:
    other = execution(output, name="backup")
    empty = output / str(uuid4())
    empty.mkdir()
    touch(empty, OLD)
    (output / "README").write_text("mine")
    real = execution(tmp_path)
    (output / str(uuid4())).symlink_to(real)
    assert purge(output) == {other.name: "foreign", empty.name: "foreign"}
    assert real.exists()
    assert len(list(output.iterdir())) == 4


def test_an_execution_that_is_started_anew_meanwhile_keeps_its_files(output: Path) -> None:
    folder = execution(output)
    answers = iter([Use(False, OLD), Use(True, OLD)])
    (verdict,) = Purge(output, lambda ids: {ids[0]: next(answers)}, BEFORE).run()
    assert verdict.fate == "needed"
    assert folder.exists()


def test_a_purge_that_died_is_finished_by_the_next(output: Path) -> None:
    folder = execution(output)
    folder.rename(output / f".{folder.name}.purged")
    assert purge(output) == {}
    assert list(output.iterdir()) == []


def test_without_an_output_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert purge(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("text", "age"),
    [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), (" 2W ", timedelta(weeks=2))],
)
def test_an_age_is_read(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "1.5d", "30 days", "999999w"])
def test_an_age_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="30d, 12h or 8w"):
        parse_age(text)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GoApi]:
    """An empty installation on the embedded default."""
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path))
    settings = Settings.load()
    hub = Hub(settings.hub_url, settings.hub_zone)
    hub.create_missing_tables()
    hub.close()
    go = GoApi(settings.hub_url)
    go.insert("report_datasources", id=1, name="s", connection_url="sqlite:///s", db_type="sqlite")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    yield go
    go.close()


def add(go: GoApi, output: Path, status: str, ended: datetime | None) -> Path:
    folder = execution(output)
    times = {} if ended is None else {"completed_at": ended.strftime("%Y-%m-%d %H:%M:%S")}
    started = OLD.strftime("%Y-%m-%d %H:%M:%S")
    go.insert(
        "report_executions",
        id=folder.name,
        config_id=1,
        status=status,
        started_at=started,
        executed_by="go",
        **times,
    )
    return folder


def test_the_command_keeps_rows_and_what_has_no_outcome(installed: GoApi, output: Path) -> None:
    gone = [add(installed, output, status, OLD) for status in ("completed", "failed", "cancelled")]
    kept = [add(installed, output, status, None) for status in ("queued", "running")]
    young = add(installed, output, "completed", YOUNG)
    for options in (["--dry-run"], []):
        result = CliRunner().invoke(main, ["purge", "--older-than", "30d", "--json", *options])
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        assert sorted(said.pop("purged")) == sorted(path.name for path in gone)
        assert said == {
            "dry_run": bool(options),
            "bytes": 45,
            "kept": {"young": 1, "needed": 2, "foreign": 0},
        }
    assert sorted(output.iterdir()) == sorted([*kept, young])
    assert len(installed.rows("SELECT id FROM report_executions")) == 6
    text = CliRunner().invoke(main, ["purge", "--older-than", "4w"])
    assert (text.exit_code, text.stdout) == (0, "")
    assert "0 folders, 0 bytes; kept: 1 young, 2 needed, 0 foreign" in text.stderr


def test_the_command_wants_an_age(installed: GoApi) -> None:
    assert CliRunner().invoke(main, ["purge"]).exit_code == 2
    assert CliRunner().invoke(main, ["purge", "--older-than", "soon"]).exit_code == 2


@pytest.mark.parametrize(("days", "is_gone"), [("30", True), ("0", False), ("", False)])
def test_the_daily_job_goes_by_the_setting(
    installed: GoApi, output: Path, monkeypatch: pytest.MonkeyPatch, days: str, *, is_gone: bool
) -> None:
    monkeypatch.setenv("REPORTHUB_KEEP_FILES_DAYS", days)
    folder = add(installed, output, "completed", OLD)
    assert wiring().resolve_job_def("purge_files").execute_in_process().success
    assert folder.exists() is not is_gone


def test_uses_are_asked_in_the_hubs_own_zone(installed: GoApi, output: Path) -> None:
    folder = add(installed, output, "completed", YOUNG)
    settings = Settings.load()
    hub = Hub(settings.hub_url, settings.hub_zone)
    (use,) = Uses(hub).of([folder.name, *(str(uuid4()) for _ in range(600))]).values()
    hub.close()
    assert use == Use(False, YOUNG.replace(microsecond=0))
