"""What every destination does, whatever its kind: one suite over the registry, a case for each method."""

from __future__ import annotations

import errno
import os
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from reporthub_dagster.destinations.base import Destination, DestinationSettings
from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.destinations.s3 import S3Destination
from reporthub_dagster.destinations.sftp_session import SftpSession
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all, states
from reporthub_dagster_tests.servers.process import free_port
from reporthub_dagster_tests.servers.s3 import Bucket
from reporthub_dagster_tests.servers.sftp import RememberedHostKeys, SftpServer
from reporthub_dagster_tests.servers.smtp import MailServer
from reporthub_dagster_tests.servers.web import Answer, WebServer

CANARY = "c4nary-passw0rd"
MB = 1_000_000


class Case(ABC):
    """One method against a real other side.

    Attributes:
        people: Three recipients.
        big: Bytes of the big file.
        unreachable_state: The receipt's state when nothing is there.
    """

    method: str
    people: tuple[str, str, str]
    big: int
    unreachable_state: str
    broken: tuple[tuple[Mapping[str, Any], tuple[str, ...], str], ...]
    """Options and recipients of rows that are wrong, and the column that the error names."""

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        self.root = tmp_path / "there"
        self.root.mkdir()
        self.fixture: Callable[[str], Any] = request.getfixturevalue
        self.settings = DestinationSettings(timeout_seconds=5)

    def build(self, options: Mapping[str, Any], *recipients: str) -> Destination:
        """The destination of a row."""
        return DESTINATIONS.get(self.method)(delivery(self.method, options, *recipients), self.settings)

    def destination(self) -> Destination:
        """One that works, for `people`."""
        return self.build(self.options(), *self.people)

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """`delivery_config`, with the canary as its password."""

    @abstractmethod
    def unreachable(self) -> Destination:
        """One whose other side is not there."""

    @abstractmethod
    def arrived(self, person: str) -> dict[str, bytes]:
        """What one of `people` has now: file name → bytes."""

    @abstractmethod
    def refuse(self, person: str) -> None:
        """From now on the other side refuses this one for good."""

    @abstractmethod
    def fail_for_now(self, person: str) -> None:
        """The next attempt for this one fails for a reason that passes."""

    def settle(self) -> None:  # noqa: B027 - most see it at once
        """Wait until the other side has seen that we are gone."""


