"""The base of connectors that ask through a driver: the row read and checked, a connection a query.

No pool and no engine of SQLAlchemy is in the way: a pool cannot hold a connection that serves one query, and
its reset on return reads a cut result to the end.
"""

from __future__ import annotations

import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reporthub_dagster.connectors.base import Connector, QueryLimits, ResultStream, TypeMisfit
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.source_url import TABLE, url_of
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError, plain_fault
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.redaction import redact, secrets_of_options, secrets_of_url, unforeseen

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>.+?) TO ")
_WRITING = re.compile(r"\b(?:ALL|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE(?! TEMPORARY)|TRUNCATE|FILE|SUPER)\b")


class SQLOptions(BaseModel):
    """What `connection_config` and the arguments of a URL may hold for every SQL source.

    Attributes:
        connect_timeout: Seconds to reach the server and be let in.
        pool_size: With `max_overflow` and `pool_recycle`: accepted, without effect.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    connect_timeout: float = Field(default=10.0, gt=0, le=3600)
    pool_size: Any = None
    max_overflow: Any = None
    pool_recycle: Any = None

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Nothing: options may hold secrets under any name."""
        return []


class QueryTimedOptions(SQLOptions):
    """Options of a kind that waits for as long as its query may run, and has texts in one encoding.

    Attributes:
        read_timeout: With `write_timeout` and `charset`: accepted, without effect.
    """

    read_timeout: Any = None
    write_timeout: Any = None
    charset: Any = None


OptionsT = TypeVar("OptionsT", bound=SQLOptions)


class SQLStream(ResultStream):
    """The result of one query of a SQL source.

    Args:
        connector: Whose query it is; translates the driver's errors.
        limits: What the query may use.
    """

    def __init__(self, connector: DriverConnector[Any], limits: QueryLimits) -> None:
        self._connector = connector
        self._limits = limits
        self._notes: tuple[str, ...] = ()
        self.schema = pa.schema([])

    @abstractmethod
    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """Send the query and set `schema`; may raise the driver's errors."""

    @abstractmethod
    def read(self) -> pa.RecordBatch | None:
        """The next batch, None after the last; may raise the driver's errors."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `ResultStream.batches`."""
        while True:
            with self._connector.translated(self._limits):
                batch = self.read()
            if batch is None:
                return
            yield batch


