"""Mails as bytes: the body with its attachments once for a whole delivery, a head for each recipient.

Follows RFC 5322 and MIME; texts and file names beyond ASCII are encoded (RFC 2047, RFC 2231), addresses are
UTF-8 where they must be (RFC 6532). Heads are put together line by line: every value in them is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, quote
from functools import cached_property

from reporthub_dagster.destinations.addresses import Address
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.identity import delivery_identity
from reporthub_dagster.reporting.records import RenderedFile

_POLICY = SMTP.clone(cte_type="7bit")  # a server need not have 8BITMIME
_BREAKS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)
_PLAIN_LENGTH = 60
_LONGEST_SUBJECT = 250


class TooLargeError(PermanentError):
    """A message that the server, or the operator, does not take."""


LARGEST_MESSAGE = 150_000_000
"""Bytes of an encoded message that we build at all; most servers take less."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the heads of one delivery's mails have in common."""

    execution_id: str
    delivery_id: int
    subject: str
    sender: Address
    sender_name: str
    reply_to: tuple[Address, ...]
    cc: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One recipient's mail: `head` and `body` follow each other; `body` has its leading dots doubled."""

    sender: Address
    to: Address
    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    utf8: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + len(self.body)


@dataclass(frozen=True)
class Letter:
    """What a delivery says, before it is addressed; the body is encoded once, at the first recipient."""

    heading: Heading
    text: str
    html: str | None
    files: tuple[RenderedFile, ...]

    def addressed(
        self,
        to: Address,
        *,
        now: datetime,
        size_limit: int | None,
        utf8: bool,
        instead: Address | None = None,
    ) -> Message:
        """The mail for one recipient.

        Args:
            to: The recipient.
            instead: Who gets it in the recipient's place.
            now: For the Date header.
            size_limit: Bytes that the server takes, where it says so.
            utf8: The server takes UTF-8 in addresses.

        Raises:
            TooLargeError: It would be too large.
            PermanentError: An address cannot be written for this server.
            TransientError: A file cannot be read.
        """
        gets = instead or to
        needs_utf8 = any(a.needs_utf8 for a in (gets, self.heading.sender, *self.heading.reply_to))
        if needs_utf8 and not utf8:
            raise PermanentError("the mail server takes no addresses beyond ASCII (it offers no SMTPUTF8)")
        limit = min(size_limit or LARGEST_MESSAGE, LARGEST_MESSAGE)
        _refuse_larger(sum(file.size for file in self.files) * 4 // 3, limit)  # before reading: base64 alone
        head = encode_head(self.heading, to, now=now, utf8=utf8, instead=instead)
        message = Message(self.heading.sender, gets, head, self._body, not head.isascii() or needs_utf8)
        _refuse_larger(message.size, limit)
        return message

    @cached_property
    def _body(self) -> bytes:
        return dot_stuffed(encode_body(self.text, self.html, self.files))


def _refuse_larger(size: int, limit: int) -> None:
    if size > limit:
        raise TooLargeError(
            f"the encoded message has {size:,} bytes, at most {limit:,} may be sent: "
            "narrow the report, set delivery_config.link, or deliver it to a folder"
        )


def encode_body(text: str, html: str | None, files: Sequence[RenderedFile]) -> bytes:
    """The MIME entity with its own headers, CRLF line ends, 7-bit.

    Raises:
        PermanentError: A file is gone or is not what was rendered.
        TransientError: A file cannot be read.
    """
    message = EmailMessage(policy=_POLICY)
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for file in files:
        kind, _, parameters = file.media_type.partition(";")
        main, _, sub = kind.strip().partition("/")
        message.add_attachment(
            b"".join(chunks_of(file)),
            maintype=main or "application",
            subtype=sub or "octet-stream",
            filename=file.name,
            params=_parameters(parameters),
        )
    return message.as_bytes()


def encode_head(
    heading: Heading, to: Address, *, now: datetime, utf8: bool, instead: Address | None = None
) -> bytes:
    """The headers for one recipient, without the empty line; a body of `encode_body` follows.

    Args:
        heading: What all mails of the delivery share.
        to: The one recipient.
        now: For the Date header.
        utf8: The server takes UTF-8 in headers; without it, Cc leaves out whom it cannot name.
        instead: Who gets it in the recipient's place; the subject says for whom it is, and Cc is left out.
    """
    subject = f"[for {to.text}] {heading.subject}" if instead else heading.subject
    copies = () if instead else heading.cc
    lines = [
        f"From: {_mailbox(heading.sender_name, heading.sender)}",
        f"To: {(instead or to).wire}",
        *_address_lines("Cc", (cc for cc in copies if utf8 or not cc.needs_utf8)),
        *_address_lines("Reply-To", heading.reply_to),
        f"Subject: {encode_text(subject, 'Subject')}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: {message_id(heading, to)}",
        f"X-ReportHub-Execution-Id: {re.sub(r'[^A-Za-z0-9._-]', '', heading.execution_id)}",
        "Auto-Submitted: auto-generated",  # RFC 3834: keeps out-of-office answers away
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def message_id(heading: Heading, to: Address) -> str:
    """The same for every attempt to bring this execution's delivery to this recipient."""
    identity = delivery_identity(heading.execution_id, heading.delivery_id, to.text)
    return f"<{identity}@{heading.sender.domain}>"


def one_line(text: str) -> str:
    """`text` without line breaks and control characters: nothing in it can begin a header."""
    return _BREAKS.sub(" ", text).strip()


def encode_text(text: str, header: str) -> str:
    """Free text as a header value, folded; encoded words where ASCII does not do."""
    line = one_line(text)[:_LONGEST_SUBJECT]
    if _is_plain(line):
        return line
    return Header(line, "utf-8", header_name=header).encode(linesep="\r\n")


def dot_stuffed(data: bytes) -> bytes:
    """Leading dots doubled (RFC 5321, 4.5.2)."""
    return _LEADING_DOT.sub(b"..", data)


def default_texts(values: Mapping[str, str]) -> tuple[str, str]:
    """Subject and text of a delivery whose row has none, as templates."""
    name = "{{report_name}}" if "report_name" in values else "{{delivery_name}}"
    dated = "start_datetime" in values and "end_datetime" in values
    window = "{{start_datetime}} to {{end_datetime}}" if dated else ""
    zone = " ({{timezone}})" if values.get("timezone") else ""
    covers = f"It covers {window}{zone}.\n" if window else ""
    rows = "1 row" if values.get("row_count") == "1" else "{{row_count}} rows"
    subject = f"{name}: {window}" if window else name
    return subject, f"Hello,\n\nyour report {name} is attached: {{{{file_names}}}}, {rows}.\n{covers}"


def _mailbox(name: str, address: Address) -> str:
    line = one_line(name)
    if not line:
        return address.wire
    if _is_plain(line):
        return f'"{quote(line)}" <{address.wire}>'
    return f"{encode_text(line, 'From')}\r\n <{address.wire}>"


def _is_plain(line: str) -> bool:
    return line.isascii() and len(line) <= _PLAIN_LENGTH and "=?" not in line


def _address_lines(header: str, addresses: Iterable[Address]) -> list[str]:
    written = ",\r\n ".join(address.wire for address in addresses)
    return [f"{header}: {written}"] if written else []


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if name.strip()}
