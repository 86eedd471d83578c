"""A real SMTP server in the test process: STARTTLS, SMTPS, AUTH, SIZE, a mailbox, and faults on demand.

`smtp_server` is the easy one (plain, no sign-in, keeps what it is sent); `start_mail_server` makes others.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from reporthub_dagster.destinations.environment import SmtpServer
from reporthub_dagster_tests.servers.process import wait_until

HOST = "127.0.0.1"
SENDER = "reports@hub.test"
DROP = "drop"
"""Cut the connection instead of answering."""
HANG = "hang"
"""Say nothing more."""

Phase = Literal["RCPT", "DATA", "PAYLOAD", "ANSWER"]
"""Where a fault strikes: at RCPT, at DATA before 354, while the payload arrives, or as the last answer.

An `ANSWER` of `drop` or `hang` comes after the message was accepted: it is in the mailbox.
"""


@dataclass(frozen=True)
class Mail:
    """One accepted message, as one recipient has it."""

    sender: str
    recipient: str
    content: bytes = field(repr=False)
    encrypted: bool
    login: str | None
    options: tuple[str, ...]

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        """The plain-text body, its line ends as in Python."""
        body = self.message.get_body(("plain",))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    @property
    def attachments(self) -> dict[str, bytes]:
        """File name → bytes."""
        return {
            part.get_filename() or "": part.get_payload(decode=True)  # type: ignore[misc]
            for part in self.message.iter_attachments()
        }


class MailServer:
    """An SMTP server on a free loopback port, with a mailbox that tests read.

    Args:
        tls: Certificate for STARTTLS or, with `implicit_tls`, from the first byte; None for plain.
        users: Name → password; empty for a server without AUTH.
        size_limit: Bytes that SIZE advertises; None to say nothing about size.
        greeting: What to say instead of 220 before hanging up.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        users: dict[str, str] | None = None,
        size_limit: int | None = 33_554_432,
        smtputf8: bool = True,
        greeting: str | None = None,
    ) -> None:
        self.host = HOST
        self.port = 0
        self.mails: list[Mail] = []
        self.connections = 0
        self.quits = 0
        self.greeting = greeting
        self.users = users or {}
        self.mail_answers: deque[str | None] = deque()
        """Answers to the next MAIL commands, whoever they are for; None means 250."""
        self.open: set[SMTP] = set()
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._size_limit = size_limit
        self._smtputf8 = smtputf8
        self._script: dict[tuple[str, Phase], deque[str]] = defaultdict(deque)

    def script(self, recipient: str, phase: Phase, *actions: str) -> None:
        """What the next messages for `recipient` meet: an answer like `450 4.2.0 later`, `DROP` or `HANG`."""
        self._script[recipient, phase].extend(actions)

    def scripted(self, recipients: list[str], phase: Phase) -> str | None:
        """Take the next action for the one recipient of an envelope, if there is one."""
        actions = self._script[recipients[0], phase] if recipients else None
        return actions.popleft() if actions else None

    def to(self, recipient: str) -> list[Mail]:
        """What one recipient got."""
        return [mail for mail in self.mails if mail.recipient == recipient]

    def hang_up(self) -> None:
        """Cut every connection and wait until they are gone."""
        for protocol in list(self.open):
            self._loop.call_soon_threadsafe(_abort, protocol)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until every client has gone, or fail."""
        wait_until(lambda: not self.open, "closing of every connection to the mail server", 5)

    @property
    def environment(self) -> SmtpServer:
        """This server as destinations get it from the environment."""
        return SmtpServer(self.host, self.port, from_email=SENDER, use_tls=False)

    @property
    def environ(self) -> dict[str, str]:
        """This server as an operator writes it into `.env`."""
        return {
            "SMTP_HOST": self.host,
            "SMTP_PORT": str(self.port),
            "SMTP_FROM_EMAIL": SENDER,
            "SMTP_USE_TLS": "false",
        }

    def session(self) -> SMTP:
        """The protocol of one connection; AUTH is asked for late: aiosmtpd would warn of it."""
        protocol = _Protocol(
            self,
            data_size_limit=self._size_limit,
            enable_SMTPUTF8=self._smtputf8,
            hostname="mail.hub.test",
            tls_context=None if self._implicit_tls else self._tls,
            auth_require_tls=not self._implicit_tls and self._tls is not None,
            auth_exclude_mechanism=() if self.users else ("LOGIN", "PLAIN"),
            authenticator=self._authenticate,
        )
        protocol._auth_required = bool(self.users)  # noqa: SLF001 - see above
        return protocol

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = self.users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=good, handled=False, auth_data=data)

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        """Serve from a thread of its own until the block ends; connections that are left are cut."""
        loop = self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        stop = asyncio.Event()
        thread = threading.Thread(
            target=lambda: loop.run_until_complete(self._serve(ready, stop)), name="smtp", daemon=True
        )
        thread.start()
        assert ready.wait(10), "the mail server did not start"
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        asyncio.set_event_loop(loop)
        context = self._tls if self._implicit_tls else None
        listener = await loop.create_server(self.session, HOST, 0, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        listener.close()
        for protocol in list(self.open):
            _abort(protocol)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        asyncio.set_event_loop(None)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take a sender, or answer as `mail_answers` says."""
        action = self.mail_answers.popleft() if self.mail_answers else None
        if action is not None:
            return await _act(server, action)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or answer as scripted."""
        action = self.scripted([address], "RCPT")
        if action is not None:
            return await _act(server, action)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a message, unless the script refuses it."""
        action = self.scripted(envelope.rcpt_tos, "ANSWER")
        if action is None or action in (DROP, HANG):
            login = session.auth_data.login.decode() if session.auth_data else None
            encrypted = server.transport.get_extra_info("cipher") is not None  # type: ignore[union-attr]
            self.mails.extend(
                Mail(envelope.mail_from, to, envelope.content, encrypted, login, tuple(envelope.mail_options))
                for to in envelope.rcpt_tos
            )
        return await _act(server, action) if action is not None else f"250 2.0.0 queued as Q{len(self.mails)}"

    async def handle_QUIT(self, *_: Any) -> str:  # noqa: N802
        """Count the clients that said good-bye."""
        self.quits += 1
        return "221 2.0.0 Bye"