class DriverConnector(Connector, Generic[OptionsT]):
    """A data source that is asked through a driver whose exceptions become ours in one place.

    Args:
        source: Its row.
        settings: What the environment says.
        given: The options of the row, from wherever it has them; by default `connection_config`. Wherever
            they hold `{"env": "NAME"}`, the variable's value is meant.

    Raises:
        ConfigurationError: An option has an impossible value.
    """

    options_model: ClassVar[type[SQLOptions]]
    driver_errors: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises; `UnicodeError`, for text that it cannot send, comes on top."""

    def __init__(
        self,
        source: DataSource,
        settings: SourceSettings | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(source, settings)
        found: list[str] = []
        try:
            given = with_secrets(source.options if given is None else given, self.settings.secret, found)
        except ConfigurationError as error:
            raise error.located(table=TABLE, row=source.id) from None
        self._stream: SQLStream | None = None
        self._secrets = secrets_of_url(source.url) | secrets_of_options(given) | frozenset(found)
        self._options: OptionsT = self._checked(given)
        self.warnings = tuple(
            f"{TABLE} {source.id}, column {self._column_of(key)}: the unknown key {key!r} was passed over"
            for key in sorted(self._options.model_extra or {})
            if key not in self.driver_options()
        )

    def driver_options(self) -> frozenset[str]:
        """Options beyond `options_model` that the driver takes as they are."""
        return frozenset()

    @abstractmethod
    def connect(self, limits: QueryLimits) -> SQLStream:
        """Connect, make the session read-only and limited in time; nothing is sent yet.

        May raise the driver's errors, with the connection closed.
        """

    @abstractmethod
    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """Translate a driver's error; the one place of a kind where this is done."""

    @abstractmethod
    def version(self, limits: QueryLimits) -> str:
        """Run a trivial query on a new connection; returns product and version."""

    def open(
        self, query: BoundQuery, limits: QueryLimits, wider: Mapping[int, pa.Field] | None = None
    ) -> SQLStream:
        """See `Connector.open`."""
        with self.translated(limits):
            stream = self._stream = self.connect(limits)
            try:
                stream.send(query, wider or {})
                _require_columns(stream.schema)
            except BaseException:
                stream.abort()
                raise
        return stream

    def stop(self) -> None:
        """See `Connector.stop`."""
        if self._stream is not None:
            self._stream.stop()

    def check(self, timeout_seconds: float) -> str:
        """See `Connector.check`."""
        limits = QueryLimits(timeout_seconds, max_rows=1)
        with self.translated(limits):
            return self.version(limits)

    def writes(self, timeout_seconds: float) -> str:
        """See `Connector.writes`."""
        limits = QueryLimits(timeout_seconds, max_rows=1)
        with self.translated(limits):
            return self.grants(limits)

    def grants(self, limits: QueryLimits) -> str:
        """What `writes` returns; may raise the driver's errors."""
        del limits
        return ""

    @contextmanager
    def timing(self) -> Iterator[None]:
        """What `version` does while the server answers its trivial query."""
        started = time.perf_counter()
        yield
        self.answer_ms = (time.perf_counter() - started) * 1000

    @contextmanager
    def translated(self, limits: QueryLimits) -> Iterator[None]:
        """Turn the driver's errors into ours; the driver's own, which may quote secrets, do not travel on."""
        try:
            yield
        except self.driver_errors as error:
            failure = self.explain(error, limits)
        except UnicodeError:
            failure = PermanentError("a value of the query holds characters that no database can read")
        except (ReportHubError, TypeMisfit):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it may quote a password
            raise unforeseen(error, self._secrets) from None
        else:
            return
        raise failure from None

    def plain(self, error: object) -> str:
        """An error's words in one line, without secrets."""
        return " ".join(redact(str(error), self._secrets).split())

    def misconfigured(
        self, problem: str, *, valid: str, column: str = "connection_url"
    ) -> ConfigurationError:
        """An error that says which column of this source's row a person must change."""
        return ConfigurationError(problem, table=TABLE, row=self.source.id, column=column, valid=valid)

    def _checked(self, given: Mapping[str, Any]) -> OptionsT:
        present = {key: value for key, value in given.items() if value is not None and value != ""}
        try:
            options: Any = self.options_model(**present)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
        else:
            return cast("OptionsT", options)
        key = str(first["loc"][0])
        raise self.misconfigured(
            f"{'.'.join(map(str, first['loc']))} is not usable: {plain_fault(first['msg'])}",
            valid="correct or remove it",
            column=self._column_of(key),
        )

    def _column_of(self, key: str) -> str:
        return "connection_config" if key in self.source.options else "connection_url"


class SQLConnector(DriverConnector[OptionsT]):
    """A data source that a URL names, as SQLAlchemy would write it.

    Args:
        source: Its row.
        settings: What the environment says.

    Raises:
        ConfigurationError: The URL does not fit the kind, or an option has an impossible value.
    """

    schemes: ClassVar[frozenset[str]]
    """What a URL of this kind may begin with, before any `+driver`."""
    database_argument: ClassVar[str] = "database"
    """What the driver calls the database among its arguments."""

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        self._url = url_of(source, self.schemes)
        super().__init__(source, settings, {**self._url.query, **source.options})

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        return (Endpoint(self._url.host, self._url.port or 0),) if self._url.host else ()

    def arguments(self) -> dict[str, Any]:
        """The driver's connect arguments for host, port, user, password and database."""
        url = self._url
        known = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": url.password,
            self.database_argument: url.database,
        }
        return {name: value for name, value in known.items() if value}


def with_secrets(
    value: Any, secret: Callable[[str], str], found: list[str], place: str = "connection_config"
) -> Any:
    """A value of the row with its secrets in place; they are added to `found`.

    Raises:
        ConfigurationError: One cannot be had; names the column down to the key.
    """
    if isinstance(value, Mapping):
        if len(value) == 1 and isinstance(value.get("env"), str):
            try:
                found.append(secret(value["env"]))
            except ConfigurationError as error:
                raise error.located(column=place) from None
            return found[-1]
        return {key: with_secrets(inner, secret, found, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [with_secrets(inner, secret, found, f"{place}[{n}]") for n, inner in enumerate(value)]
    return value


def writing_grants(lines: Iterable[str]) -> str:
    """Those of `SHOW GRANTS` that let an account write, without the rest of their lines."""
    found = [one for line in lines if (one := _GRANT.match(line)) and _WRITING.search(one["what"])]
    return ", ".join(f"{one['what']} on {one['where']}" for one in found)


def writable_file(name: str) -> str:
    """What `writes` says of a database that is a file: who may write to it may change it."""
    return f"the file {name}" if os.access(name, os.W_OK) else ""


def _require_columns(schema: pa.Schema) -> None:
    if not schema.names:
        raise PermanentError("the statement returns no columns; a report needs one SELECT")
