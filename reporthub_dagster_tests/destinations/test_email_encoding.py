"""Whatever people write into rows: addresses are one mailbox or refused, and no text becomes a header."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.destinations.addresses import Address, split_addresses
from reporthub_dagster.destinations.email_message import Heading, dot_stuffed, encode_body, encode_head

ANA = Address.parse("ana@x.test")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "X-ReportHub-Execution-Id", "Auto-Submitted"]
NASTY = st.text(st.sampled_from('aÜ日😀 \r\n\x00\x0b\x85\u2028:;,<>@"\\=?_.()[]')) | st.text()


@given(NASTY | st.builds("{}@{}".format, NASTY, NASTY))
def test_an_address_is_one_mailbox_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert not set(address.wire) & set(' \t\r\n\0<>",;:()[]\\')
    assert address.wire.count("@") == 1
    assert address.domain.isascii()
    assert Address.parse(address.text).wire == address.wire
    assert len(split_addresses(address.text)) == 1


@given(NASTY, NASTY, NASTY)
def test_no_text_becomes_a_header(subject: str, name: str, execution_id: str) -> None:
    heading = Heading(execution_id, 7, subject, ANA, name, (), ())
    head = encode_head(heading, ANA, now=datetime(2025, 1, 1, tzinfo=UTC), utf8=False)
    assert head.isascii()
    assert [line.split(b":")[0].decode() for line in head.split(b"\r\n") if line[:1].strip()] == HEADERS
    assert head.replace(b"\r\n", b"").count(b"\n") == head.replace(b"\r\n", b"").count(b"\r") == 0
    parsed = message_from_bytes(head + b"\r\n", policy=policy.default)
    assert parsed["From"].addresses[0].addr_spec == "ana@x.test"


@given(NASTY)
def test_a_body_is_seven_bit_and_survives_the_dots(text: str) -> None:
    body = encode_body(text, None, ())
    assert body.isascii()
    stuffed = dot_stuffed(body)
    assert b"\n.\r" not in stuffed
    assert stuffed.replace(b"\n..", b"\n.") == body
    content = message_from_bytes(body, policy=policy.default).get_content()
    assert "".join(content.split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("Ana@Example.TEST", "Ana@example.test"),
        ("Ana Lee <ana@x.test>", "ana@x.test"),
        ('"Lee, Ana" <ana@x.test>', "ana@x.test"),
        ("o'neil+tag_1%x@sub.x.test", "o'neil+tag_1%x@sub.x.test"),
        ("root@localhost", "root@localhost"),
        ("jörg@BÜCHER.test", "jörg@xn--bcher-kva.test"),
        ("用户@例え.test", "用户@xn--r8jz45g.test"),
    ],
)
def test_what_is_an_address(text: str, wire: str) -> None:
    assert Address.parse(text).wire == wire
