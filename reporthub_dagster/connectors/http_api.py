"""An HTTP API as a data source: its pages of JSON become the table `data`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import duckdb
import httpx
from pydantic import Field, SecretStr

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.documents import write_documents
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.file_places import RowPlace, filled_path
from reporthub_dagster.connectors.http_fetch import Answered, Ask, HttpFetcher, host_of
from reporthub_dagster.connectors.http_files import HttpFiles
from reporthub_dagster.connectors.http_settings import Auth, Pages, request_headers
from reporthub_dagster.connectors.json_rows import rows_in, value_at
from reporthub_dagster.connectors.nested import Document
from reporthub_dagster.connectors.nested_values import declared_field
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.spool_table import attach_spool
from reporthub_dagster.connectors.sql import SQLOptions
from reporthub_dagster.connectors.tabular import Budget, Table, TabularConnector
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.template_values import fill_value, text_of

Step = Mapping[str, Any]
"""What is asked for a page beyond the first request: `url`, or a value for the pages' parameter."""


class HttpApiOptions(SQLOptions):
    """`connection_config` of an HTTP API.

    Attributes:
        params: Of the query, with `{{variables}}`; they are encoded.
        body: Of a POST, JSON with `{{variables}}` in its texts.
        rows: Where in the answer the rows are, `data.items`; the answer itself if not said.
        columns: Column → type, where the values shall not decide.
        pages: How rows are dealt out; one request if not said.
    """

    method: Literal["GET", "POST"] = "GET"
    params: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    auth: Auth | None = None
    body: Any = None
    rows: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    pages: Pages | None = None
    tls_ca_file: str | None = None


