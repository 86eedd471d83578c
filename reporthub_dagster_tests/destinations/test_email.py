"""What only e-mail does: TLS and signing in, the answers of servers, and the mails themselves."""

from __future__ import annotations

import html
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen
from zipfile import ZipFile

import pytest
import trustme

from reporthub_dagster.destinations.email import EmailDestination
from reporthub_dagster.destinations.environment import DestinationSettings, MailPolicy, SmtpServer
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.excerpt import Excerpt
from reporthub_dagster.reporting.records import DeliveryReceipt
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all, states
from reporthub_dagster_tests.servers.s3 import Bucket
from reporthub_dagster_tests.servers.smtp import DROP, HANG, SENDER, MailServer, Phase

PASSWORD = "c4nary-passw0rd"
ANA, BO, CY = "ana@x.test", "bo@x.test", "cy@x.test"
SignedIn = Callable[..., EmailDestination]
Sent = Callable[..., EmailMessage]


def destination(server: MailServer, *people: str, timeout: float = 5, **options: Any) -> EmailDestination:
    """Mail through the environment's server, which is this one."""
    settings = DestinationSettings(server.environment, timeout_seconds=timeout)
    return EmailDestination(delivery("email", options, *(people or (ANA, BO, CY))), settings)


def own_server(server: MailServer, ca: Path | None, **options: Any) -> EmailDestination:
    """Mail through the row's own server, signed in."""
    row = {
        "smtp_host": "localhost",
        "smtp_port": str(server.port),
        "username": "hub",
        "password": PASSWORD,
        "from_email": SENDER,
        "tls_ca_file": str(ca) if ca else None,
        **options,
    }
    return EmailDestination(delivery("email", row, ANA, BO), DestinationSettings(timeout_seconds=5))


def one_mail(server: MailServer, tmp_path: Path, **options: Any) -> EmailMessage:
    """The mail that Ana gets."""
    receipts = send_all(destination(server, ANA, **options), parcel(rendered(tmp_path)))
    assert states(receipts)[ANA] == "sent", receipts
    return server.to(ANA)[-1].message


# --- TLS and signing in ---------------------------------------------------------------------------------


def test_starttls_and_sign_in(starttls_server: MailServer, smtp_ca_file: Path, tmp_path: Path) -> None:
    mail = own_server(starttls_server, smtp_ca_file, use_tls=True)
    assert set(states(send_all(mail, parcel(rendered(tmp_path)))).values()) == {"sent"}
    assert [(m.encrypted, m.login) for m in starttls_server.mails] == [(True, "hub")] * 2
    assert starttls_server.connections == 1
    assert "TLSv1.3, signed in as hub" in mail.check()
    assert mail.warnings == ()


def test_tls_from_the_first_byte(smtps_server: MailServer, smtp_ca_file: Path, tmp_path: Path) -> None:
    mail = own_server(smtps_server, smtp_ca_file, use_ssl=True)
    assert set(states(send_all(mail, parcel(rendered(tmp_path)))).values()) == {"sent"}
    assert all(m.encrypted and m.login == "hub" for m in smtps_server.mails)


def test_a_stripped_starttls_sends_nothing_in_the_clear(
    start_mail_server: Callable[..., MailServer], tmp_path: Path
) -> None:
    server = start_mail_server(users={"hub": PASSWORD})
    receipts = send_all(own_server(server, None, use_tls=True), parcel(rendered(tmp_path)))
    assert states(receipts) == {ANA: "refused", BO: "refused"}
    assert "does not offer STARTTLS" in receipts[0].detail
    assert "delivery_config.use_tls" in receipts[0].detail
    assert not server.mails


