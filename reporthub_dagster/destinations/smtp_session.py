"""SMTP with the answers that matter told apart: refused, later, gone before the message, gone after it.

What a lost connection means depends on how far the message was (RFC 5321, 6.1): before its last byte the
server cannot have taken it (`retry`); after that and before the answer nobody knows (`unknown`).
"""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from reporthub_dagster.destinations.email_message import Message
from reporthub_dagster.destinations.smtp_connect import Route, connect
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    ReportHubError,
    TransientError,
    UnreachableError,
)
from reporthub_dagster.reporting.records import ReceiptState

_PIECE = 1 << 16
_ANSWER_PATIENCE = 4
"""The answer to a whole message may take this many time limits: giving up on it leaves `unknown`."""
_QUIT_SECONDS = 3.0
_MOST_LOSSES = 3
"""Connections lost one after the other, with no answer between, before the rest is left for later."""
_SERVICE_ENDS = 421
_BEGINNING = ("RSET", "MAIL")
"""Commands before which a connection may have ended without anybody's message being at fault."""
_OK, _GO_ON, _TEMPORARY, _PERMANENT = 2, 3, 4, 5  # first digits of answers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message.

    Attributes:
        lost: The connection is gone.
        stale: It was gone before this message began, on a connection that was used before.
        ends: Nothing more can be sent for now: everybody left gets the same state.
        needs_person: It is refused until a person changes a row.
        unreachable: The server was away or fell silent.
    """

    state: ReceiptState
    detail: str
    lost: bool = False
    stale: bool = False
    ends: bool = False
    needs_person: bool = False
    unreachable: bool = False


class SmtpSession:
    """One connection, signed in.

    Attributes:
        size_limit: Bytes of the largest message that the server takes, where it says so.
        utf8: The server takes UTF-8 in addresses and headers.
    """

    def __init__(self, smtp: smtplib.SMTP, route: Route, timeout: float) -> None:
        self.route = route
        self.size_limit = int(_feature(smtp, "size") or 0) or None
        self.utf8 = smtp.has_extn("smtputf8")
        self._smtp = smtp
        self._timeout = timeout
        self._used = False
        self._unclean = False

    @classmethod
    def open(cls, route: Route, timeout: float) -> Self:
        """Connect, encrypt as the route says, sign in.

        Raises:
            ConfigurationError: The server or we refuse; nothing was sent in the clear that should not be.
            TransientError: It is not there, or not now.
        """
        return cls(connect(route, timeout), route, timeout)

    def describe(self) -> str:
        """What answered, for people."""
        version = getattr(self._smtp.sock, "version", lambda: None)()
        signed_in = f", signed in as {self.route.username}" if self.route.username else ""
        return f"{self.route.name} answered over {version or 'a plain connection'}{signed_in}"

    def transact(self, message: Message) -> Outcome:
        """Bring one message to its one recipient."""
        verb = ""
        commands, self._unclean = self._commands(message), False
        try:
            for verb, arguments, expected in commands:
                code, answer = self._smtp.docmd(verb, arguments)
                if code // 100 != expected:
                    return self._declined(verb, code, answer)
            self._push(message)
        except (smtplib.SMTPException, UnicodeError) as error:
            self._smtp.close()
            stale = self._used and verb in _BEGINNING
            detail = f"{self.route.name} hung up before the message was sent"
            return _lost("retry", detail, error, stale=stale)
        return self._answered()

    def close(self) -> None:
        """Say good-bye if the server still listens, and close."""
        with contextlib.suppress(OSError):
            if self._smtp.sock is not None:
                self._smtp.sock.settimeout(min(self._timeout, _QUIT_SECONDS))
                self._smtp.quit()
        self._smtp.close()

    def _commands(self, message: Message) -> list[tuple[str, str, int]]:
        options = f" SIZE={message.size}" if _feature(self._smtp, "size") else ""
        options += " SMTPUTF8" if message.utf8 else ""
        return [
            *([("RSET", "", _OK)] if self._unclean else []),
            ("MAIL", f"FROM:<{message.sender.wire}>{options}", _OK),
            ("RCPT", f"TO:<{message.to.wire}>", _OK),
            ("DATA", "", _GO_ON),
        ]

    def _declined(self, verb: str, code: int, answer: bytes) -> Outcome:
        """An answer before the message was sent."""
        outcome = _judged(code, answer, garbled="retry")
        stale = self._used and (verb == "RSET" or (verb in _BEGINNING and outcome.ends))
        self._used = self._unclean = True
        return replace(outcome, stale=stale, lost=outcome.lost or stale)

    def _push(self, message: Message) -> None:
        """In pieces, so that the time limit is for each piece and a slow line may carry a large file."""
        for part in (message.head, message.body):
            view = memoryview(part)
            for start in range(0, len(view), _PIECE):
                self._smtp.send(view[start : start + _PIECE])
        self._smtp.send(b".\r\n" if message.body.endswith(b"\r\n") else b"\r\n.\r\n")

    def _answered(self) -> Outcome:
        """The server's word on a message that is out of our hands."""
        try:
            if self._smtp.sock is not None:
                self._smtp.sock.settimeout(self._timeout * _ANSWER_PATIENCE)
            code, answer = self._smtp.getreply()
        except smtplib.SMTPException as error:
            self._smtp.close()
            return _lost("unknown", f"{self.route.name} hung up after the message, before its answer", error)
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(self._timeout)
        self._used = True
        return _judged(code, answer, garbled="unknown")


