"""Files as a data source: csv, tsv, json, jsonl, parquet, xlsx, plain or packed, wherever they lie."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb

from reporthub_dagster.connectors.base import QueryLimits, timed_out
from reporthub_dagster.connectors.csv_files import csv_select
from reporthub_dagster.connectors.csv_header import CsvForm, even_header, read_header
from reporthub_dagster.connectors.csv_problems import row_problem
from reporthub_dagster.connectors.documents import (
    SheetLimits,
    json_documents,
    sheet_documents,
    write_documents,
)
from reporthub_dagster.connectors.duckdb_engine import Engine
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.file_formats import (
    FORMATS,
    FileFormat,
    as_utf8,
    format_of,
    unpacked,
    without_wildcards,
)
from reporthub_dagster.connectors.file_options import FileOptions
from reporthub_dagster.connectors.file_places import FilePlace, LocalFiles, RowPlace, filled_path
from reporthub_dagster.connectors.http_settings import request_headers
from reporthub_dagster.connectors.nested_values import declared_field
from reporthub_dagster.connectors.parquet_files import parquet_select
from reporthub_dagster.connectors.patience import Patience
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.spool_table import attach_spool, quoted
from reporthub_dagster.connectors.tabular import Budget, Table, TabularConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.redaction import revealed

_WORKBOOK = 4
"""Times the engine's memory: a workbook is read whole."""
_GRACE_SECONDS = 1.0
"""Who looks at the clock with each piece is to be the first to see that the time is over."""
_UTF8 = frozenset({"utf-8", "utf8", "utf-8-sig"})
_FORMS = "give a path, file:///path, s3://bucket/key, sftp://user@host/path or https://host/path"