@pytest.mark.parametrize("kind", ["starttls_server", "smtps_server"])
def test_a_certificate_of_nobody_we_know_is_refused_with_the_cure(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    server: MailServer = request.getfixturevalue(kind)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for ca in (other, None):
        mail = own_server(server, ca, use_tls=kind == "starttls_server", use_ssl=kind == "smtps_server")
        receipts = send_all(mail, parcel(rendered(tmp_path)))
        assert states(receipts) == {ANA: "refused", BO: "refused"}
        assert "tls_ca_file" in receipts[0].detail
        with pytest.raises(ConfigurationError, match="certificate that is not trusted"):
            mail.check()
    assert not server.mails


def test_a_certificate_for_another_name_is_refused(
    start_mail_server: Callable[..., MailServer], smtp_ca: trustme.CA, smtp_ca_file: Path, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    smtp_ca.issue_cert("mail.elsewhere.test").configure_cert(context)
    mail = own_server(start_mail_server(tls=context, users={"hub": PASSWORD}), smtp_ca_file, use_tls=True)
    assert "refused" in states(send_all(mail, parcel(rendered(tmp_path)))).values()


def test_verification_can_be_switched_off_with_a_warning(starttls_server: MailServer, tmp_path: Path) -> None:
    mail = own_server(starttls_server, None, use_tls=True, tls_verify=False)
    assert "any certificate of localhost is accepted" in mail.warnings[0]
    assert set(states(send_all(mail, parcel(rendered(tmp_path)))).values()) == {"sent"}


def test_a_missing_ca_file_says_which(starttls_server: MailServer, tmp_path: Path) -> None:
    mail = own_server(starttls_server, tmp_path / "none.pem", use_tls=True)
    with pytest.raises(ConfigurationError, match=r"none\.pem") as caught:
        mail.check()
    assert caught.value.column == "delivery_config.tls_ca_file"


def test_a_wrong_password_refuses_everybody_and_is_not_shown(
    starttls_server: MailServer, smtp_ca_file: Path, tmp_path: Path
) -> None:
    mail = own_server(starttls_server, smtp_ca_file, use_tls=True, password="wr0ng-s3cret")
    receipts = send_all(mail, parcel(rendered(tmp_path)))
    assert states(receipts) == {ANA: "refused", BO: "refused"}
    assert "refused the user name or the password: 535" in receipts[0].detail
    assert "delivery_config.password" in receipts[0].detail
    assert "wr0ng" not in repr(receipts)
    with pytest.raises(ConfigurationError):
        mail.check()
    assert starttls_server.connections == 2  # one for the delivery, one for the check: no hammering


def test_a_server_that_repeats_the_password_is_redacted(
    start_mail_server: Callable[..., MailServer],
) -> None:
    greeting = f"554 no service for {PASSWORD} (AGh1YgBjNG5hcnktcGFzc3cwcmQ=)"
    server = start_mail_server(users={"hub": PASSWORD}, greeting=greeting)
    with pytest.raises(ConfigurationError) as caught:
        own_server(server, None, use_tls=False).check()
    assert "refuses us: 554 no service for •••" in str(caught.value)
    assert "AGh1" not in str(caught.value)


def test_a_password_beyond_ascii(
    start_mail_server: Callable[..., MailServer], smtp_tls: ssl.SSLContext, smtp_ca_file: Path, tmp_path: Path
) -> None:
    server = start_mail_server(tls=smtp_tls, users={"hub": "schlüssel"})
    good = own_server(server, smtp_ca_file, use_tls=True, password="schlüssel")
    assert set(states(send_all(good, parcel(rendered(tmp_path)))).values()) == {"sent"}
    with pytest.raises(ConfigurationError, match="535"):
        own_server(server, smtp_ca_file, use_tls=True, password="schlüssel!").check()


def test_a_server_without_sign_in_is_told_apart(smtp_server: MailServer) -> None:
    with pytest.raises(ConfigurationError, match="no way to sign in") as caught:
        own_server(smtp_server, None, use_tls=False).check()
    assert caught.value.column == "delivery_config.username"


def test_a_password_in_the_clear_is_a_warning(smtp_server: MailServer) -> None:
    assert "unencrypted" in own_server(smtp_server, None, use_tls=False).warnings[0]


def test_tls_to_a_plain_port_names_the_setting(smtp_server: MailServer) -> None:
    with pytest.raises(ConfigurationError, match="use_ssl is for ports that begin with TLS"):
        own_server(smtp_server, None, use_ssl=True).check()


# --- which server, which sender -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (587, True, False)),
        ({"smtp_port": 465}, (465, False, True)),
        ({"smtp_port": 465, "use_tls": True, "use_ssl": False}, (465, False, True)),
        ({"smtp_port": 25}, (25, False, False)),
        ({"smtp_port": "2525", "use_tls": "true"}, (2525, True, False)),
        ({"use_tls": False}, (587, False, False)),
        ({"use_ssl": True}, (465, False, True)),
    ],
)
def test_the_rows_server_and_its_encryption(
    options: dict[str, Any], expected: tuple[int, bool, bool]
) -> None:
    row = delivery("email", {"smtp_server": "mail.x.test", "from_email": SENDER, **options}, ANA)
    route = EmailDestination(row, DestinationSettings())._route  # noqa: SLF001
    assert (route.port, route.starttls, route.implicit_tls) == expected


def test_the_environments_password_stays_with_the_environments_server() -> None:
    environment = SmtpServer("mail.env.test", 587, "env", PASSWORD, SENDER)
    settings = DestinationSettings(environment)
    of_environment = EmailDestination(delivery("email", {}, ANA), settings)
    of_row = EmailDestination(delivery("email", {"smtp_host": "mail.row.test"}, ANA), settings)
    assert of_environment._route.password == PASSWORD  # noqa: SLF001
    assert of_row._route.password is None  # noqa: SLF001
    assert PASSWORD not in repr(vars(of_environment))


@pytest.mark.parametrize(
    ("options", "username", "from_email", "sender"),
    [
        ({"from_email": "row@x.test"}, "env@x.test", SENDER, "row@x.test"),
        ({"username": "login@x.test"}, None, SENDER, "login@x.test"),
        ({"username": "login"}, None, SENDER, SENDER),
        ({}, "env@x.test", None, "env@x.test"),
    ],
)
def test_who_mails_are_from(
    options: dict[str, Any], username: str | None, from_email: str | None, sender: str
) -> None:
    environment = SmtpServer("h", 587, username, None, from_email)
    mail = EmailDestination(delivery("email", options, ANA), DestinationSettings(environment))
    assert mail._sender.wire == sender  # noqa: SLF001