class _Protocol(SMTP):
    """aiosmtpd's protocol with the faults that its hooks do not reach."""

    def __init__(self, owner: MailServer, **options: Any) -> None:
        self._owner = owner
        super().__init__(owner, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self not in self._owner.open:
            self._owner.open.add(self)
            self._owner.connections += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.open.discard(self)
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        if self._owner.greeting is None:
            await super()._handle_client()
            return
        await self.push(await _act(self, self._owner.greeting))
        self.transport.close()  # type: ignore[union-attr]

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        recipients = self.envelope.rcpt_tos  # type: ignore[union-attr]
        action = self._owner.scripted(recipients, "DATA")
        if action is not None:
            await self.push(await _act(self, action))
        elif self._owner.scripted(recipients, "PAYLOAD"):
            await self.push("354 go ahead")
            await self._reader.readuntil(b"\r\n")
            _abort(self)
        else:
            await super().smtp_DATA(arg)


async def _act(server: SMTP, action: str) -> str:
    if action == DROP:
        _abort(server)
        await asyncio.sleep(60)
    if action == HANG:
        await asyncio.sleep(3600)
    return action


def _abort(server: SMTP) -> None:
    transport = server._original_transport or server.transport  # noqa: SLF001 - the socket below STARTTLS
    if transport is not None:
        transport.abort()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def smtp_ca() -> trustme.CA:
    """A certificate authority that only tests trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def smtp_ca_file(smtp_ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate as a PEM file, for `tls_ca_file`."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    smtp_ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def smtp_tls(smtp_ca: trustme.CA) -> ssl.SSLContext:
    """A server's side of TLS for `localhost` and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    smtp_ca.issue_cert("localhost", HOST).configure_cert(context)
    return context


@pytest.fixture
def start_mail_server() -> Iterator[Callable[..., MailServer]]:
    """Starts mail servers with the options of `MailServer`; all end with the test."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(MailServer(**options).running())


@pytest.fixture
def smtp_server(start_mail_server: Callable[..., MailServer]) -> MailServer:
    """Plain SMTP without sign-in that keeps what it is sent."""
    return start_mail_server()


@pytest.fixture
def starttls_server(start_mail_server: Callable[..., MailServer], smtp_tls: ssl.SSLContext) -> MailServer:
    """STARTTLS and AUTH: user `hub`, password `c4nary-passw0rd`."""
    return start_mail_server(tls=smtp_tls, users={"hub": "c4nary-passw0rd"})


@pytest.fixture
def smtps_server(start_mail_server: Callable[..., MailServer], smtp_tls: ssl.SSLContext) -> MailServer:
    """TLS from the first byte and AUTH: user `hub`, password `c4nary-passw0rd`."""
    return start_mail_server(tls=smtp_tls, implicit_tls=True, users={"hub": "c4nary-passw0rd"})
