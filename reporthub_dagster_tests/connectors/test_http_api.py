"""An HTTP API as a data source: requests, pages, retries, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from reporthub_dagster.connectors import http_fetch
from reporthub_dagster.connectors.http_api import HttpApiConnector
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import DataSource, QueryResult
from reporthub_dagster.settings import secret_of
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, types
from reporthub_dagster_tests.servers.web import Answer, Request, WebServer

ALL = BoundQuery.of(["SELECT * FROM data"])
SECRETS = {"API_TOKEN": "geheim-1"}


def connector(url: str, **options: Any) -> HttpApiConnector:
    egress = EgressPolicy.parse("default", "127.0.0.1")
    settings = SourceSettings(egress=egress, secret=SECRETS.__getitem__, fetch_seconds=1)
    return HttpApiConnector(DataSource(7, "api", "http_api", url, options), settings)


def read(
    folder: Path, url: str, options: Mapping[str, Any], query: BoundQuery = ALL
) -> tuple[QueryResult, list[dict[str, Any]]]:
    try:
        result = connector(url, **options).spool(query, folder / "spool.arrow", LIMITS)
    finally:
        assert [path.name for path in folder.iterdir() if path.name != "spool.arrow"] == [], "nothing is left"
    return result, Spool.open(result.spool).head(100_000).to_pylist()


class Api(WebServer):
    """Deals out the numbers 1 to 25 in pages of ten, in whatever way it is asked to."""

    def _next_answer(self, request: Request) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        asked |= json.loads(request.body) if request.body else {}
        size = int(asked.get("limit", 10))
        first = int(asked.get("offset", asked.get("cursor", (int(asked.get("page", 1)) - 1) * size)))
        numbers = list(range(first + 1, min(first + size, 25) + 1))
        following = first + size if first + size < 25 else None
        base = urlsplit(self.url)._replace(path="/hook", query=f"cursor={following}").geturl()
        link = {"Link": f'<{base}>; rel="next", </>; rel="first"'} if following else {}
        document = {
            "items": [{"n": n} for n in numbers],
            "meta": {"next": following, "url": following and base},
        }
        return Answer(200, link, json.dumps(document))


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().running() as server:
        assert isinstance(server, Api)
        yield server


@pytest.mark.parametrize(
    ("pages", "requests"),
    [
        ({"type": "page"}, 4),
        ({"type": "page", "size": 10}, 3),
        ({"type": "offset", "size_param": "limit", "size": 12}, 3),
        ({"type": "cursor", "next": "meta.next"}, 3),
        ({"type": "cursor", "next": "meta.url"}, 3),
        ({"type": "link"}, 3),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_way_to_deal_out_pages(
    tmp_path: Path, api: Api, method: str, pages: dict[str, Any], requests: int
) -> None:
    if method == "POST" and pages["type"] in ("page", "offset"):
        pages = {**pages, "where": "body"}

    _, rows = read(tmp_path, api.url, {"rows": "items", "pages": pages, "method": method})

    assert [row["n"] for row in rows] == list(range(1, 26))
    assert len(api.requests) == requests
    assert {request.method for request in api.requests} == {method}


def test_a_request_says_what_the_row_says(tmp_path: Path, web_server: WebServer) -> None:
    web_server.answer("*", Answer(200, body='[{"id": 1}]'))
    options = {
        "method": "POST",
        "params": {"from": "{{start_date}}", "tag": "{{tags}}", "n": 5},
        "body": {"filter": {"day": "{{start_date}}", "limit": "{{limit}}"}, "text": "a {{limit}}"},
        "headers": {"X-Team": "sales"},
        "auth": {"type": "bearer", "token": {"env": "API_TOKEN"}},
    }
    variables = {"start_date": date(2025, 1, 31), "tags": ["a&b", "é"], "limit": 7}

    read(tmp_path, f"{web_server.url}/{{{{start_date}}}}?v=2", options, replace(ALL, variables=variables))

    (request,) = web_server.requests
    assert request.path == "/hook/2025-01-31?v=2&from=2025-01-31&tag=a%26b&tag=%C3%A9&n=5"
    assert request.document == {"filter": {"day": "2025-01-31", "limit": 7}, "text": "a 7"}
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Bearer geheim-1", "sales")


def test_documents_become_exact_columns_that_sql_asks(tmp_path: Path, web_server: WebServer) -> None:
    body = '[{"id": 1, "price": 12345678901234567890.25, "shop": {"city": "Łódź", "tags": [1]}}, {"id": 2}]'
    web_server.answer("*", Answer(200, body=body), Answer(200, body=body))

    result, rows = read(tmp_path, web_server.url, {})

    assert types(result) == {
        "id": "int64",
        "price": "decimal128(22, 2)",
        "shop.city": "string",
        "shop.tags": "json",
    }
    assert rows[0] == {
        "id": 1,
        "price": Decimal("12345678901234567890.25"),
        "shop.city": "Łódź",
        "shop.tags": "[1]",
    }
    query = BoundQuery.of(['SELECT "shop.city" AS city FROM data WHERE id = ', Bind("id", 1)])
    assert read(tmp_path, web_server.url, {}, query)[1] == [{"city": "Łódź"}]


def test_an_answer_without_rows_has_the_declared_columns(tmp_path: Path, web_server: WebServer) -> None:
    web_server.answer("*", Answer(200, body="[]"), Answer(200, body="[]"))

    result, rows = read(tmp_path, web_server.url, {"columns": {"id": "integer", "city": "text"}})

    assert (types(result), rows) == ({"id": "int64", "city": "string"}, [])
    with pytest.raises(ConfigurationError, match=r"no rows, .*; declare them"):
        read(tmp_path, web_server.url, {})


def test_what_may_pass_is_asked_three_times(tmp_path: Path, web_server: WebServer) -> None:
    body = '[{"id": 1}]'
    web_server.answer("*", Answer(429, {"Retry-After": "0"}), Answer(502), Answer(200, body=body))
    assert read(tmp_path, web_server.url, {})[1] == [{"id": 1}]

    web_server.cuts.extend(["before", "before", "before"])
    with pytest.raises(TransientError, match=r"hung up .* \(3 attempts\)"):
        read(tmp_path, web_server.url, {})


def test_silence_ends_with_the_time_limit(
    tmp_path: Path, web_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_fetch, "FIRST_PAUSE", 0.5)
    web_server.cuts.append("hang")
    made = connector(web_server.url)

    with pytest.raises(TransientError, match=r"did not answer in time \(1 attempts\)"):
        made.spool(ALL, tmp_path / "x.arrow", replace(LIMITS, timeout_seconds=1.3))


@contextmanager
def torn(server: WebServer) -> Iterator[None]:
    """Every answer breaks off in the middle of its body."""

    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'[{"id": 1},')
        handler.close_connection = True

    server.handle = handle  # type: ignore[method-assign]
    yield


def test_an_answer_that_breaks_off_is_no_answer(tmp_path: Path, web_server: WebServer) -> None:
    with torn(web_server), pytest.raises(TransientError, match="hung up before everything was there"):
        read(tmp_path, web_server.url, {})


@pytest.mark.parametrize(
    ("link", "pages", "words"),
    [
        ("https://evil.example/next", {"type": "link"}, "names evil.example for the next page"),
        ("//evil.example/next", {"type": "cursor", "next": "next"}, "names evil.example for the next page"),
        ("same", {"type": "cursor", "next": "next"}, "the same page twice"),
    ],
)
def test_a_next_page_elsewhere_or_in_a_circle_is_refused(
    tmp_path: Path, web_server: WebServer, link: str, pages: dict[str, str], words: str
) -> None:
    body = json.dumps({"items": [{"id": 1}], "next": link})
    web_server.answer("*", *[Answer(200, {"Link": f'<{link}>; rel="next"'}, body)] * 2)

    with pytest.raises(PermanentError, match=words):
        read(tmp_path, web_server.url, {"rows": "items", "pages": pages})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(200, body="<html>"), PermanentError, "sent no JSON on page 1"),
        (
            Answer(200, body='{"a": {"b": 1}}'),
            PermanentError,
            "there is nothing at 'items': 'items' is not among a",
        ),
        (Answer(200, body='{"items": [1]}'), PermanentError, "row 1 of .* is no object"),
        (
            Answer(403),
            ConfigurationError,
            "report_datasources 7, column connection_config.auth: .* answered 403",
        ),
        (
            Answer(301, {"Location": "/x"}),
            ConfigurationError,
            "redirects are not followed; set the final URL",
        ),
    ],
)
def test_a_useless_answer_says_what_to_do(
    tmp_path: Path, web_server: WebServer, answer: Answer, kind: type[Exception], words: str
) -> None:
    web_server.answer("*", answer)

    with pytest.raises(kind, match=words):
        read(tmp_path, web_server.url, {"rows": "items"})


def test_no_error_shows_a_secret(tmp_path: Path, start_web_server: Callable[..., WebServer]) -> None:
    server = start_web_server()
    server.answer("*", Answer(500), Answer(500), Answer(500))
    options = {
        "auth": {"type": "api_key", "value": {"env": "API_TOKEN"}},
        "params": {"key": {"env": "API_TOKEN"}},
    }

    with pytest.raises(TransientError) as raised:
        read(tmp_path, f"{server.url}?secret=geheim-2", options)

    assert "geheim" not in str(raised.value)
    held = {
        name: value for name, value in vars(connector(server.url, **options)).items() if name != "_secrets"
    }
    assert "geheim" not in repr(held)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auth": {"type": "bearer"}}, "connection_config: auth is not usable: token is missing"),
        ({"pages": {"type": "cursor"}}, "pages is not usable: next is missing"),
        ({"headers": {"a": 1}}, "headers.a is not usable: Input should be a valid string"),
        ({"auth": 5}, "auth is not usable: Input should be an object;"),
        ({"columns": {"id": "money"}}, "connection_config.columns.id: not a type: 'money' is none of text"),
        ({"method": "DELETE"}, "method is not usable"),
    ],
)
def test_a_row_that_cannot_work_says_why(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        connector("https://api.example/rows", **options)
    for url in ("ftp://api.example/x", "https:///x", "https://{{host}}/x"):
        with pytest.raises(ConfigurationError, match="this is not the URL of an API"):
            connector(url)


def test_a_secret_that_is_not_set_names_its_row_and_key() -> None:
    options = {"headers": {"X-Key": {"env": "NO_SUCH"}}}
    source = DataSource(7, "api", "http_api", "https://api.example/x", options)

    with pytest.raises(ConfigurationError) as raised:
        HttpApiConnector(source, SourceSettings(secret=secret_of))

    assert str(raised.value) == (
        "report_datasources 7, column connection_config.headers.X-Key: the environment variable is not set "
        "(value 'NO_SUCH'); set it where reports run"
    )


def test_an_unknown_host_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"report_datasources 7, column connection_url: unknown host"
    ):
        read(tmp_path, "http://no-such-host.invalid/x", {})
