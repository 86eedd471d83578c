"""Reaching a mail server: which one, encrypted as it must be, signed in; failures as errors of ours."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
from dataclasses import dataclass, field

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    ReportHubError,
    TransientError,
    UnreachableError,
)
from reporthub_dagster.reporting.redaction import redact

_OK, _PERMANENT = 2, 5  # first digits of answers
_ENVIRONMENT = {
    "smtp_server": "SMTP_HOST",
    "smtp_port": "SMTP_PORT",
    "username": "SMTP_USER",
    "password": "SMTP_PASSWORD",
    "use_tls": "SMTP_USE_TLS",
    "tls_ca_file": "REPORTHUB_SMTP_CA_FILE",
}


@dataclass(frozen=True, slots=True)
class Route:
    """The mail server of one delivery.

    Attributes:
        row: The row of `report_deliveries` that names it; None when it is the environment's.
        starttls: TLS is asked for after connecting, and required.
        implicit_tls: TLS from the first byte.
        egress: Which addresses it may be at.
    """

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    starttls: bool
    implicit_tls: bool
    ca_file: str | None
    verify: bool
    row: int | None
    egress: EgressPolicy = field(default_factory=EgressPolicy, repr=False)

    @property
    def name(self) -> str:
        """For messages."""
        return f"the mail server {self.host}:{self.port}"

    @property
    def server(self) -> str:
        """The same for every delivery that goes by this server."""
        return f"smtp://{self.host.lower()}:{self.port}"

    @property
    def secrets(self) -> frozenset[str]:
        """The password, also as AUTH sends it."""
        if not self.password:
            return frozenset()
        sent = (self.password, f"\0{self.username}\0{self.password}")
        return frozenset({self.password, *(base64.b64encode(text.encode()).decode() for text in sent)})

    def setting(self, name: str) -> str:
        """Where a person changes a setting of this server."""
        here = f"delivery_config.{name}"
        return here if self.row is not None else _ENVIRONMENT.get(name, here)

    def misconfigured(self, problem: str, setting: str, valid: str) -> ConfigurationError:
        """An error that a person cures in the row or the environment."""
        table = "report_deliveries" if self.row is not None else None
        return ConfigurationError(
            f"{self.name} {problem}", table=table, row=self.row, column=self.setting(setting), valid=valid
        )


class _Guarded(smtplib.SMTP):
    """Connects where the policy lets it; smtplib looks up and connects in one private method."""

    def __init__(self, route: Route, timeout: float) -> None:
        self._egress = route.egress
        super().__init__(route.host, route.port, "localhost", timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._egress.connect(host, port, timeout)


class _GuardedTls(smtplib.SMTP_SSL, _Guarded):
    """The same with TLS from the first byte."""

    def __init__(self, route: Route, timeout: float, context: ssl.SSLContext | None) -> None:
        self._egress = route.egress
        smtplib.SMTP_SSL.__init__(self, route.host, route.port, "localhost", timeout=timeout, context=context)


def connect(route: Route, timeout: float) -> smtplib.SMTP:
    """A connection that is ready for mail; every step is held to `timeout` seconds.

    Raises:
        ConfigurationError: The server or we refuse; nothing was sent in the clear that should not be.
        UnreachableError: It is not there.
        TransientError: It is not ready.
    """
    context = _tls_context(route)
    with contextlib.ExitStack() as opened:
        try:
            smtp = _reach(route, timeout, context)
            opened.callback(smtp.close)
            smtp.ehlo_or_helo_if_needed()
            if route.starttls:
                _start_tls(smtp, route, context)
            if route.username:
                _sign_in(smtp, route.username, route.password or "")
        except (OSError, ValueError) as error:  # smtplib's own are OSErrors; a bad host name is a ValueError
            raise _translated(error, route) from None
        opened.pop_all()
    smtp.command_encoding = "utf-8"  # only ever used where the server offers SMTPUTF8
    return smtp


def _tls_context(route: Route) -> ssl.SSLContext | None:
    if not (route.starttls or route.implicit_tls):
        return None
    try:
        context = ssl.create_default_context(cafile=route.ca_file)
    except OSError as error:  # a file that is not there, or SSLError for one that is no PEM
        raise route.misconfigured(
            f"is to be verified with a file that cannot be used: {route.ca_file}: {error.strerror}",
            "tls_ca_file",
            "give the path of a PEM file with the certificate of its authority",
        ) from None
    if not route.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reach(route: Route, timeout: float, context: ssl.SSLContext | None) -> smtplib.SMTP:
    """Connect and read the greeting; our name is our address, so that no look-up can hang."""
    smtp = _GuardedTls(route, timeout, context) if route.implicit_tls else _Guarded(route, timeout)
    assert smtp.sock is not None  # noqa: S101 - for mypy: connected, or smtplib had raised
    own = smtp.sock.getsockname()[0]
    smtp.local_hostname = f"[IPv6:{own}]" if ":" in own else f"[{own}]"
    return smtp


def _start_tls(smtp: smtplib.SMTP, route: Route, context: ssl.SSLContext | None) -> None:
    if not smtp.has_extn("starttls"):
        raise route.misconfigured(
            "does not offer STARTTLS, so nothing was sent",
            "use_tls",
            "ask its operator, or set use_ssl where the port expects TLS from the first byte; "
            "false sends in the clear",
        )
    smtp.starttls(context=context)
    smtp.ehlo_or_helo_if_needed()


def _sign_in(smtp: smtplib.SMTP, username: str, password: str) -> None:
    if (username + password).isascii():
        smtp.login(username, password)
        return
    if "PLAIN" not in smtp.esmtp_features.get("auth", "").upper().split():
        raise smtplib.SMTPNotSupportedError
    identity = base64.b64encode(f"\0{username}\0{password}".encode()).decode()  # smtplib knows ASCII only
    code, answer = smtp.docmd("AUTH", f"PLAIN {identity}")
    if code // 100 != _OK:
        raise smtplib.SMTPAuthenticationError(code, answer)


def _translated(error: Exception, route: Route) -> ReportHubError:
    """smtplib's, ssl's and the socket's exceptions as ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return route.misconfigured(
            f"showed a certificate that is not trusted: {error.verify_message}",
            "tls_ca_file",
            "set delivery_config.tls_ca_file to the PEM file of its authority, and use the full host name",
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return route.misconfigured(
            f"does not speak TLS as it should: {error.reason}",
            "smtp_port",
            "use_ssl is for ports that begin with TLS (465), use_tls for STARTTLS (587)",
        )
    if isinstance(error, smtplib.SMTPNotSupportedError) or type(error) is smtplib.SMTPException:
        return route.misconfigured(
            "offers no way to sign in that fits", "username", "remove the user name, or set use_tls"
        )
    if isinstance(error, smtplib.SMTPResponseException):
        return _refusal(error, route)
    if not isinstance(error, OSError):
        return route.misconfigured("has no valid name", "smtp_server", "give a host name")
    silent = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
    why = "it did not answer in time; a port that begins with TLS needs use_ssl" if silent else str(error)
    return UnreachableError(f"{route.name} cannot be reached: {why} (set in {route.setting('smtp_server')})")


def _refusal(error: smtplib.SMTPResponseException, route: Route) -> ReportHubError:
    """An answer other than welcome while connecting or signing in."""
    text = (
        error.smtp_error.decode("utf-8", "replace")
        if isinstance(error.smtp_error, bytes)
        else error.smtp_error
    )
    answer = redact(f"{error.smtp_code} {text}", route.secrets)
    if error.smtp_code // 100 != _PERMANENT:
        return TransientError(f"{route.name} is not ready: {answer}")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return route.misconfigured(
            f"refused the user name or the password: {answer}", "password", "set the user name and password"
        )
    return route.misconfigured(f"refuses us: {answer}", "smtp_server", "use a server that takes our mail")
