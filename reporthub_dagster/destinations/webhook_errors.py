"""What an HTTP answer, or its absence, means for a delivery: the one place where httpx's exceptions end."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from reporthub_dagster.destinations.base import LostAnswerError
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
    UnreachableError,
)

_LATER = frozenset({408, 425, 429})
_FIX = {
    401: ("auth", "set delivery_config.auth, or the header that it asks for"),
    403: ("auth", "use credentials, or a URL, that may post there"),
    404: ("url", "set the URL that the service gave"),
    405: ("method", "use the method that the service takes"),
    410: ("url", "ask the service for a new URL: this one has ended"),
}
_MOST_SECONDS = 86_400.0


def judge(response: httpx.Response, where: str, row: int, now: datetime) -> str:
    """The sentence for a receipt when the other side took it.

    Raises:
        TransientError: It may take it later; with the seconds it asked to wait.
        ConfigurationError: A person must change the row.
        PermanentError: It will not take this.
    """
    code = response.status_code
    answer = f"{where} answered {code} {_phrase(code)}".rstrip()
    if response.is_success:
        return answer
    if code in _LATER or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(answer, retry_after=retry_after(response.headers.get("retry-after"), now))
    if response.has_redirect_location or code < HTTPStatus.BAD_REQUEST:
        raise _misconfigured(f"{answer}: redirects are not followed", "url", row, "set the final URL")
    if code in _FIX:
        setting, cure = _FIX[code]
        raise _misconfigured(answer, setting, row, cure)
    raise PermanentError(answer)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3); None when it says nothing usable."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(float(header), _MOST_SECONDS)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), _MOST_SECONDS)


def translated(error: Exception, where: str, row: int, *, all_sent: bool, repeatable: bool) -> ReportHubError:
    """A request that got no answer.

    Args:
        error: What httpx raised.
        where: The other side, for people.
        row: The row of `report_deliveries`.
        all_sent: The last byte of the request had been handed over.
        repeatable: Sending it again does no harm.
    """
    certificate = _certificate_problem(error)
    if certificate:
        return _misconfigured(
            f"{where} showed a certificate that is not trusted: {certificate}",
            "tls_ca_file",
            row,
            "set delivery_config.tls_ca_file to the PEM file of its authority, and use the full host name",
        )
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return _misconfigured(f"{where} cannot be asked this", "url", row, "correct the URL and the headers")
    silent = isinstance(error, httpx.TimeoutException)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        why = "it did not answer in time" if silent else str(error) or "no connection"
        return UnreachableError(f"{where} cannot be reached: {why}")
    what = "fell silent" if silent else "hung up"
    later = UnreachableError if silent else TransientError
    if not all_sent:
        return later(f"{where} {what} before everything was sent")
    lost = f"{where} {what} after everything was sent, before its answer"
    return later(lost) if repeatable else LostAnswerError(lost, silent=silent)


def _misconfigured(problem: str, setting: str, row: int, cure: str) -> ConfigurationError:
    return ConfigurationError(
        problem, table="report_deliveries", row=row, column=f"delivery_config.{setting}", valid=cure
    )


def _certificate_problem(error: BaseException) -> str | None:
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return each.reason or "it does not speak TLS"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""
