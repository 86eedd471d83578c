"""The shared database's clock: the one that several schedulers and machines agree on."""

from __future__ import annotations

from datetime import UTC, datetime

from reporthub_dagster.db.session import Hub

_NOW = {
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%S', 'now')",
    "mysql": "SELECT CAST(UTC_TIMESTAMP() AS CHAR)",
    "postgresql": "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')",
}


def database_now(hub: Hub) -> datetime:
    """Now by the database's clock, in UTC, whole seconds.

    Raises:
        ConfigurationError, TransientError: As `Hub.begin`.
    """
    # As text: what a driver makes of a timestamp depends on the session's zone.
    with hub.begin() as connection:
        text = connection.exec_driver_sql(_NOW[_family(hub)]).scalar_one()
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _family(hub: Hub) -> str:
    name = hub.engine.dialect.name
    return "mysql" if name == "mariadb" else name