def test_a_wrong_sender_of_the_environment_names_its_setting() -> None:
    environment = SmtpServer("h", 587, None, None, "nobody")
    with pytest.raises(ConfigurationError, match=r"^SMTP_FROM_EMAIL: this is not a valid"):
        EmailDestination(delivery("email", {}, ANA), DestinationSettings(environment))


def test_without_a_server_the_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"delivery_config.smtp_server.*SMTP_HOST"):
        EmailDestination(delivery("email", {}, ANA), DestinationSettings())


def test_blank_settings_of_old_front_ends_count_as_not_given(smtp_server: MailServer, tmp_path: Path) -> None:
    blank = dict.fromkeys(("smtp_server", "username", "password", "cc", "bcc", "subject", "body"), "")
    mail = one_mail(smtp_server, tmp_path, **blank, reply_to=None, smtp_port=None)
    assert str(mail["From"]) == SENDER


def test_the_sender_may_be_written_with_a_name(smtp_server: MailServer, tmp_path: Path) -> None:
    assert one_mail(smtp_server, tmp_path, from_email="Hub <hub@y.test>")["From"] == "Hub <hub@y.test>"
    mail = one_mail(smtp_server, tmp_path, from_email="hub@y.test", from_name='Zoë "Z", Reports')
    assert mail["From"].addresses[0].display_name == 'Zoë "Z", Reports'
    assert smtp_server.mails[-1].sender == "hub@y.test"


# --- recipients -----------------------------------------------------------------------------------------