class EmailCase(Case):
    method = "email"
    people = ("ana@x.test", "bo@x.test", "cy@x.test")
    big = 5 * MB
    unreachable_state = "retry"
    broken = (
        ({"smtp_server": "h", "from_email": "not an address"}, ("a@b.c",), "delivery_config.from_email"),
        (
            {"smtp_server": "h", "from_email": "a@b.c", "smtp_port": "x"},
            ("a@b.c",),
            "delivery_config.smtp_port",
        ),
        ({"from_email": "a@b.c"}, ("a@b.c",), "delivery_config.smtp_server"),
        ({"smtp_server": "h"}, ("a@b.c",), "delivery_config.from_email"),
        (
            {"smtp_server": "h", "from_email": "a@b.c", "reply_to": "x"},
            ("a@b.c",),
            "delivery_config.reply_to",
        ),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        self.server: MailServer = self.fixture("start_mail_server")(users={"hub": CANARY})

    def options(self) -> dict[str, Any]:
        return {
            "smtp_server": self.server.host,
            "smtp_port": self.server.port,
            "from_email": "reports@hub.test",
            "username": "hub",
            "password": CANARY,
        }

    def unreachable(self) -> Destination:
        return self.build({**self.options(), "smtp_port": free_port()}, *self.people)

    def arrived(self, person: str) -> dict[str, bytes]:
        return {name: data for mail in self.server.to(person) for name, data in mail.attachments.items()}

    def refuse(self, person: str) -> None:
        self.server.script(person, "RCPT", *[f"550 5.1.1 nobody; your password is {CANARY}"] * 9)

    def fail_for_now(self, person: str) -> None:
        self.server.script(person, "RCPT", f"450 4.2.0 later; your password is {CANARY}")

    def settle(self) -> None:
        self.server.wait_until_idle()


class FileShareCase(Case):
    method = "file_share"
    big = 50 * MB
    unreachable_state = "refused"
    broken = (
        ({}, (), "delivery_config.path"),
        ({"path": "/mnt", "create_directory": "perhaps"}, (), "delivery_config.create_directory"),
        ({"server": "nas", "share": "reports", "password": CANARY}, (), "delivery_config.username"),
        ({"server": "nas", "username": "u", "password": CANARY}, (), "delivery_config.share"),
        ({"share": "reports", "username": "u", "password": CANARY}, (), "delivery_config.server"),
        ({"path": r"\\nas\reports"}, (), "delivery_config.username"),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        folders = [self.root / name for name in ("ana", "bo", "cy")]
        for folder in folders:
            folder.mkdir()
        self.people = (str(folders[0]), str(folders[1]), str(folders[2]))

    def options(self) -> dict[str, Any]:
        return {"path": str(self.root), "password": CANARY}

    def unreachable(self) -> Destination:
        gone = [f"{person}/not-mounted" for person in self.people]
        return self.build(self.options(), *gone)

    def arrived(self, person: str) -> dict[str, bytes]:
        return folder_content(person)

    def refuse(self, person: str) -> None:
        Path(person).rmdir()
        Path(person).write_text("a file where the folder was")

    def fail_for_now(self, person: str) -> None:
        real = os.fsync
        failed: list[int] = []

        def full_disk(descriptor: int) -> None:
            if not failed and Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(person):
                failed.append(descriptor)
                raise OSError(errno.ENOSPC, f"no space left, says {CANARY}")
            real(descriptor)

        self.fixture("monkeypatch").setattr(os, "fsync", full_disk)


class WebhookCase(Case):
    method = "webhook"
    people = ("ana", "bo", "cy")
    big = 50 * MB
    unreachable_state = "retry"
    broken = (
        ({}, ("ana",), "delivery_config.url"),
        ({"url": "ftp://h/x"}, ("ana",), "delivery_config.url"),
        ({"url": "https://{{tenant}}.example/x"}, (), "delivery_config.url"),
        ({"url": "https://h/x", "method": "GET"}, (), "delivery_config.method"),
        ({"url": "https://h/x", "payload_template": "{"}, (), "delivery_config.payload_template"),
        ({"url": "https://h/x", "headers": {"Host": "y"}}, (), "delivery_config.headers"),
        ({"url": "https://h/x", "headers": {"A": "b\r\nC: d"}}, (), "delivery_config.headers"),
        ({"url": "https://h/x", "auth": {"type": "basic"}}, (), "delivery_config.auth"),
        ({"url": "https://h/x", "secret": "whsec_%%%"}, (), "delivery_config.secret"),
        ({"url": "https://h/x", "tls_ca_file": "/nowhere"}, (), "delivery_config.tls_ca_file"),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        self.server: WebServer = self.fixture("web_server")
        self.settings = DestinationSettings(
            timeout_seconds=5, egress=EgressPolicy.parse("default", "127.0.0.1")
        )

    def options(self) -> dict[str, Any]:
        return {
            "url": f"{self.server.url}/{CANARY}?token={CANARY}",
            "secret": CANARY,
            "headers": {"X-Api-Key": CANARY},
            "auth": {"type": "basic", "username": "hub", "password": CANARY},
            "send_file": True,
        }

    def unreachable(self) -> Destination:
        return self.build({**self.options(), "url": f"http://127.0.0.1:{free_port()}/{CANARY}"}, *self.people)

    def arrived(self, person: str) -> dict[str, bytes]:
        return {name: data for request in self.server.to(person) for name, data in request.files.items()}

    def refuse(self, person: str) -> None:
        self.server.answer(person, *[Answer(410, body=f"your key is {CANARY}")] * 9)

    def fail_for_now(self, person: str) -> None:
        self.server.answer(person, Answer(503, {"Retry-After": "7"}, f"your key is {CANARY}"))


class SftpCase(Case):
    method = "sftp"
    big = 50 * MB
    unreachable_state = "retry"
    broken = (
        ({"username": "u", "password": "p"}, (), "delivery_config.host"),
        ({"host": "h", "password": "p"}, (), "delivery_config.username"),
        ({"host": "h", "username": "u"}, (), "delivery_config.password"),
        ({"host": "h", "username": "u", "password": "p", "port": 0}, (), "delivery_config.port"),
        ({"host": "h", "username": "u", "private_key": "/nowhere"}, (), "delivery_config.private_key"),
        ({"host": "h", "username": "u", "private_key": "-----"}, (), "delivery_config.private_key"),
        ({"host": "h", "username": "u", "password": "p", "host_key": "x"}, (), "delivery_config.host_key"),
        (
            {"host": "h", "username": "u", "password": "p", "known_hosts": "/nowhere"},
            (),
            "delivery_config.known_hosts",
        ),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        self.server: SftpServer = self.fixture("sftp_server")
        self.settings = DestinationSettings(timeout_seconds=5, host_keys=RememberedHostKeys())
        folders = [self.root / name for name in ("ana", "bo", "cy")]
        for folder in folders:
            folder.mkdir()
        self.people = (str(folders[0]), str(folders[1]), str(folders[2]))

    def options(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.server.port,
            "username": self.server.user,
            "password": CANARY,
            "private_key": self.server.client_key.export_private_key("pkcs8-pem", CANARY).decode(),
            "passphrase": CANARY,
            "timeout": 10,
        }

    def unreachable(self) -> Destination:
        return self.build({**self.options(), "port": free_port()}, *self.people)

    def arrived(self, person: str) -> dict[str, bytes]:
        return folder_content(person)

    def refuse(self, person: str) -> None:
        Path(person).rmdir()
        Path(person).write_text("a file where the folder was")

    def fail_for_now(self, person: str) -> None:
        real = SftpSession.put
        failed: list[str] = []

        def cut_once(session: SftpSession, *arguments: Any) -> None:
            if not failed and str(arguments[2]) == person:
                failed.append(person)
                self.server.cut()
            real(session, *arguments)

        self.fixture("monkeypatch").setattr(SftpSession, "put", cut_once)


class S3Case(Case):
    method = "s3"
    people = ("to/ana", "to/bo", "to/cy")
    big = 50 * MB
    unreachable_state = "retry"
    broken = (
        ({}, (), "delivery_config.bucket"),
        ({"bucket": "b", "access_key": CANARY}, (), "delivery_config.secret_key"),
        ({"bucket": "b", "secret_key": CANARY}, (), "delivery_config.access_key"),
        ({"bucket": "b", "acl": "everybody"}, (), "delivery_config.acl"),
        ({"bucket": "b", "endpoint_url": "nowhere"}, (), "delivery_config.endpoint_url"),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        self.bucket: Bucket = self.fixture("bucket")

    def options(self) -> dict[str, Any]:
        keys = {"access_key": f"AK{CANARY}", "secret_key": CANARY, "session_token": CANARY}
        return {"bucket": self.bucket.name, "endpoint_url": self.bucket.endpoint, **keys}

    def unreachable(self) -> Destination:
        return self.build({**self.options(), "endpoint_url": f"http://127.0.0.1:{free_port()}"}, *self.people)

    def arrived(self, person: str) -> dict[str, bytes]:
        return self.bucket.content(person)

    def refuse(self, person: str) -> None:
        self._answer(person, 403, "AccessDenied", 9)

    def fail_for_now(self, person: str) -> None:
        self._answer(person, 503, "SlowDown", 1)

    def _answer(self, person: str, status: int, code: str, times: int) -> None:
        """The emulator knows no rights per key: its answer comes from here."""
        real = S3Destination._put  # noqa: SLF001
        left = [times]

        def put(destination: S3Destination, file: Any, place: Any, execution_id: str) -> None:
            if left[0] and str(place).startswith(person):
                left[0] -= 1
                error = {"Code": code, "Message": f"your key is {CANARY}"}
                raise ClientError(
                    {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
                )
            real(destination, file, place, execution_id)

        self.fixture("monkeypatch").setattr(S3Destination, "_put", put)


CASES: dict[str, type[Case]] = {
    case.method: case for case in (EmailCase, SftpCase, WebhookCase, S3Case, FileShareCase)
}


def folder_content(folder: str) -> dict[str, bytes]:
    """What a reader of a folder sees: file name → bytes."""
    files = Path(folder).iterdir() if Path(folder).is_dir() else ()
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


@pytest.fixture(params=DESTINATIONS.kinds())
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path, request)


def test_every_method_has_a_case() -> None:
    assert tuple(CASES) == DESTINATIONS.kinds()


def test_everybody_gets_the_file_and_a_receipt(case: Case, tmp_path: Path) -> None:
    destination = case.destination()
    file = rendered(tmp_path)
    receipts = send_all(destination, parcel(file))
    assert destination.recipients() == case.people
    assert [receipt.recipient for receipt in receipts] == list(case.people)
    assert {receipt.state for receipt in receipts} == {"sent"}
    assert all(receipt.delivery_id == 7 and receipt.detail and receipt.at.tzinfo for receipt in receipts)
    assert all(case.arrived(person) == {file.name: file.path.read_bytes()} for person in case.people)
    assert destination.problems() == ()


def test_only_who_is_asked_for_is_reached(case: Case, tmp_path: Path) -> None:
    receipts = list(case.destination().send(parcel(rendered(tmp_path)), case.people[1:2]))
    assert states(receipts) == {case.people[1]: "sent"}
    assert [bool(case.arrived(person)) for person in case.people] == [False, True, False]


def test_nothing_leaves_for_a_recipient_before_its_receipt_is_asked_for(case: Case, tmp_path: Path) -> None:
    sending = case.destination().send(parcel(rendered(tmp_path)), case.people)
    assert not any(case.arrived(person) for person in case.people)
    next(sending)
    assert [bool(case.arrived(person)) for person in case.people] == [True, False, False]
    sending.close()
    case.settle()
    assert [bool(case.arrived(person)) for person in case.people] == [True, False, False]


def test_somebody_who_is_not_a_recipient_is_refused(case: Case, tmp_path: Path) -> None:
    receipts = list(case.destination().send(parcel(rendered(tmp_path)), ["mallory@x.test"]))
    assert states(receipts) == {"mallory@x.test": "refused"}
    assert not case.arrived("mallory@x.test")


def test_one_who_is_refused_does_not_stop_the_others(case: Case, tmp_path: Path) -> None:
    case.refuse(case.people[1])
    receipts = send_all(case.destination(), parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in receipts] == ["sent", "refused", "sent"]


def test_what_may_pass_is_retried_by_the_next_attempt(case: Case, tmp_path: Path) -> None:
    case.fail_for_now(case.people[1])
    destination, what = case.destination(), parcel(rendered(tmp_path))
    first = send_all(destination, what)
    assert [receipt.state for receipt in first] == ["sent", "retry", "sent"]
    assert not case.arrived(case.people[1])
    again = list(destination.send(what, [r.recipient for r in first if r.state == "retry"]))
    assert states(again) == {case.people[1]: "sent"}
    assert all(case.arrived(person) for person in case.people)


def test_where_nothing_is_there_everybody_has_a_receipt_that_says_so(case: Case, tmp_path: Path) -> None:
    destination = case.unreachable()
    receipts = send_all(destination, parcel(rendered(tmp_path)))
    assert states(receipts) == dict.fromkeys(destination.recipients(), case.unreachable_state)
    with pytest.raises(ReportHubError):
        destination.check()


def test_a_wrong_row_is_named_with_table_row_and_column(case: Case) -> None:
    for options, recipients, column in case.broken:
        with pytest.raises(ConfigurationError) as caught:
            case.build(options, *recipients)
        assert (caught.value.table, caught.value.row, caught.value.column) == ("report_deliveries", 7, column)
        assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_a_warning(case: Case) -> None:
    assert "colour" in " ".join(case.build({**case.options(), "colour": "red"}, *case.people).warnings)
    assert "colour" not in " ".join(case.destination().warnings)


def test_sending_again_replaces_what_was_there(case: Case, tmp_path: Path) -> None:
    for content in (b"old", b"new and longer"):
        send_all(case.destination(), parcel(rendered(tmp_path, "same.csv", content)))
    assert case.arrived(case.people[0])["same.csv"] == b"new and longer"


def test_a_big_file_arrives_whole_and_is_never_seen_in_part(case: Case, tmp_path: Path) -> None:
    content = os.urandom(MB) * (case.big // MB)
    file = rendered(tmp_path, "big.bin", content)
    with watched(case, case.people[0]) as seen:
        receipts = list(case.destination().send(parcel(file), case.people[:1]))
    assert [receipt.state for receipt in receipts] == ["sent"]
    assert sha256(case.arrived(case.people[0])["big.bin"]).hexdigest() == file.sha256
    assert seen <= {len(content)}


@pytest.mark.parametrize(
    "name",
    [
        "Umsätze März.xlsx",
        "売上 報告 2025.csv",
        "a'b, c;d=e%20(1).csv",
        "😀" * 40 + ".csv",
        "x" * 190 + ".json",
    ],
)
def test_file_names_arrive_as_they_are(case: Case, tmp_path: Path, name: str) -> None:
    file = rendered(tmp_path, name, "Grüße 😀\n".encode())
    receipts = list(case.destination().send(parcel(file), case.people[:1]))
    assert [receipt.state for receipt in receipts] == ["sent"]
    assert case.arrived(case.people[0]) == {name: file.path.read_bytes()}


def test_several_files_arrive_together(case: Case, tmp_path: Path) -> None:
    files = [rendered(tmp_path, name, name.encode()) for name in ("a.csv", "b.pdf")]
    send_all(case.destination(), parcel(*files))
    assert case.arrived(case.people[2]) == {"a.csv": b"a.csv", "b.pdf": b"b.pdf"}


def test_a_file_that_changed_or_went_away_is_not_delivered(case: Case, tmp_path: Path) -> None:
    changed, gone = rendered(tmp_path, "changed.csv"), rendered(tmp_path, "gone.csv")
    changed.path.write_bytes(b"something else")
    gone.path.unlink()
    for file in (changed, gone):
        receipts = send_all(case.destination(), parcel(file))
        assert {receipt.state for receipt in receipts} == {"refused"}
        assert file.name in receipts[0].detail
    assert not any(case.arrived(person) for person in case.people)


def test_check_says_what_answered_and_leaves_nothing(case: Case) -> None:
    assert case.destination().check()
    assert not any(case.arrived(person) for person in case.people)


def test_the_password_is_nowhere(case: Case, tmp_path: Path) -> None:
    destination = case.destination()
    case.refuse(case.people[0])
    case.fail_for_now(case.people[1])
    shown = [repr(destination), repr(vars(destination))]
    for each in (destination, case.unreachable()):
        shown += [repr(receipt) for receipt in send_all(each, parcel(rendered(tmp_path)))]
        shown += each.warnings
        try:
            each.check()
        except ReportHubError:
            shown.append(traceback.format_exc())
    for options in (
        {**case.options(), "smtp_port": CANARY, "overwrite": CANARY},
        {**case.options(), "cc": 3.5},
    ):
        try:
            case.build(options, *case.people)
        except ConfigurationError:
            shown.append(traceback.format_exc())
    assert not [text for text in shown if CANARY in text]


@contextmanager
def watched(case: Case, person: str) -> Iterator[set[int]]:
    """Poll what a recipient has, all the time; the sizes that were seen."""
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.update(len(data) for data in case.arrived(person).values())
            done.wait(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
