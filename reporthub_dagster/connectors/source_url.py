"""The URL of a `report_datasources` row, read the way existing rows write it: as SQLAlchemy does.

SQLAlchemy itself stays out: to import all of it for one function takes longer than a small report. A test
holds every part against its `make_url`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import DataSource

TABLE = "report_datasources"

_LAST_PORT = 65_535
_URL = re.compile(
    r"[\w+]+://"
    r"(?:(?P<username>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?"
    r"(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """The parts of a URL, unquoted; None where one is not there.

    Attributes:
        query: Argument → value; of those given more than once all values, as libpq wants them: `a,b`.
    """

    host: str | None
    port: int | None
    username: str | None
    password: str | None = field(repr=False)
    database: str | None
    query: dict[str, str] = field(repr=False)


def url_of(source: DataSource, schemes: frozenset[str]) -> SourceUrl:
    """The URL of a row, whatever driver it asks for.

    Args:
        source: The row.
        schemes: What the URL may begin with, before any `+driver`.

    Raises:
        ConfigurationError: It fits no scheme or cannot be read; the URL itself is not in the message.
    """
    text = require_scheme(source, schemes)
    try:
        url = _parts_of(text)
    except ValueError:
        problem = "the URL cannot be read"
    else:
        if "@" in (url.host or ""):
            problem = "the URL holds an @ too many"
        elif (url.port or 0) > _LAST_PORT:
            problem = f"there is no port {url.port}"
        else:
            return url
    raise _unusable(problem, source, schemes)


def require_scheme(source: DataSource, schemes: frozenset[str]) -> str:
    """The text of a row's URL, when it begins as its kind wants it.

    Raises:
        ConfigurationError: It does not; the URL itself is not in the message.
    """
    text = source.url.strip()
    scheme, separator, _ = text.partition("://")
    if separator and not schemes.isdisjoint({scheme.lower(), scheme.partition("+")[0].lower()}):
        return text
    raise _unusable(f"the URL does not fit {source.kind_column} {source.kind}", source, schemes)


def _parts_of(text: str) -> SourceUrl:
    """The parts of a URL's text; ValueError when it is none, or its port is no number."""
    found = _URL.match(text)
    if found is None:
        raise ValueError(text)
    query: dict[str, str] = {}
    for key, value in parse_qsl(found["query"] or ""):
        query[key] = f"{query[key]},{value}" if key in query else value
    username, password, database = (
        None if part is None else unquote(part) for part in found.group("username", "password", "database")
    )
    return SourceUrl(
        host=found["host"] or found["ipv6"],
        port=None if found["port"] is None else int(found["port"]),
        username=username,
        password=password,
        database=database,
        query=query,
    )


def _unusable(problem: str, source: DataSource, schemes: frozenset[str]) -> ConfigurationError:
    return ConfigurationError(
        problem,
        table=TABLE,
        row=source.id,
        column="connection_url",
        valid=f"it must begin with {' or '.join(f'{name}://' for name in sorted(schemes))} and have the form "
        "scheme://user:password@host:port/database, with @ : / in the password quoted as %40 %3A %2F",
    )