class FileConnector(TabularConnector[FileOptions]):
    """One file, or all that a path with wildcards names, as the table `data`."""

    kind = "file"
    options_model = FileOptions

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        super().__init__(source, settings)
        self._row = RowPlace(source.id)
        self._files: dict[Path, str] = {}
        self._end = 0.0
        text = source.url.strip()
        try:
            self._parts = urlsplit(
                text if "://" in text else f"file://{text if text[:1] == '/' else f'/./{text}'}"
            )
        except ValueError:
            raise self.misconfigured("the address cannot be read", valid=_FORMS) from None
        if self._parts.scheme not in _PLACES or not self._parts.path.strip("/."):
            raise self.misconfigured("the address names no file", valid=_FORMS)
        self._require_types()

    def gather(self, variables: Mapping[str, Any], scratch: Path, limits: QueryLimits) -> Table:
        """See `TabularConnector.gather`."""
        budget = Budget(self.settings.fetch_bytes, limits)
        path = filled_path(self._path, variables, self._row, in_url=self._parts.scheme in ("http", "https"))
        fetched = self._place(limits).fetch(path, scratch, budget)
        options = self._options
        self._files = files = {
            plain: inner
            for file, name in fetched.items()
            for plain, inner in unpacked(
                without_wildcards(file, name, scratch), name, options.format, scratch, budget
            ).items()
        }
        formats = {options.format or format_of(name) or format_of(path) for name in files.values()}
        if len(formats) != 1 or None in formats:
            names = ", ".join(list(files.values())[:8])
            raise self.misconfigured(
                f"the format of {names} is not clear",
                valid=f"give one of {', '.join(FORMATS)}, and files of that alone",
                column="connection_config.format",
            )
        return self._tables(formats.pop() or "csv", files, scratch, limits)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`; of S3 without an address of its own, Amazon's."""
        scheme, parts = self._parts.scheme, self._parts
        if scheme == "file":
            return ()
        if scheme != "s3":
            return (Endpoint(parts.hostname or "", parts.port or 0, ruled=True, guarded=scheme != "sftp"),)
        given = self._options.endpoint_url
        own = urlsplit(given or f"https://s3.{self._options.region or 'us-east-1'}.amazonaws.com")
        column = "connection_config.endpoint_url" if given else "connection_config.region"
        return (Endpoint(own.hostname or "", own.port or 0, column, ruled=True),)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `DriverConnector.explain`; a row that does not fit is told with its file and line.

        Of a broken file DuckDB says what it has read there.
        """
        words = self.plain(error)
        problem = row_problem(words, self._files, self._options.quote)
        broken = next((name for path, name in self._files.items() if str(path) in words), None)
        if problem is None and broken is not None and not words.startswith("IO Error"):
            problem = PermanentError(f"the file {broken} is broken: it cannot be read to its end")
        return problem or super().explain(error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`."""
        return f"files, read by DuckDB {duckdb.__version__}: {self._place(limits).check(self._path)}"

    def grants(self, limits: QueryLimits) -> str:
        """See `DriverConnector.grants`."""
        return self._place(limits).writes(self._path)

    @property
    def _path(self) -> str:
        path = unquote(self._parts.path)
        if self._parts.scheme == "file":
            return path.removeprefix("/./")
        query = f"?{self._parts.query}" if self._parts.query else ""
        if self._parts.scheme == "sftp":
            return path.removeprefix("/./")
        return path.lstrip("/") if self._parts.scheme == "s3" else f"{self._parts.path}{query}"

    def _place(self, limits: QueryLimits) -> FilePlace:
        """Where the files are; a host that is unknown or closed to us is told before anybody connects."""
        self._end = time.monotonic() + limits.remaining_seconds
        self.resolve()
        scheme = self._parts.scheme
        try:
            made: FilePlace = _PLACES[scheme](self)
        except ModuleNotFoundError as missing:
            problem = f"files at {scheme}:// need the package {missing.name!r}"
        else:
            return made
        raise self.misconfigured(problem, valid=f"install it with: pip install 'reporthub-dagster[{scheme}]'")

    def _tables(self, form: FileFormat, files: dict[Path, str], scratch: Path, limits: QueryLimits) -> Table:
        options = self._options
        if form == "parquet":
            return Table(lambda one, name: _view(one, name, parquet_select(one, files)), tuple(files))
        if form in ("csv", "tsv"):
            if options.encoding.lower() not in _UTF8:
                files = {as_utf8(path, name, options.encoding, scratch): name for path, name in files.items()}
            delimiter = options.delimiter or ("\t" if form == "tsv" else "")
            return self._texts(CsvForm(delimiter, options.quote, options.columns), files, scratch, limits)
        spool = scratch / "data.arrow"
        declared = [declared_field(name, word) for name, word in options.columns.items()]
        end = time.monotonic() + limits.remaining_seconds
        room = SheetLimits(_WORKBOOK * self.settings.memory_mb << 20, lambda: max(end - time.monotonic(), 0))
        try:
            write_documents(spool, partial(self._documents, form, files, room), declared)
        except TimeoutError:
            raise timed_out(limits) from None
        return Table(lambda connection, name: attach_spool(connection, name, spool))

    def _texts(self, form: CsvForm, files: Mapping[Path, str], scratch: Path, limits: QueryLimits) -> Table:
        header = read_header(files, form)
        self._files = {even_header(path, name, form.quote, scratch): name for path, name in files.items()}
        connection = Engine(scratch, self.settings.memory_mb).start()
        patience = Patience(connection.interrupt, limits.remaining_seconds)
        try:
            select = patience.wait_for(lambda: csv_select(connection, self._files, form, header))
        finally:
            patience.end()
            connection.close()
        return Table(lambda one, name: _view(one, name, select), tuple(self._files))

    def _documents(self, form: FileFormat, files: Mapping[Path, str], room: SheetLimits) -> Any:
        for path, name in files.items():
            if form == "xlsx":
                yield from sheet_documents(path, name, self._options.sheet, room)
            else:
                yield from json_documents(path, name, self._options.rows)

    def _require_types(self) -> None:
        for name, word in self._options.columns.items():
            try:
                declared_field(name, word)
            except ValueError as error:
                raise self.misconfigured(
                    f"not a type: {error}", valid="correct it", column=f"connection_config.columns.{name}"
                ) from None

    def _local(self) -> FilePlace:
        return LocalFiles(self.settings.file_roots, self._row)

    def _http(self) -> FilePlace:
        from reporthub_dagster.connectors.http_files import HttpFiles  # noqa: PLC0415 - slow to import

        options = self._options
        headers = request_headers(options.headers, options.auth)
        base = f"{self._parts.scheme}://{self._parts.netloc}"
        return HttpFiles(self.settings, self._row, base, headers, options.tls_ca_file)

    def _s3(self) -> FilePlace:
        from reporthub_dagster.connectors.s3_files import S3Files  # noqa: PLC0415 - an extra of its own
        from reporthub_dagster.network.s3_client import s3_client  # noqa: PLC0415

        options = self._options
        client = s3_client(
            self.settings.egress,
            self.settings.fetch_seconds,
            region=options.region,
            endpoint_url=options.endpoint_url,
            access_key=revealed(options.access_key),
            secret_key=revealed(options.secret_key),
            session_token=revealed(options.session_token),
            ca_file=options.tls_ca_file,
            answer_seconds=lambda: max(self._end - time.monotonic(), 0) + _GRACE_SECONDS,
        )
        return S3Files(client, self._parts.netloc, self._row)

    def _sftp(self) -> FilePlace:
        from reporthub_dagster.connectors.sftp_files import SftpFiles  # noqa: PLC0415 - an extra of its own
        from reporthub_dagster.network.ssh_login import SshLogin  # noqa: PLC0415
        from reporthub_dagster.network.ssh_session import Access  # noqa: PLC0415

        options, settings, parts = self._options, self.settings, self._parts
        password = revealed(options.password) or unquote(parts.password or "")
        login = SshLogin(
            host=parts.hostname or "",
            port=parts.port or 22,
            username=unquote(parts.username or ""),
            password=password or None,
            private_key=revealed(options.private_key),
            passphrase=revealed(options.passphrase),
            host_key=options.host_key,
            known_hosts=options.known_hosts,
            timeout=settings.fetch_seconds,
            table="report_datasources",
            row=self.source.id,
            column="connection_config",
        )
        refuse_unknown = settings.refuse_unknown_hosts
        access = Access.of(login, settings.egress, settings.host_keys, refuse_unknown=refuse_unknown)
        return SftpFiles(access, self._row)


_PLACES: dict[str, Any] = {
    "file": FileConnector._local,  # noqa: SLF001 - a table of its own methods
    "sftp": FileConnector._sftp,  # noqa: SLF001
    "s3": FileConnector._s3,  # noqa: SLF001
    "http": FileConnector._http,  # noqa: SLF001
    "https": FileConnector._http,  # noqa: SLF001
}


def _view(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
    connection.execute(f"CREATE VIEW {quoted(name)} AS {select}")
