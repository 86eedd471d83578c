"""The environment, read once and validated; the names are those of docs/operations.md."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from sqlalchemy import URL

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.network.egress import Mode as EgressMode
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.redaction import revealed
from reporthub_dagster.reporting.schedule_policy import (
    MOST_GRACE_MINUTES,
    MOST_JITTER_SECONDS,
    CatchUp,
    Overlap,
    SchedulePolicy,
)

CHECK_INTERVAL = "SCHEDULER_CHECK_INTERVAL_SECONDS"
BACKFILL_DAYS = "REPORTHUB_BACKFILL_DAYS"
DEFAULT_TIMEZONE = "SCHEDULER_TIMEZONE"
_LEAST_INTERVAL_SECONDS = 5
"""How often Dagster's daemon looks at its sensors; asking for more is asking for this."""
_NAME_LIMIT = 100


_zones = cache(available_timezones)
"""They stand in hundreds of files: read once a process, since settings are loaded many times a run."""


class Settings(BaseModel):
    """What an operator may set; every field's alias is the name of its environment variable.

    With none of them set everything runs on the embedded default: SQLite and local folders under
    `REPORTHUB_HOME`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    home: Path = Field(Path(".reporthub"), alias="REPORTHUB_HOME")
    database_url: SecretStr | None = Field(None, alias="REPORTHUB_DATABASE_URL")
    db_host: str | None = Field(None, alias="DB_HOST")
    db_port: int = Field(3306, alias="DB_PORT", ge=1, le=65535)
    db_user: str | None = Field(None, alias="DB_USER")
    db_password: SecretStr | None = Field(None, alias="DB_PASSWORD")
    db_name: str | None = Field(None, alias="DB_NAME")
    db_timezone: str = Field("UTC", alias="DB_TIMEZONE")
    output_path: Path | None = Field(None, alias="REPORT_OUTPUT_PATH")
    default_timezone: str = Field("UTC", alias=DEFAULT_TIMEZONE)
    query_timeout_seconds: int | None = Field(None, alias="QUERY_TIMEOUT_SECONDS", ge=1)
    script_timeout_seconds: int = Field(300, alias="SCRIPT_TIMEOUT", ge=1, le=86_400)
    script_memory_mb: int = Field(2048, alias="REPORTHUB_SCRIPT_MEMORY_MB", ge=64, le=1_000_000)
    script_runner: str = Field("", alias="REPORTHUB_SCRIPT_RUNNER")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="LOG_LEVEL")
    smtp_host: str | None = Field(None, alias="SMTP_HOST")
    smtp_port: int = Field(587, alias="SMTP_PORT", ge=1, le=65535)
    smtp_user: str | None = Field(None, alias="SMTP_USER")
    smtp_password: SecretStr | None = Field(None, alias="SMTP_PASSWORD")
    smtp_from_email: str | None = Field(None, alias="SMTP_FROM_EMAIL")
    smtp_use_tls: bool = Field(True, alias="SMTP_USE_TLS")
    smtp_ca_file: Path | None = Field(None, alias="REPORTHUB_SMTP_CA_FILE")
    redirect_all_mail_to: str | None = Field(None, alias="REPORTHUB_REDIRECT_ALL_MAIL_TO")
    mail_allowed_domains: str = Field("", alias="REPORTHUB_MAIL_ALLOWED_DOMAINS")
    mail_limit_mb: float = Field(20.0, alias="REPORTHUB_MAIL_LIMIT_MB", gt=0, le=150)
    egress: EgressMode = Field("default", alias="REPORTHUB_EGRESS")
    egress_allow: str = Field("", alias="REPORTHUB_EGRESS_ALLOW")
    file_roots: str = Field("", alias="REPORTHUB_FILE_ROOTS")
    fetch_limit_mb: int = Field(2_000, alias="REPORTHUB_FETCH_LIMIT_MB", ge=1, le=1_000_000)
    fetch_timeout_seconds: float = Field(30.0, alias="API_FETCH_TIMEOUT", gt=0, le=3600)
    engine_memory_mb: int = Field(512, alias="REPORTHUB_ENGINE_MEMORY_MB", ge=64, le=1_000_000)
    broker_url: SecretStr | None = Field(None, alias="REPORTHUB_BROKER_URL")
    sftp_unknown_hosts: Literal["pin", "refuse"] = Field("pin", alias="REPORTHUB_SFTP_UNKNOWN_HOSTS")
    breaker_failures: int = Field(3, alias="REPORTHUB_BREAKER_FAILURES", ge=0, le=1000)
    breaker_pause_seconds: float = Field(30.0, alias="REPORTHUB_BREAKER_PAUSE_SECONDS", ge=1, le=3600)
    breaker_hours: float = Field(24.0, alias="REPORTHUB_BREAKER_HOURS", gt=0, le=24 * 30)
    crash_retries: int = Field(1, alias="REPORTHUB_CRASH_RETRIES", ge=0, le=100)
    operator_email: str | None = Field(None, alias="REPORTHUB_OPERATOR_EMAIL")
    ui_url: str | None = Field(None, alias="REPORTHUB_UI_URL")
    files_url: str | None = Field(None, alias="REPORTHUB_FILES_URL", pattern="^https?://")
    keep_files_days: int = Field(400, alias="REPORTHUB_KEEP_FILES_DAYS", ge=0, le=36_500)
    strict: bool = Field(False, alias="REPORTHUB_STRICT")
    check_interval_seconds: int = Field(10, alias=CHECK_INTERVAL, ge=1, le=3600)
    scheduler_name: str = Field(
        default_factory=lambda: socket.gethostname()[:_NAME_LIMIT],
        alias="REPORTHUB_SCHEDULER_NAME",
        max_length=_NAME_LIMIT,
    )
    executed_by: str = Field("", alias="REPORTHUB_EXECUTED_BY")
    late_minutes: int = Field(30, alias="REPORTHUB_LATE_MINUTES", ge=1, le=7 * 24 * 60)
    keep_days: int = Field(400, alias="REPORTHUB_KEEP_DAYS", ge=7, le=36_500)
    catch_up: CatchUp = Field("latest", alias="REPORTHUB_CATCH_UP")
    misfire_grace_minutes: int = Field(
        60, alias="REPORTHUB_MISFIRE_GRACE_MINUTES", ge=0, le=MOST_GRACE_MINUTES
    )
    overlap: Overlap = Field("queue", alias="REPORTHUB_OVERLAP")
    jitter_seconds: int = Field(0, alias="REPORTHUB_JITTER_SECONDS", ge=0, le=MOST_JITTER_SECONDS)
    backfill_days: int = Field(400, alias=BACKFILL_DAYS, ge=1, le=10_000)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("db_timezone", "default_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in _zones():
            raise ValueError("not an IANA time zone such as Asia/Jakarta or UTC")
        return name

    @field_validator("egress_allow")
    @classmethod
    def _networks_and_hosts(cls, text: str) -> str:
        EgressPolicy.parse("default", text)
        return text

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the environment; an empty value counts as not set.

        Raises:
            ConfigurationError: A variable's value is not valid; names the variable.
        """
        try:
            return cls.model_validate({name: value for name, value in environment.items() if value != ""})
        except ValidationError as invalid:
            first = invalid.errors(include_url=False)[0]
            name = str(first["loc"][0])
            shown = None if "PASSWORD" in name or "URL" in name else first["input"]
            raise ConfigurationError(
                "the setting is not valid", column=name, value=shown, valid=first["msg"]
            ) from None

    @property
    def hub_url(self) -> str:
        """SQLAlchemy URL of the shared database; holds its password."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if not self.db_host:
            return f"sqlite:///{self.home.absolute() / 'reporthub.db'}"
        return URL.create(
            "mysql+pymysql",
            username=self.db_user,
            password=revealed(self.db_password),
            host=self.db_host,
            port=self.db_port,
            database=self.db_name,
            query={"charset": "utf8mb4"},
        ).render_as_string(hide_password=False)

    @property
    def hub_zone(self) -> ZoneInfo:
        """Zone of the wall times in the shared database."""
        return ZoneInfo(self.db_timezone)

    @property
    def schedule_policy(self) -> SchedulePolicy:
        """What holds for reports that say nothing in `parameters.schedule`."""
        return SchedulePolicy(
            catch_up=self.catch_up,
            misfire_grace_minutes=self.misfire_grace_minutes,
            overlap=self.overlap,
            jitter_seconds=self.jitter_seconds,
        )

    @classmethod
    def load_only(cls, *names: str) -> Self:
        """As `load`, of a few variables: what Dagster needs when it loads the definitions.

        Raises:
            ConfigurationError: One of them is not valid.
        """
        return cls.load({name: os.environ.get(name, "") for name in names})

    @property
    def egress_policy(self) -> EgressPolicy:
        """Where deliveries may connect to."""
        return EgressPolicy.parse(self.egress, self.egress_allow)

    @property
    def breaker_policy(self) -> BreakerPolicy:
        """When a server of deliveries counts as away."""
        return BreakerPolicy(
            failures=self.breaker_failures,
            pause_seconds=self.breaker_pause_seconds,
            most_hours=self.breaker_hours,
        )

    @property
    def sensor_interval_seconds(self) -> int:
        """Seconds between two ticks of the scheduler."""
        return max(self.check_interval_seconds, _LEAST_INTERVAL_SECONDS)

    @property
    def output_folder(self) -> Path:
        """Folder that holds one folder per execution."""
        return (self.output_path or self.home / "output").absolute()

    @property
    def dagster_home(self) -> Path:
        """Folder of the embedded Dagster instance."""
        return (self.home / "dagster").absolute()


def secret_of(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """A secret that a row names by the environment variable that holds it.

    Raises:
        ConfigurationError: It is not set, or it is a setting of ReportHub's or Dagster's own.
    """
    if variable.startswith("DAGSTER_") or variable in {f.alias for f in Settings.model_fields.values()}:
        raise ConfigurationError(
            "this variable is a setting of ReportHub or Dagster",
            value=variable,
            valid="give it one of its own",
        )
    value = environment.get(variable, "")
    if not value:
        raise ConfigurationError(
            "the environment variable is not set",
            value=variable,
            valid="set it where reports run",
        )
    return value
