"""The URL of a `report_datasources` row, read the way existing rows write it."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import DataSource

TABLE = "report_datasources"


def url_of(source: DataSource, schemes: frozenset[str]) -> URL:
    """The URL of a row, whatever driver it asks for.

    Args:
        source: The row.
        schemes: What the URL may begin with, before any `+driver`.

    Raises:
        ConfigurationError: It fits no scheme or cannot be read; the URL itself is not in the message.
    """
    text = source.url.strip()
    scheme, separator, _ = text.partition("://")
    problem = ""
    if not separator or scheme.partition("+")[0].lower() not in schemes:
        problem = f"the URL does not fit db_type {source.kind}"
    else:
        try:
            url = make_url(text)
        except (SQLAlchemyError, ValueError):
            problem = "the URL cannot be read"
        else:
            if "@" not in (url.host or ""):
                return url
            problem = "the URL holds an @ too many"
    raise ConfigurationError(
        problem,
        table=TABLE,
        row=source.id,
        column="connection_url",
        valid=f"it must begin with {' or '.join(f'{name}://' for name in sorted(schemes))} and have the form "
        "scheme://user:password@host:port/database, with @ : / in the password quoted as %40 %3A %2F",
    )


def query_of(url: URL) -> dict[str, str]:
    """The arguments of a URL; of those given more than once, all, as libpq wants them."""
    return {key: value if isinstance(value, str) else ",".join(value) for key, value in url.query.items()}
