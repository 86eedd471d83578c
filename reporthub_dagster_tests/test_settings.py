from __future__ import annotations

from pathlib import Path

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import Settings, secret_of
from reporthub_dagster.sourcing import source_settings


def test_with_nothing_set_everything_is_local() -> None:
    settings = Settings.load({})
    assert settings.hub_url == f"sqlite:///{Path.cwd() / '.reporthub' / 'reporthub.db'}"
    assert settings.output_folder == Path.cwd() / ".reporthub" / "output"
    assert settings.smtp_host is None


def test_the_pieces_of_the_old_settings_make_a_url() -> None:
    settings = Settings.load(
        {"DB_HOST": "db", "DB_USER": "hub", "DB_PASSWORD": "p@ss/w:rd", "DB_NAME": "reports"}
    )
    assert settings.hub_url == "mysql+pymysql://hub:p%40ss%2Fw%3Ard@db:3306/reports?charset=utf8mb4"


def test_the_url_comes_before_the_pieces() -> None:
    settings = Settings.load({"DB_HOST": "db", "REPORTHUB_DATABASE_URL": "sqlite:///x.db"})
    assert settings.hub_url == "sqlite:///x.db"


def test_an_empty_value_is_not_set() -> None:
    assert Settings.load({"SMTP_PORT": "", "DB_HOST": ""}).smtp_port == 587


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_PORT", "0"),
        ("DB_PORT", "many"),
        ("DB_TIMEZONE", "Mars/Base"),
        ("SCHEDULER_TIMEZONE", "local"),
        ("SMTP_USE_TLS", "perhaps"),
        ("REPORTHUB_CATCH_UP", "never"),
        ("REPORTHUB_OVERLAP", "wait"),
        ("SCHEDULER_CHECK_INTERVAL_SECONDS", "0"),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: .*'{value}'"):
        Settings.load({name: value})


def test_secrets_are_not_shown() -> None:
    settings = Settings.load(
        {
            "DB_PASSWORD": "canary-7731",
            "SMTP_PASSWORD": "canary-7731",
            "REPORTHUB_DATABASE_URL": "canary-7731",
        }
    )
    assert "canary-7731" not in repr(settings)


def test_the_scheduler_ticks_no_faster_than_dagster_can() -> None:
    assert Settings.load({"SCHEDULER_CHECK_INTERVAL_SECONDS": "1"}).sensor_interval_seconds == 5
    assert Settings.load({"SCHEDULER_CHECK_INTERVAL_SECONDS": "60"}).sensor_interval_seconds == 60


def test_the_policy_of_reports_that_say_nothing_comes_from_the_environment() -> None:
    policy = Settings.load({"REPORTHUB_CATCH_UP": "all", "REPORTHUB_JITTER_SECONDS": "30"}).schedule_policy
    assert (policy.catch_up, policy.overlap, policy.jitter_seconds) == ("all", "queue", 30)


@pytest.mark.parametrize("name", ["REPORTHUB_DATABASE_URL", "SMTP_PASSWORD", "DAGSTER_MYSQL_URL"])
def test_a_row_cannot_name_the_passwords_of_the_installation(name: str) -> None:
    assert secret_of("PARTNER_API_KEY", {"PARTNER_API_KEY": "k"}) == "k"
    with pytest.raises(ConfigurationError, match="setting of ReportHub or Dagster") as raised:
        secret_of(name, {name: "canary-7731"})
    assert "canary" not in str(raised.value)


def test_a_row_cannot_name_the_databases_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    embedded = Settings.load({"REPORTHUB_HOME": str(tmp_path)})
    assert source_settings(embedded).own_files == (tmp_path / "dagster", tmp_path / "reporthub.db")
    monkeypatch.setenv("DAGSTER_HOME", "/srv/dagster")
    production = Settings.load({"REPORTHUB_DATABASE_URL": "mysql://u:p@h/d"})
    assert source_settings(production).own_files == (Path("/srv/dagster"),)
