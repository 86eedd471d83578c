"""The base of the connectors that speak SQL: the row read and checked, a connection of its own a query.

SQLAlchemy reads the URL and knows each driver's arguments. Its engine and pool stay out of the way: a pool
cannot hold a connection that serves one query, and its reset on return reads a cut result to the end.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reporthub_dagster.connectors.base import Connector, QueryLimits, ResultStream
from reporthub_dagster.connectors.source_url import TABLE, query_of, url_of
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.redaction import redact, secrets_of_options, secrets_of_url


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


OptionsT = TypeVar("OptionsT", bound=SQLOptions)


class SQLStream(ResultStream):
    """The result of one query of a SQL source.

    Args:
        connector: Whose query it is; translates the driver's errors.
        limits: What the query may use.
    """

    def __init__(self, connector: SQLConnector[Any], limits: QueryLimits) -> None:
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


class SQLConnector(Connector, Generic[OptionsT]):
    """A data source that SQLAlchemy knows how to reach.

    Args:
        source: Its row.

    Raises:
        ConfigurationError: The URL does not fit the kind, or an option has an impossible value.
    """

    schemes: ClassVar[frozenset[str]]
    """What a URL of this kind may begin with, before any `+driver`."""
    drivername: ClassVar[str]
    """SQLAlchemy's name of our dialect and driver, whatever driver the URL asks for."""
    options_model: ClassVar[type[SQLOptions]]
    driver_errors: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises; `UnicodeError`, for text that it cannot send, comes on top."""

    def __init__(self, source: DataSource) -> None:
        super().__init__(source)
        self._stream: SQLStream | None = None
        url = url_of(source, self.schemes)
        given = {**query_of(url), **source.options}
        self._url = url.set(drivername=self.drivername, query={})
        self._secrets = secrets_of_url(source.url) | secrets_of_options(given)
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

    @contextmanager
    def translated(self, limits: QueryLimits) -> Iterator[None]:
        """Turn the driver's errors into ours; the driver's own, which may quote secrets, do not travel on."""
        try:
            yield
        except self.driver_errors as error:
            failure = self.explain(error, limits)
        except UnicodeError:
            failure = PermanentError("a value of the query holds characters that no database can read")
        else:
            return
        raise failure from None

    def arguments(self) -> dict[str, Any]:
        """The driver's connect arguments for host, port, user, password and database."""
        dialect = self._url.get_dialect()()
        _, known = dialect.create_connect_args(self._url)
        return dict(known)

    def plain(self, error: object) -> str:
        """An error's words in one line, without secrets."""
        return redact(" ".join(str(error).split()), self._secrets)

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
            f"{key} is not usable: {first['msg']}",
            valid="correct or remove it",
            column=self._column_of(key),
        )

    def _column_of(self, key: str) -> str:
        return "connection_config" if key in self.source.options else "connection_url"


def _require_columns(schema: pa.Schema) -> None:
    if not schema.names:
        raise PermanentError("the statement returns no columns; a report needs one SELECT")
