"""`report_configs.parameters`: what a person wrote becomes records, or an error that names it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import (
    Compression,
    CompressionMethod,
    ReportConfig,
    ReportQuery,
    ReportSource,
)

RESERVED_PARAMETERS = frozenset(
    {
        "date_field",
        "filters",
        "display_columns",
        "filename_template",
        "format",
        "formats",
        "queries",
        "schedule",
        "sources",
        "script",
        "send_if",
        "notify",
        "link",
        "compress",
    }
)
"""Keys of `report_configs.parameters` with a meaning of their own; every other key is a default value."""

MOST_QUERIES = 100
MOST_SCRIPT_BYTES = 64 << 10
LONGEST_SHEET_NAME = 31
"""UTF-16 units, as Excel counts."""
_METHODS: tuple[CompressionMethod, ...] = get_args(CompressionMethod)
_OWN = ("date_field", "filters", "display_columns")
"""What a query of several may say itself."""
_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\]")
_OF_A_FILTER = frozenset({"field", "operator", "type", "value"})
_A_FILTER = "give field, operator, type and value"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_A_QUERY = f"give its SELECT, or an object of sql, {', '.join(_OWN)}; null is report_query"
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_A_SOURCE = 'give the id of a row of report_datasources, or {"datasource": id, "query": "SELECT …"}'
_COMPRESS = 'give gzip, zip, or {"method": "zip", "password": {"env": "NAME"}}'


class ReportParameters:
    """Reads the parameters of one report.

    Args:
        config: Its row. Every method raises ConfigurationError for a malformed value, with row and column.
    """

    def __init__(self, config: ReportConfig) -> None:
        self._config = config
        self._given = config.parameters

    def text(self, key: str) -> str:
        """A text without blanks around it; empty where there is none."""
        return _text(self._given, key, self._malformed)

    def options(self, key: str) -> Mapping[str, Any]:
        """An object; empty where there is none."""
        value = self._given.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._malformed(key, value, "not an object", "give an object of options")
        return value

    def filters(self) -> tuple[Mapping[str, Any], ...]:
        """The conditions of the report itself."""
        return _filters(self._given, self._malformed)

    def formats(self) -> tuple[str, ...]:
        """The formats of the files, each once, the main one first: `formats`, else `output_format`."""
        value = self._given.get("formats")
        if value is None:
            return (self._config.output_format,)
        if not isinstance(value, list) or not value:
            problem = "not a list" if not isinstance(value, list) else "names no format"
            raise self._malformed("formats", value, problem, 'give a list such as ["xlsx", "pdf"]')
        found: list[str] = []
        for number, item in enumerate(value):
            if not isinstance(item, str):
                raise self._malformed(f"formats[{number}]", item, "not a text", "give a format")
            name = item.strip().lower()
            if name in found:
                raise self._malformed(f"formats[{number}]", item, "named twice", "name each format once")
            found.append(name)
        return tuple(found)

    def queries(self) -> tuple[ReportQuery, ...]:
        """The queries of the report: those of `queries`, else `report_query` alone, without a name."""
        value = self._given.get("queries")
        if value in (None, {}, []):
            return (self._query("", self._config.query, "report_query", {}),)
        found = tuple(self._named_queries(value))
        if len(found) > MOST_QUERIES:
            raise self._malformed("queries", len(found), "too many queries", f"give at most {MOST_QUERIES}")
        return found

    def warnings(self) -> tuple[str, ...]:
        """Keys of filters that mean nothing: without them a condition may be another one, or none."""
        found: dict[str, None] = {}
        for query in self.queries():
            place = query.own.get("filters", "parameters.filters")
            for number, one in enumerate(query.filters):
                for key in sorted(set(one) - _OF_A_FILTER):
                    text = f"{place}[{number}]: the unknown key {key!r} was passed over; {_A_FILTER}"
                    found[text] = None
        return tuple(found)

    def sources(self) -> tuple[ReportSource, ...]:
        """What the queries join, by the names of their tables."""
        value = self._given.get("sources")
        if value in (None, {}):
            return ()
        if not isinstance(value, Mapping):
            raise self._malformed("sources", value, "not an object", _A_SOURCE)
        found: dict[str, ReportSource] = {}
        for name, said in value.items():
            place = f"sources.{name}"
            if not _TABLE.fullmatch(name):
                valid = "letters, digits and _, 60 at most, no digit first"
                raise self._malformed(place, name, "not the name of a table", valid)
            if name.lower() in found:
                raise self._malformed(place, name, "named twice", "names differ in more than case")
            found[name.lower()] = self._source(name, place, said)
        return tuple(found.values())

    def _source(self, name: str, place: str, said: Any) -> ReportSource:
        own = said if isinstance(said, Mapping) else {"datasource": said}
        for option in own:
            if option not in {"datasource", "query"}:
                raise self._malformed(f"{place}.{option}", None, "no such option", _A_SOURCE)
        row, sql = own.get("datasource"), own.get("query") or ""
        if not isinstance(row, int) or isinstance(row, bool):
            raise self._malformed(f"{place}.datasource", row, "not an id", _A_SOURCE)
        if not isinstance(sql, str):
            raise self._malformed(f"{place}.query", sql, "not a query", _A_SOURCE)
        return ReportSource(name, row, ReportQuery("", sql, f"parameters.{place}"))

    def script(self) -> str:
        """The Python text that shapes the rows; empty where there is none."""
        value = self._given.get("script")
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._malformed("script", value, "not a text", "give Python that sets `result`")
        size = len(value.encode(errors="surrogatepass"))
        if size > MOST_SCRIPT_BYTES:
            raise self._malformed(
                "script", None, f"{size:,} bytes", f"a script has {MOST_SCRIPT_BYTES:,} at most"
            )
        return value if value.strip() else ""

    def compression(self) -> Compression | None:
        """How the files are packed; None: not at all."""
        value = self._given.get("compress")
        if value is None:
            return None
        options = value if isinstance(value, Mapping) else {"method": value}
        for key in options:
            if key not in {"method", "password"}:
                raise self._malformed(f"compress.{key}", None, "no such option", _COMPRESS)
        method = options.get("method")
        if method not in _METHODS:
            shown = None if isinstance(method, (Mapping, list)) else method
            raise self._malformed("compress", shown, "no way to compress", _COMPRESS)
        return Compression(method, self._password_env(method, options.get("password")))

    def _password_env(self, method: CompressionMethod, given: Any) -> str:
        """The name of a variable; what is given instead may be a password, and is not shown."""
        place, valid = "compress.password", 'give {"env": "NAME"}, the name of an environment variable'
        if given is None:
            return ""
        if method != "zip":
            raise self._malformed(place, None, f"{method} knows no password", "use zip")
        name = given.get("env") if isinstance(given, Mapping) and len(given) == 1 else None
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise self._malformed(place, None, "not a reference to a secret", valid)
        return name

    def _named_queries(self, value: Any) -> Iterator[ReportQuery]:
        taken: set[str] = set()
        for place, raw, said in self._entries(value):
            name = self._sheet_name(place, raw)
            key = unicodedata.normalize("NFC", name).casefold()
            if key in taken:
                raise self._malformed(place, name, "named twice", "names differ in more than case")
            taken.add(key)
            own = said if isinstance(said, Mapping) else {"sql": said}
            for option in own:
                if option not in {"sql", *_OWN}:
                    raise self._malformed(f"{place}.{option}", None, "no such option", _A_QUERY)
            sql = own.get("sql")
            if sql is not None and (not isinstance(sql, str) or not sql.strip()):
                raise self._malformed(place, sql, "not a query", _A_QUERY)
            yield self._query(
                name, sql or self._config.query, f"parameters.{place}" if sql else "report_query", own, place
            )

    def _entries(self, value: Any) -> Iterator[tuple[str, Any, Any]]:
        """Place, name and what is said of each query; a list keeps an order that MySQL's JSON does not."""
        if isinstance(value, Mapping):
            for name, said in value.items():
                yield f"queries.{name}", name, said
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if not isinstance(item, Mapping):
                    raise self._malformed(f"queries[{number}]", item, "not an object", "give name and sql")
                rest = {key: one for key, one in item.items() if key != "name"}
                yield f"queries[{number}]", item.get("name"), rest
        else:
            valid = "give an object of sheet names and queries, or a list of objects with name and sql"
            raise self._malformed("queries", value, "not an object", valid)

    def _sheet_name(self, place: str, name: Any) -> str:
        if not isinstance(name, str) or not name.strip():
            raise self._malformed(place, name, "it has no name", "give the name of a sheet")
        text = name.strip()
        if len(text.encode("utf-16-le")) > 2 * LONGEST_SHEET_NAME:
            valid = f"a sheet's name has {LONGEST_SHEET_NAME} characters at most"
            raise self._malformed(place, text, "the name is too long", valid)
        control = any(unicodedata.category(character) == "Cc" for character in text)
        if control or _NOT_IN_SHEET_NAMES.search(text) or text[0] == "'" or text[-1] == "'":
            valid = r"no [ ] : * ? / \ and no control characters; no apostrophe at its ends"
            raise self._malformed(place, text, "not the name of a sheet", valid)
        if text.casefold() == "history":
            raise self._malformed(place, text, "Excel keeps this name for itself", "give another name")
        return text

    def _query(
        self, name: str, sql: str, place: str, own: Mapping[str, Any], prefix: str = ""
    ) -> ReportQuery:
        """A query with its conditions: its own where it names them, null for none, else the report's."""

        def malformed(key: str, *rest: Any) -> ConfigurationError:
            is_own = key.partition("[")[0] in own
            return self._malformed(f"{prefix}.{key}" if is_own else key, *rest)

        source = {key: own.get(key) if key in own else self._given.get(key) for key in _OWN}
        return ReportQuery(
            name=name,
            sql=sql,
            place=place,
            date_field=_text(source, "date_field", malformed) or None,
            filters=_filters(source, malformed),
            display_columns=_display_columns(source, malformed),
            own={key: f"parameters.{prefix}.{key}" for key in _OWN if key in own},
        )

    def _malformed(self, key: str, value: object, problem: str, valid: str) -> ConfigurationError:
        return ConfigurationError(
            problem,
            table="report_configs",
            row=self._config.id,
            column=f"parameters.{key}",
            value=value,
            valid=valid,
        )


def _text(given: Mapping[str, Any], key: str, malformed: Any) -> str:
    value = given.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(key, value, "not a text", "give one text")
    return value.strip()


def _filters(given: Mapping[str, Any], malformed: Any) -> tuple[Mapping[str, Any], ...]:
    items = _list(given, "filters", "give a list of objects with field, operator, type and value", malformed)
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise malformed(f"filters[{number}]", item, "not an object", _A_FILTER)
    return tuple(items)


def _display_columns(given: Mapping[str, Any], malformed: Any) -> tuple[str, ...]:
    items = _list(given, "display_columns", "give a list of column names", malformed)
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise malformed(f"display_columns[{number}]", item, "not a text", "give a column's name")
    return tuple(items)


def _list(given: Mapping[str, Any], key: str, valid: str, malformed: Any) -> list[Any]:
    value = given.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(key, value, "not a list", valid)
    return value
