"""Fetching over HTTP: checked addresses, limits, and three attempts at what may pass."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import httpx

from reporthub_dagster.connectors.file_places import RowPlace
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.network.egress import EgressError
from reporthub_dagster.network.http_client import decoded, http_client, tls_context
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

ATTEMPTS = 3
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""
_LONGEST_PAUSE = 30.0
_LATER = frozenset({408, 425, 429})
_NAME_FAULT = re.compile(r"\[Errno -(?!3\b)\d+\]")
"""What the system's resolver says of a name that does not exist; -3 may pass."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Attributes:
        headers: With whatever signs in.
        json: Body of a POST.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back, its body in a file."""

    headers: httpx.Headers
    body: Path


class HttpFetcher:
    """Asks one source; use it as a context.

    Args:
        settings: What the environment says.
        place: The row, for messages.
        ca_file: PEM file of the authorities to trust instead of the system's.

    Raises:
        ConfigurationError: `ca_file` cannot be read.
    """

    def __init__(self, settings: SourceSettings, place: RowPlace, ca_file: str | None = None) -> None:
        self._place = place
        self._seconds = settings.fetch_seconds
        try:
            context = tls_context(ca_file)
        except OSError:
            valid, column = "give the path of a PEM file", "connection_config.tls_ca_file"
            raise place.wrong("the file cannot be used", valid, column=column, value=ca_file) from None
        self._client = http_client(
            settings.egress, settings.fetch_seconds, context=context, answer_seconds=lambda: self._seconds
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(self, ask: Ask, target: Path, budget: Budget) -> Answered:
        """Ask until there is an answer, three times at the most, and write its body.

        Raises:
            ConfigurationError: A person must change the row.
            TransientError: It cannot be had now.
            PermanentError: It is too much, or of no use.
        """
        pause, attempt = FIRST_PAUSE, 1
        while True:
            try:
                return self._once(ask, target, budget)
            except TransientError as error:
                wait = min(error.retry_after or pause, _LONGEST_PAUSE)
                if attempt == ATTEMPTS or wait >= budget.seconds:
                    told = f"{error} ({attempt} attempts)"
                    raise TransientError(told, retry_after=error.retry_after) from None
            time.sleep(wait)
            pause *= 2
            attempt += 1

    def _once(self, ask: Ask, target: Path, budget: Budget) -> Answered:
        where = host_of(ask.url)
        self._seconds = budget.seconds
        try:
            with self._client.stream(ask.method, ask.url, headers=dict(ask.headers), json=ask.json) as answer:
                self._require_success(answer, where)
                with target.open("wb") as out:
                    for piece in decoded(answer):  # as it comes: the time is looked at with each piece
                        budget.spend(len(piece))
                        out.write(piece)
                return Answered(answer.headers, target)
        except EgressError as error:
            raise error.located(
                table="report_datasources", row=self._place.row, column="connection_url"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = self._failed(error, where)
            budget.spend(0)  # the time of the report comes before what ended with it
        raise failure

    def _require_success(self, answer: httpx.Response, where: str) -> None:
        code = answer.status_code
        told = (
            f"{where} answered {code} {HTTPStatus(code).phrase if code in set(HTTPStatus) else ''}".rstrip()
        )
        if code in _LATER or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(told, retry_after=_retry_after(answer.headers.get("retry-after")))
        if answer.is_success:
            return
        if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self._place.wrong(told, "set the secrets that it asks for", column="connection_config.auth")
        if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise self._place.wrong(told, "correct the path of the URL")
        if answer.has_redirect_location:
            raise self._place.wrong(f"{told}: redirects are not followed", "set the final URL")
        raise PermanentError(told)

    def _failed(self, error: Exception, where: str) -> ReportHubError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                valid = "set tls_ca_file to the PEM file of its authority"
                return self._place.wrong(f"{where}: the certificate is not trusted", valid)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return self._place.wrong(f"{where} cannot be asked this", "correct the URL and the headers")
        if isinstance(error, httpx.ConnectError) and _NAME_FAULT.search(str(error)):
            return self._place.wrong(f"unknown host {where}", "correct the host")
        if isinstance(error, httpx.DecodingError):
            return PermanentError(f"{where} sent what cannot be unpacked: {error}")
        return TransientError(f"{where} {_passing(error)}")


def _passing(error: Exception) -> str:
    """What may be otherwise the next time."""
    if isinstance(error, httpx.TimeoutException):
        return "did not answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached: {error}"
    return "hung up before everything was there"


def host_of(url: str) -> str:
    """Host and port: what messages may show of a URL."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return "the host"
    return f"{parts.host}:{parts.port}" if parts.port else parts.host


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3); None when it says nothing usable."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