def test_one_field_with_several_addresses_is_several_recipients(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    mail = destination(smtp_server, "a@b.c, e@x.y", 'g@h.i;"Lee, Jo" <jo@x.y> ;')
    assert mail.recipients() == ("a@b.c", "e@x.y", "g@h.i", "jo@x.y")
    send_all(mail, parcel(rendered(tmp_path)))
    assert [(m.recipient, str(m.message["To"])) for m in smtp_server.mails] == [
        (who, who) for who in mail.recipients()
    ]


def test_the_same_mailbox_gets_one_message(smtp_server: MailServer) -> None:
    people = ("Ana@X.test", "Ana@x.TEST;bo@bücher.test", "bo@xn--bcher-kva.test")
    mail = destination(smtp_server, *people, cc="Ana@x.test, cy@x.test", bcc=["cy@x.test", "di@x.test"])
    assert mail.recipients() == ("Ana@x.test", "bo@bücher.test", "cy@x.test", "di@x.test")


def test_cc_and_bcc_get_messages_of_their_own(smtp_server: MailServer, tmp_path: Path) -> None:
    mail = destination(smtp_server, ANA, cc=f"{BO}, dee@x.test", bcc=CY, reply_to="desk@x.test, d2@x.test")
    assert states(send_all(mail, parcel(rendered(tmp_path)))) == dict.fromkeys(
        (ANA, BO, "dee@x.test", CY), "sent"
    )
    assert len(smtp_server.mails) == 4
    for got in smtp_server.mails:
        assert got.message["To"] == got.recipient
        assert got.message["Cc"] == f"{BO}, dee@x.test"
        assert got.message["Reply-To"] == "desk@x.test, d2@x.test"
        assert "Bcc" not in got.message
        assert got.recipient == CY or CY.encode() not in got.content


@pytest.mark.parametrize(
    "bad",
    ["nobody", "a@", "@b.c", "a b@c.d", "a@b..c", "a..b@c.d", "a@-b.c", "a@b.c\r\nBcc: m@x.test",
     "x" * 65 + "@b.c", "a@straße.test", "<a@b.c", "a@b.c>", "a@b@c.d", ""],
)  # fmt: skip
def test_one_bad_address_is_named_and_stops_nobody(smtp_server: MailServer, tmp_path: Path, bad: str) -> None:
    mail = destination(smtp_server, ANA, bad, BO)
    (problem,) = mail.problems()
    assert (problem.table, problem.row, problem.column) == (
        "report_delivery_recipients",
        101,
        "recipient_value",
    )
    assert problem.value == bad.strip()
    receipts = send_all(mail, parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in receipts] == ["sent", "refused", "sent"]
    assert "report_delivery_recipients 101, column recipient_value" in receipts[1].detail
    assert {m.recipient for m in smtp_server.mails} == {ANA, BO}


def test_a_bad_cc_names_the_setting(smtp_server: MailServer) -> None:
    (problem,) = destination(smtp_server, ANA, cc="boss").problems()
    assert (problem.table, problem.row, problem.column) == ("report_deliveries", 7, "delivery_config.cc")


def test_without_anybody_the_row_is_wrong(smtp_server: MailServer) -> None:
    environment = DestinationSettings(smtp_server.environment)
    with pytest.raises(ConfigurationError, match="report_deliveries 7: the delivery has no active recipient"):
        EmailDestination(delivery("email", {}), environment)
    with pytest.raises(ConfigurationError, match="no active recipient"):
        EmailDestination(delivery("email", {}, "#reports", kind="channel"), environment)


def test_addresses_beyond_ascii(start_mail_server: Callable[..., MailServer], tmp_path: Path) -> None:
    people = ("jörg@bücher.test", "ana@bücher.test")
    new, old = start_mail_server(), start_mail_server(smtputf8=False)
    sent = send_all(destination(new, *people), parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in sent] == ["sent", "sent"]
    assert new.mails[0].recipient == "jörg@xn--bcher-kva.test"
    assert new.mails[0].message["To"] == "jörg@xn--bcher-kva.test"
    assert ["SMTPUTF8" in mail.options for mail in new.mails] == [True, False]
    receipts = send_all(destination(old, *people, cc="zoë@x.test"), parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in receipts] == ["refused", "sent", "refused"]
    assert "SMTPUTF8" in receipts[0].detail


# --- what servers answer --------------------------------------------------------------------------------

MATRIX: list[tuple[Phase, str, str, int]] = [
    ("RCPT", "450 4.2.0 greylisted", "retry", 0),
    ("RCPT", "451 4.3.0 later", "retry", 0),
    ("RCPT", "452 4.2.2 full", "retry", 0),
    ("RCPT", "550 5.1.1 no such user", "refused", 0),
    ("RCPT", "552 5.2.2 full", "refused", 0),
    ("RCPT", "554 5.7.1 no", "refused", 0),
    ("RCPT", "nonsense", "retry", 0),
    ("RCPT", DROP, "retry", 0),
    ("DATA", "451 4.3.0 later", "retry", 0),
    ("DATA", "554 5.5.1 no", "refused", 0),
    ("DATA", DROP, "retry", 0),
    ("PAYLOAD", DROP, "retry", 0),
    ("ANSWER", "450 4.7.1 later", "retry", 0),
    ("ANSWER", "451 4.3.0 later", "retry", 0),
    ("ANSWER", "452 4.3.1 disk", "retry", 0),
    ("ANSWER", "550 5.7.1 policy", "refused", 0),
    ("ANSWER", "552 5.3.4 too big", "refused", 0),
    ("ANSWER", "554 5.7.1 spam", "refused", 0),
    ("ANSWER", DROP, "unknown", 1),
]


@pytest.mark.parametrize(("phase", "action", "state", "copies"), MATRIX)
def test_a_fault_of_one_recipient_is_its_own(
    smtp_server: MailServer, tmp_path: Path, phase: Phase, action: str, state: str, copies: int
) -> None:
    smtp_server.script(BO, phase, action)
    # the payload is larger than what the kernel takes at once: the cut is noticed while sending
    file = rendered(tmp_path, content=b"x" * (5_000_000 if phase == "PAYLOAD" else 10))
    mail = destination(smtp_server)
    receipts = send_all(mail, parcel(file))
    assert states(receipts) == {ANA: "sent", BO: state, CY: "sent"}
    assert [len(smtp_server.to(who)) for who in (ANA, BO, CY)] == [1, copies, 1]
    assert action in (DROP, "nonsense") or action in receipts[1].detail
    smtp_server.wait_until_idle()


def test_all_faults_at_once_and_only_what_is_due_again(smtp_server: MailServer, tmp_path: Path) -> None:
    faults = {f"p{n}@x.test": fault for n, fault in enumerate(MATRIX) if fault[0] != "PAYLOAD"}
    for who, (phase, action, _, _) in faults.items():
        smtp_server.script(who, phase, action)
    mail, what = destination(smtp_server, ANA, *faults, BO), parcel(rendered(tmp_path))
    first = states(send_all(mail, what))
    assert first == {ANA: "sent", **{who: fault[2] for who, fault in faults.items()}, BO: "sent"}
    due = [who for who, state in first.items() if state == "retry"]
    assert set(states(list(mail.send(what, due))).values()) == {"sent"}
    got = [len(smtp_server.to(who)) for who in first]
    assert got == [0 if state == "refused" else 1 for state in first.values()]


def test_many_recipients_share_one_connection(smtp_server: MailServer, tmp_path: Path) -> None:
    people = [f"p{n}@x.test" for n in range(100)]
    began = time.monotonic()
    send_all(destination(smtp_server, *people), parcel(rendered(tmp_path)))
    assert (smtp_server.connections, smtp_server.quits, len(smtp_server.mails)) == (1, 1, 100)
    assert time.monotonic() - began < 4  # a pause of 40 ms a mail would be Nagle's


def test_a_connection_that_ends_between_recipients_is_replaced(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    smtp_server.mail_answers.extend([None, DROP, None, "421 4.7.0 that was enough for one connection"])
    receipts = send_all(destination(smtp_server), parcel(rendered(tmp_path)))
    assert states(receipts) == dict.fromkeys((ANA, BO, CY), "sent")
    assert len(smtp_server.mails) == 3
    assert smtp_server.connections == 3


def test_a_cleared_connection_that_ends_is_replaced(smtp_server: MailServer, tmp_path: Path) -> None:
    smtp_server.script(ANA, "RCPT", "550 5.1.1 nobody")
    mail = destination(smtp_server)
    sending = mail.send(parcel(rendered(tmp_path)), (ANA, BO))
    assert next(sending).state == "refused"
    smtp_server.hang_up()
    assert next(sending).state == "sent"
    assert next(sending, None) is None


@pytest.mark.parametrize("phase", ["RCPT", "ANSWER"])
def test_421_leaves_everybody_else_for_later(smtp_server: MailServer, tmp_path: Path, phase: Phase) -> None:
    smtp_server.script(BO, phase, "421 4.3.2 shutting down")
    receipts = send_all(destination(smtp_server), parcel(rendered(tmp_path)))
    assert states(receipts) == {ANA: "sent", BO: "retry", CY: "retry"}
    assert "shutting down" in receipts[2].detail
    assert smtp_server.connections == 1


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", DROP, HANG, "554 5.7.1 not you"])
def test_a_server_that_does_not_let_us_in(
    start_mail_server: Callable[..., MailServer], tmp_path: Path, greeting: str
) -> None:
    server = start_mail_server(greeting=greeting)
    mail = destination(server, timeout=0.3)
    state = "refused" if greeting.startswith("5") else "retry"
    assert set(states(send_all(mail, parcel(rendered(tmp_path)))).values()) == {state}
    assert server.connections == 1
    with pytest.raises(ConfigurationError if state == "refused" else TransientError, match=r"127\.0\.0\.1"):
        mail.check()


@pytest.mark.parametrize(("phase", "state"), [("RCPT", "retry"), ("ANSWER", "unknown")])
def test_silence_ends_the_attempt_in_time(
    smtp_server: MailServer, tmp_path: Path, phase: Phase, state: str
) -> None:
    smtp_server.script(BO, phase, HANG)
    began = time.monotonic()
    receipts = send_all(destination(smtp_server, timeout=0.3), parcel(rendered(tmp_path)))
    assert states(receipts) == {ANA: "sent", BO: state, CY: "retry"}
    assert "fell silent" in receipts[1].detail
    assert time.monotonic() - began < 4


def test_a_server_that_always_hangs_up_is_left_alone(smtp_server: MailServer, tmp_path: Path) -> None:
    people = [f"p{n}@x.test" for n in range(20)]
    for who in people:
        smtp_server.script(who, "RCPT", DROP)
    receipts = send_all(destination(smtp_server, *people), parcel(rendered(tmp_path)))
    assert {receipt.state for receipt in receipts} == {"retry"}
    assert smtp_server.connections == 3


def test_a_host_that_does_not_exist_is_retried_and_named(tmp_path: Path) -> None:
    row = {"smtp_host": "mail.does-not-exist.invalid", "from_email": SENDER}
    mail = EmailDestination(delivery("email", row, ANA), DestinationSettings(timeout_seconds=2))
    (receipt,) = send_all(mail, parcel(rendered(tmp_path)))
    assert receipt.state == "retry"
    assert "mail.does-not-exist.invalid:587" in receipt.detail
    assert "delivery_config.smtp_server" in receipt.detail


def test_a_payload_nobody_reads_ends_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_stop_reading, args=(listener,))
        server.start()
        row = {"smtp_host": "127.0.0.1", "smtp_port": listener.getsockname()[1], "from_email": SENDER}
        mail = EmailDestination(
            delivery("email", row, ANA),
            DestinationSettings(timeout_seconds=0.5, mail=MailPolicy(size_limit=100_000_000)),
        )
        receipts = send_all(mail, parcel(rendered(tmp_path, content=b"x" * 20_000_000)))
        server.join()
    assert states(receipts) == {ANA: "retry"}


def _stop_reading(listener: socket.socket) -> None:
    """A server that says 354 and then takes nothing more."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"220 hi\r\n")
        for line in lines:
            if line.startswith(b"DATA"):
                connection.sendall(b"354 go\r\n")
                time.sleep(1.5)
                return
            connection.sendall(b"250 ok\r\n")


def test_closing_early_says_good_bye(smtp_server: MailServer, tmp_path: Path) -> None:
    sending = destination(smtp_server).send(parcel(rendered(tmp_path)), (ANA, BO))
    assert isinstance(next(sending), DeliveryReceipt)
    sending.close()
    smtp_server.wait_until_idle()
    assert (smtp_server.quits, len(smtp_server.mails)) == (1, 1)


def test_the_advertised_size_is_held_before_anything_is_sent(
    start_mail_server: Callable[..., MailServer], tmp_path: Path
) -> None:
    server = start_mail_server(size_limit=100_000)
    for size, sent in ((60_000, True), (73_500, False), (10_000_000, False)):
        file = rendered(tmp_path, content=os.urandom(size))
        (receipt,) = send_all(destination(server, ANA), parcel(file))
        assert (receipt.state == "sent") is sent, receipt
        assert sent or ("100,000" in receipt.detail and "encoded message has" in receipt.detail)
    assert len(server.mails) == 1


def test_a_server_that_says_nothing_about_size(
    start_mail_server: Callable[..., MailServer], tmp_path: Path
) -> None:
    server = start_mail_server(size_limit=None)
    assert states(send_all(destination(server, ANA), parcel(rendered(tmp_path)))) == {ANA: "sent"}


# --- the mails ------------------------------------------------------------------------------------------


def test_the_default_texts_say_what_it_is(smtp_server: MailServer, tmp_path: Path) -> None:
    mail = one_mail(smtp_server, tmp_path)
    assert mail["Subject"] == "Flights & <Delays>: 2013-01-01 00:00:00 to 2013-01-02 00:00:00"
    text = smtp_server.mails[0].text
    for word in (
        "Flights & <Delays>",
        "2013-01-01 00:00:00",
        "2013-01-02 00:00:00",
        "1234 rows",
        "flights.csv",
    ):
        assert word in text
    assert (mail["X-ReportHub-Execution-Id"], mail["Auto-Submitted"]) == ("e-1", "auto-generated")
    assert mail["Date"].datetime.tzinfo is not None


def test_templates_of_both_forms_and_what_is_unknown(smtp_server: MailServer, tmp_path: Path) -> None:
    mail = destination(
        smtp_server,
        ANA,
        subject_template="{report_name} {{start_date}} {{nothing}}",
        body_template="Für {{file_name}}: {row_count}\n.\n..dots\n",
        body_html="<p>{{report_name}} {nix}</p>",
    )
    assert len(mail.templates()) == 3
    whole = parcel(rendered(tmp_path))
    send_all(mail, whole)
    got = smtp_server.mails[0]
    assert got.message["Subject"] == "Flights & <Delays> 2013-01-01 {{nothing}}"
    assert got.text == "Für flights.csv: 1234\n.\n..dots\n"
    page = got.message.get_body(("html",))
    assert page is not None
    assert page.get_content().strip() == "<p>Flights &amp; &lt;Delays&gt; {nix}</p>"
    assert [text.split()[3] for text in mail.unknown_variables(whole)] == ["{{nothing}}", "{{nix}}"]


EXCERPT = Excerpt("<html><body>", "<table>&lt;1&gt;</table>", "</body></html>", "a\n-\n1\n")


def with_rows(server: MailServer, folder: Path, wanted: Any, **options: Any) -> tuple[str, str]:
    """Text and HTML of a mail that shows the first rows."""
    asked: list[int] = []

    def excerpt(rows: int) -> Excerpt:
        asked.append(rows)
        return EXCERPT

    whole = replace(parcel(rendered(folder)), excerpt=excerpt)
    letter = destination(server, ANA, body_rows=wanted, **options)
    assert send_all(letter, whole)[0].state == "sent"
    assert asked == [1_000 if wanted == "all" else wanted]
    assert letter.unknown_variables(whole) == ()
    mail = server.mails[-1]
    page = mail.message.get_body(("html",))
    assert page is not None
    return mail.text, page.get_content().replace("\r\n", "\n").strip()


def test_the_first_rows_follow_the_words_or_stand_where_the_row_wants_them(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    text, page = with_rows(smtp_server, tmp_path, 20, body="Hello <{{report_name}}>\n\nBye")
    assert text == "Hello <Flights & <Delays>>\n\nBye\n\na\n-\n1\n"
    assert page.startswith("<html><body><div")
    assert ">Hello &lt;Flights &amp; &lt;Delays&gt;&gt;</div>" in page
    assert page.endswith(">Bye</div>\n<table>&lt;1&gt;</table></body></html>")
    places = {"body": "Rows: {{report_table}} Bye", "body_html": "<i>{{report_table}}</i>{{report_name}}"}
    text, page = with_rows(smtp_server, tmp_path, "all", **places)
    assert text == "Rows: \na\n-\n1\n Bye\n"
    assert page == "<i><table>&lt;1&gt;</table></i>Flights &amp; &lt;Delays&gt;"


@pytest.mark.parametrize("wanted", [0, 1_001, "some"])
def test_how_many_rows_a_body_may_show(smtp_server: MailServer, wanted: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"delivery_config\.body_rows"):
        destination(smtp_server, ANA, body_rows=wanted)


def test_the_parts_are_where_mail_programs_look(smtp_server: MailServer, tmp_path: Path) -> None:
    mail = one_mail(smtp_server, tmp_path, body_html="<b>hi</b>")
    assert mail.get_content_type() == "multipart/mixed"
    alternative, attachment = mail.iter_parts()
    assert [part.get_content_type() for part in alternative.iter_parts()] == ["text/plain", "text/html"]
    assert attachment.get_content_type() == "text/csv"
    assert attachment.get_content_disposition() == "attachment"
    assert smtp_server.mails[0].content.isascii()
    assert max(len(line) for line in smtp_server.mails[0].content.split(b"\r\n")) < 500


@pytest.mark.parametrize(
    "subject",
    [
        "Hi\r\nBcc: mallory@x.test",
        "Hi\nX-Evil: 1\n\nbody",
        "Hi\x0b\x85\u2028Bcc: m@x.test",
        "Ü\r\nBcc: m@x.test" * 9,
    ],
)
def test_nothing_in_a_text_begins_a_header(smtp_server: MailServer, tmp_path: Path, subject: str) -> None:
    mail = one_mail(smtp_server, tmp_path, subject=subject, from_name=subject)
    plain = one_mail(smtp_server, tmp_path, subject="x", from_name="y")
    assert mail.keys() == plain.keys()
    assert [m.recipient for m in smtp_server.mails] == [ANA, ANA]
    again = destination(smtp_server, BO, subject="{{report_name}}")
    list(again.send(parcel(rendered(tmp_path), report_name=subject, execution_id="e\r\nBcc: x"), [BO]))
    assert smtp_server.to(BO)[0].message.keys() == plain.keys()


@pytest.mark.parametrize(
    "subject", ["kurz", "Umsätze " * 20, "wort" * 60, "=?utf-8?q?fake?=", "日本語" * 50, "a" * 61]
)
def test_subjects_arrive_as_written(smtp_server: MailServer, tmp_path: Path, subject: str) -> None:
    mail = one_mail(smtp_server, tmp_path, subject=subject, from_name=subject)
    assert mail["Subject"] == subject.strip()
    # the new parser puts spaces between the encoded words of a name, against RFC 2047
    raw = message_from_bytes(smtp_server.mails[0].content)["From"]
    name, _, address = str(make_header(decode_header(raw))).rpartition(" ")
    assert (name.strip('" '), address) == (subject.strip(), f"<{SENDER}>")


def test_long_lists_and_addresses_are_not_broken(smtp_server: MailServer, tmp_path: Path) -> None:
    long = f"{'l' * 64}@{'d' * 60}.{'e' * 60}.test"
    cc = [f"person{n}@department{n}.example.test" for n in range(60)]
    mail = destination(smtp_server, long, cc=cc, from_email=f"reports@{'f' * 60}.{'g' * 60}.test")
    assert set(states(send_all(mail, parcel(rendered(tmp_path)))).values()) == {"sent"}
    got = smtp_server.to(long)[0].message
    assert [address.addr_spec for address in got["Cc"].addresses] == cc
    assert got["To"] == long
    assert got["Message-ID"].endswith(f"{'g' * 60}.test>")


def test_the_message_id_is_the_same_on_every_attempt(smtp_server: MailServer, tmp_path: Path) -> None:
    def ids(execution_id: str) -> list[str]:
        smtp_server.mails.clear()
        send_all(destination(smtp_server, ANA, BO), parcel(rendered(tmp_path), execution_id=execution_id))
        return [str(mail.message["Message-ID"]) for mail in smtp_server.mails]

    first, again, other = ids("e-1"), ids("e-1"), ids("e-2")
    assert first == again
    assert len({*first, *other}) == 4
    assert all(one.endswith("@hub.test>") for one in first)


def test_a_rows_server_is_held_to_the_egress_policy_and_the_operators_is_not(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    strict = EgressPolicy.parse("strict")
    settings = DestinationSettings(smtp=smtp_server.environment, timeout_seconds=5, egress=strict)
    own = {"smtp_server": smtp_server.host, "smtp_port": smtp_server.port, "from_email": "a@b.test"}
    refused, sent = (
        send_all(EmailDestination(delivery("email", options, "ana@x.test"), settings), parcel())[0]
        for options in (own, {})
    )
    assert (refused.state, refused.needs_person, sent.state) == ("refused", True, "sent")
    assert "REPORTHUB_EGRESS_ALLOW" in refused.detail


def with_policy(server: MailServer, policy: MailPolicy, *people: str, **options: Any) -> EmailDestination:
    settings = DestinationSettings(server.environment, timeout_seconds=5, mail=policy)
    return EmailDestination(delivery("email", options, *people), settings)


def test_in_staging_one_address_gets_every_mail(smtp_server: MailServer, tmp_path: Path) -> None:
    policy = MailPolicy(redirect_to="stage@ops.test", allowed_domains=("nowhere.test",))
    letter = with_policy(smtp_server, policy, ANA, BO, subject="Sales", cc=CY)
    receipts = send_all(letter, parcel(rendered(tmp_path)))
    assert states(receipts) == {ANA: "sent", BO: "sent", CY: "sent"}
    assert all("redirected to stage@ops.test" in receipt.detail for receipt in receipts)
    assert {mail.recipient for mail in smtp_server.mails} == {"stage@ops.test"}
    assert [mail.message["subject"] for mail in smtp_server.mails] == [
        f"[for {who}] Sales" for who in (ANA, BO, CY)
    ]
    assert all(
        mail.message["cc"] is None and mail.message["to"] == "stage@ops.test" for mail in smtp_server.mails
    )
    assert len({mail.message["message-id"] for mail in smtp_server.mails}) == 3
    assert "REPORTHUB_REDIRECT_ALL_MAIL_TO" in letter.warnings[0]


def test_a_domain_that_is_not_allowed_is_refused_and_the_others_get_theirs(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    policy = MailPolicy(allowed_domains=("x.test", ".corp.test"))
    people = (ANA, "bo@evil.test", "cy@hr.corp.test", "di@evilcorp.test")
    letter = with_policy(smtp_server, policy, *people, bcc="ed@evil.test")
    receipts = send_all(letter, parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in receipts] == ["sent", "refused", "sent", "refused", "refused"]
    assert "REPORTHUB_MAIL_ALLOWED_DOMAINS" in receipts[1].detail
    assert receipts[1].needs_person
    assert {mail.recipient for mail in smtp_server.mails} == {ANA, "cy@hr.corp.test"}


def test_a_mail_above_the_limit_goes_as_a_zip(smtp_server: MailServer, tmp_path: Path) -> None:
    files = [rendered(tmp_path, name, b"0" * 200_000) for name in ("Umsätze.csv", "b.csv")]
    letter = with_policy(smtp_server, MailPolicy(size_limit=100_000), ANA, BO)
    assert {receipt.state for receipt in send_all(letter, parcel(*files))} == {"sent"}
    first, second = (mail.attachments for mail in smtp_server.mails)
    assert first == second
    assert list(first) == ["Umsätze.zip"]
    with ZipFile(BytesIO(first["Umsätze.zip"])) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            file.name: file.path.read_bytes() for file in files
        }


@pytest.mark.parametrize("limited_by", ["server", "operator"])
def test_a_zip_above_the_limit_becomes_a_link(
    start_mail_server: Callable[..., MailServer], tmp_path: Path, limited_by: str
) -> None:
    server = start_mail_server(size_limit=100_000 if limited_by == "server" else None)
    size = 300_000 if limited_by == "server" else 50_000_000
    file = rendered(tmp_path, "big.bin", os.urandom(size // 3) * 3)
    page_of_row = "<html><body><p>Hello</p></body></html>"
    letter = with_policy(server, MailPolicy(), ANA, link="https://files.test/r", body_html=page_of_row)
    assert send_all(letter, parcel(file))[0].state == "sent"
    (mail,) = server.mails
    assert mail.attachments == {}
    assert "https://files.test/r/e-1/big.bin" in mail.text
    page = mail.message.get_body(("html",))
    assert page is not None
    assert 'href="https://files.test/r/e-1/big.bin"' in page.get_content().partition("</body>")[0]


def with_bucket(server: MailServer, there: Bucket, **options: Any) -> EmailDestination:
    row = {
        "bucket": there.name,
        "endpoint_url": there.endpoint,
        "access_key": "AKIAEXAMPLE",
        "secret_key": PASSWORD,
        **options,
    }
    return with_policy(server, MailPolicy(size_limit=100_000), ANA, BO, link_s3=row, body_html="<p>Hello</p>")


def test_a_large_file_goes_into_a_bucket_and_the_mail_has_links_that_end(
    smtp_server: MailServer, bucket: Bucket, tmp_path: Path
) -> None:
    files = [rendered(tmp_path, name, os.urandom(200_000)) for name in ("Umsätze 1.bin", "b.bin")]
    letter = with_bucket(smtp_server, bucket, prefix="large", expires_days=2)
    receipts = send_all(letter, parcel(*files))
    assert states(receipts) == {ANA: "sent", BO: "sent"}
    assert sorted(bucket.content("large/e-1/")) == ["Umsätze 1.bin", "b.bin"]
    mail = smtp_server.to(BO)[0]
    assert mail.attachments == {}
    links = re.findall(r"^https?://.*$", mail.text, re.MULTILINE)
    assert "to be found until 20" in mail.text
    for file, link in zip(files, links, strict=True):
        query = parse_qs(urlsplit(link).query)
        assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["172800"])
        with urlopen(link) as answer:
            assert (answer.read(), file.name) == (
                file.path.read_bytes(),
                unquote(answer.headers["Content-Disposition"].partition("''")[2]),
            )
    page = mail.message.get_body(("html",))
    assert page is not None
    assert html.escape(links[0].strip()) in page.get_content()
    shown = repr(receipts) + repr(vars(letter)) + "".join(letter.warnings)
    assert not [secret for secret in (PASSWORD, "X-Amz") if secret in shown]
    assert "takes uploads" in letter.check()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expires_days": 8}, "link_s3.expires_days: .*at most 7 days"),
        ({"bucket": None}, "link_s3.bucket: it is missing"),
        ({"acl": "everybody"}, "link_s3.acl"),
    ],
)
def test_settings_of_the_bucket_are_named_where_they_are(
    smtp_server: MailServer, bucket: Bucket, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"report_deliveries 7, column delivery_config.{words}"):
        with_bucket(smtp_server, bucket, **options)


@pytest.mark.parametrize(
    ("options", "state", "words"),
    [
        ({"bucket": "nowhere"}, "refused", "delivery_config.link_s3.bucket"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "retry", "cannot be reached"),
    ],
)
def test_a_bucket_that_takes_nothing_sends_nothing(
    smtp_server: MailServer, bucket: Bucket, tmp_path: Path, options: dict[str, Any], state: str, words: str
) -> None:
    file = rendered(tmp_path, "big.bin", os.urandom(200_000))
    receipt = send_all(with_bucket(smtp_server, bucket, **options), parcel(file))[0]
    assert (receipt.state, receipt.needs_person) == (state, state == "refused"), receipt
    assert words in receipt.detail
    assert smtp_server.mails == []


def test_without_a_link_a_large_mail_is_refused_with_the_cure(
    smtp_server: MailServer, tmp_path: Path
) -> None:
    letter = with_policy(smtp_server, MailPolicy(size_limit=100_000), ANA)
    (receipt,) = send_all(letter, parcel(rendered(tmp_path, "big.bin", os.urandom(300_000))))
    assert receipt.state == "refused"
    assert "delivery_config.link" in receipt.detail
    assert smtp_server.mails == []
