"""The database's own clock, in UTC: what leases are judged by, whatever the clocks of the machines say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Float, bindparam, select
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

UTC_MOMENT = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
"""A moment in UTC. Not a TIMESTAMP: the hub's wall time is ambiguous for an hour every autumn."""


_SECONDS = Float()
"""One object: SQLAlchemy works out anew what each new type means for its cache of statements."""


class utc_ago(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function that it is
    """The moment so many seconds ago, by the database's clock.

    Args:
        seconds: Zero for now.
    """

    type = DateTime()
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(bindparam("seconds", seconds, type_=_SECONDS, unique=True))


@compiles(utc_ago)
def _sqlite(element: utc_ago, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', (-({seconds})) || ' seconds')"


@compiles(utc_ago, "mysql", "mariadb")
def _mysql(element: utc_ago, compiler: Any, **options: Any) -> str:
    return f"(UTC_TIMESTAMP(6) - INTERVAL {compiler.process(element.clauses, **options)} SECOND)"


@compiles(utc_ago, "postgresql")
def _postgresql(element: utc_ago, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(timezone('utc', clock_timestamp()) - make_interval(secs => {seconds}))"


def now_of(connection: Connection) -> datetime:
    """Now by the database's clock, in UTC, whole seconds, within a transaction."""
    moment: datetime = connection.execute(select(utc_ago())).scalar_one()
    return moment.replace(tzinfo=UTC, microsecond=0)