class Courier:
    """Carries messages over one connection, and over a new one where that is lost on the way."""

    def __init__(self, route: Route, timeout: float) -> None:
        self._route = route
        self._timeout = timeout
        self._session: SmtpSession | None = None
        self._end: Outcome | None = None
        self._losses = 0

    def deliver(self, compose: Callable[[SmtpSession], Message]) -> Outcome:
        """Send what `compose` makes for the server it is shown, if it can make it."""
        if self._end is not None:
            return self._end
        try:
            session = self._session = self._session or SmtpSession.open(self._route, self._timeout)
        except ReportHubError as error:
            unreachable = isinstance(error, UnreachableError)
            self._end = replace(_failed(error), unreachable=unreachable)
            return self._end
        try:
            message = compose(session)
        except ReportHubError as error:
            return _failed(error)
        outcome = session.transact(message)
        self._learn(outcome)
        return self.deliver(compose) if outcome.stale else outcome

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _learn(self, outcome: Outcome) -> None:
        if outcome.lost:
            self.close()
        if outcome.stale:
            return
        self._losses = self._losses + 1 if outcome.lost else 0
        if outcome.ends or self._losses >= _MOST_LOSSES:
            detail = f"not tried after this: {outcome.detail}"
            self._end = Outcome("retry", detail, unreachable=outcome.unreachable)


def _failed(error: ReportHubError) -> Outcome:
    state: ReceiptState = "retry" if isinstance(error, TransientError) else "refused"
    return Outcome(state, str(error), needs_person=isinstance(error, ConfigurationError))


def _judged(code: int, answer: bytes, *, garbled: ReceiptState) -> Outcome:
    detail = f"{code} {answer.decode('utf-8', 'replace')}"
    states: dict[int, ReceiptState] = {_OK: "sent", _TEMPORARY: "retry", _PERMANENT: "refused"}
    state = states.get(code // 100)
    if state is None or (state == "sent" and garbled == "retry"):
        return Outcome(garbled, f"an answer that makes no sense: {detail}", lost=True)
    ends = code == _SERVICE_ENDS
    return Outcome(state, detail, lost=ends, ends=ends)


def _lost(state: ReceiptState, detail: str, error: Exception, *, stale: bool = False) -> Outcome:
    if isinstance(error.__context__, TimeoutError):
        return Outcome(
            state, detail.replace("hung up", "fell silent"), lost=True, ends=True, unreachable=True
        )
    return Outcome(state, detail, lost=True, stale=stale)


def _feature(smtp: smtplib.SMTP, name: str) -> str:
    """The number that an extension came with, or empty."""
    value = smtp.esmtp_features.get(name, "")
    return value if value.isdecimal() else ""