class HttpApiConnector(TabularConnector[HttpApiOptions]):
    """One address of an API."""

    kind = "http_api"
    options_model = HttpApiOptions

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        super().__init__(source, settings)
        self._row = RowPlace(source.id)
        self._url = source.url.strip()
        options = self._options
        try:
            parts = urlsplit(self._url)
            usable = parts.scheme in ("http", "https") and parts.hostname and "{" not in parts.netloc
        except ValueError:
            usable = False
        if not usable:
            raise self.misconfigured(
                "this is not the URL of an API", valid="give https://host/path; no variable in the host"
            )
        try:
            headers = self._headers
        except ValueError as error:
            column = "connection_config.headers"
            raise self.misconfigured(str(error), valid="correct it", column=column) from None
        self._declared = [self._field(name, word) for name, word in options.columns.items()]
        words = {"basic", "bearer", "api_key", *headers}  # `auth` holds more than secrets
        self._secrets = self._secrets - words | frozenset(value for value in headers.values() if value)

    def gather(self, variables: Mapping[str, Any], scratch: Path, limits: QueryLimits) -> Table:
        """See `TabularConnector.gather`; the pages stay on disk until the query is over."""
        budget = Budget(self.settings.fetch_bytes, limits)
        pages: list[Path] = []
        with HttpFetcher(self.settings, self._row, self._options.tls_ca_file) as fetcher:
            step: Step | None = {}
            if self._options.pages and self._options.pages.type in ("page", "offset"):
                step = {"value": self._options.pages.first}
            while step is not None:
                answered = fetcher.fetch(self._ask(variables, step), scratch / f"{len(pages)}.json", budget)
                pages.append(answered.body)
                step = self._next(answered, step, len(pages))
        spool = scratch / "data.arrow"
        write_documents(spool, lambda: self._documents(pages), self._declared)
        return Table(lambda connection, name: attach_spool(connection, name, spool))

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        parts = urlsplit(self._url)
        return (Endpoint(parts.hostname or "", parts.port or 0, ruled=True, guarded=True),)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`; nothing is asked for: what that costs is the API's affair."""
        del limits
        parts = urlsplit(self._url)
        base = f"{parts.scheme}://{parts.netloc}"
        place = HttpFiles(self.settings, self._row, base, self._headers, self._options.tls_ca_file)
        return f"HTTP API, read by DuckDB {duckdb.__version__}: {place.check(parts.path)}"

    @property
    def _headers(self) -> dict[str, str]:
        return request_headers(self._options.headers, self._options.auth)

    def _ask(self, variables: Mapping[str, Any], step: Step) -> Ask:
        options, pages = self._options, self._options.pages
        body = _filled(options.body, variables) if options.method == "POST" else None
        if "url" in step:
            return Ask(step["url"], options.method, self._headers, body)
        params = [
            (name, text_of(item))
            for name, value in _filled(options.params, variables).items()
            for item in (value if isinstance(value, list) else [value])
        ]
        if pages is not None and "value" in step:
            more = {pages.name: step["value"], **({pages.size_param: pages.size} if pages.size_param else {})}
            if pages.where == "body":
                body = {**(body or {}), **more}
            else:
                params += [(name, str(value)) for name, value in more.items()]
        elif pages is not None and pages.size_param:
            params.append((pages.size_param, str(pages.size)))
        parts = urlsplit(filled_path(self._url, variables, self._row, in_url=True))
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *params])
        return Ask(urlunsplit(parts._replace(query=query)), options.method, self._headers, body)

    def _next(self, answered: Answered, step: Step, done: int) -> Step | None:
        """What comes after a page; None after the last."""
        pages = self._options.pages
        if pages is None:
            return None
        if done >= pages.most:
            raise PermanentError(
                f"{host_of(self._url)} has more than {pages.most} pages; narrow what is asked"
            )
        if pages.type == "link":
            links = httpx.Response(200, headers=answered.headers).links
            following = links.get("next", {}).get("url")
            return {"url": self._same_host(following)} if following else None
        if pages.type == "cursor":
            with self._json(answered.body):
                value = value_at(answered.body, pages.next)
            return self._after_cursor(value, step)
        with self._json(answered.body):
            rows = sum(1 for _ in rows_in(answered.body, self._options.rows))
        if rows == 0 or rows < pages.size:
            return None
        return {"value": step["value"] + (1 if pages.type == "page" else rows)}

    def _after_cursor(self, value: Any, step: Step) -> Step | None:
        if value in (None, "", False):
            return None
        is_url = isinstance(value, str) and value.startswith(("http://", "https://", "/"))
        following: Step = {"url": self._same_host(value)} if is_url else {"value": value}
        if following == step:
            raise PermanentError(f"{host_of(self._url)} gave the same page twice as the next one")
        return following

    def _same_host(self, url: str) -> str:
        """The URL of the next page; credentials go nowhere else than to the host of the row.

        Raises:
            PermanentError: It leads to another host.
        """
        whole = urljoin(self._url, url)
        ours, theirs = urlsplit(self._url), urlsplit(whole)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise PermanentError(
                f"{host_of(self._url)} names {host_of(whole)} for the next page; another host is not asked"
            )
        return whole

    def _documents(self, pages: list[Path]) -> Iterator[Document]:
        number = count(1)
        for page in pages:
            with self._json(page):
                for row in rows_in(page, self._options.rows):
                    place = next(number)
                    if not isinstance(row, Mapping):
                        raise PermanentError(f"row {place} of {host_of(self._url)} is no object")
                    yield row

    @contextmanager
    def _json(self, page: Path) -> Iterator[None]:
        """What is wrong with a page is told with its number."""
        told = "" if page.stat().st_size else "it is empty"
        if not told:
            try:
                yield
            except (ValueError, RecursionError) as error:
                told = str(error)
        if told:
            raise PermanentError(f"{host_of(self._url)} sent no JSON on page {int(page.stem) + 1}: {told}")

    def _field(self, name: str, word: str) -> Any:
        try:
            return declared_field(name, word)
        except ValueError as error:
            column = f"connection_config.columns.{name}"
            problem = self.misconfigured(f"not a type: {error}", valid="correct it", column=column)
        raise problem


def _filled(value: Any, variables: Mapping[str, Any]) -> Any:
    """A value of the configuration with its variables, as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _filled(inner, variables) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    filled = fill_value(value, variables)
    return filled if filled is None or isinstance(filled, (bool, int, float, str, list)) else text_of(filled)
