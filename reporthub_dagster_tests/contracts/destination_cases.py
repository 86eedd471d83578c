"""The other sides of the destinations' contract: how to start, to break and to look at each."""

from __future__ import annotations

import errno
import os
import ssl
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from reporthub_dagster.destinations.base import Destination
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.destinations.s3 import S3Destination
from reporthub_dagster.destinations.sftp_session import SftpSession
from reporthub_dagster.destinations.smb_session import SmbSession
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster_tests.destinations.parcels import delivery
from reporthub_dagster_tests.servers.process import free_port
from reporthub_dagster_tests.servers.s3 import Bucket
from reporthub_dagster_tests.servers.sftp import RememberedHostKeys, SftpServer
from reporthub_dagster_tests.servers.smb import PASSWORD as SMB_PASSWORD
from reporthub_dagster_tests.servers.smb import SmbServer
from reporthub_dagster_tests.servers.smtp import MailServer
from reporthub_dagster_tests.servers.web import Answer, WebServer

CANARY = "c4nary-passw0rd"
MB = 1_000_000


class Case(ABC):
    """One method against a real other side.

    Attributes:
        people: Three recipients.
        big: Bytes of the big file; a mail takes no more, encoded, before it has a link instead.
        unreachable_state: The receipt's state when nothing is there.
        lost_state: The receipt's state when everything was sent and the answer is lost.
        identity: The setting by which the other side is known.
        has_server: There is one that could be away.
        port: Of it.
        keeps_parts: The server shows what it got of an upload that was cut, as no S3 does.
    """

    method: str
    people: tuple[str, str, str]
    big: int = 50 * MB
    unreachable_state: str
    lost_state: str = "retry"
    has_server: bool = True
    identity: str = "tls_ca_file"
    port: int
    keeps_parts: bool = False
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

    def unreachable(self) -> Destination:
        """One whose other side is not there."""
        return self.at(free_port())

    @abstractmethod
    def arrived(self, person: str) -> dict[str, bytes]:
        """What one of `people` has now: file name → bytes."""

    def seen(self, person: str) -> set[int]:
        """Sizes of what a reader finds there now."""
        return {len(data) for data in self.arrived(person).values()}

    @abstractmethod
    def refuse(self, person: str) -> None:
        """From now on the other side refuses this one for good."""

    @abstractmethod
    def fail_for_now(self, person: str) -> None:
        """The next attempt for this one fails for a reason that passes."""

    def at(self, port: int, seconds: float = 5.0) -> Destination:
        """One for `people` whose server is on another port and has so many seconds for each answer."""
        return self.build({**self.options(), "port": port, "timeout": seconds}, *self.people)

    def wrong_password(self) -> Destination:
        """One whose password the other side does not take."""
        raise NotImplementedError

    def stranger(self) -> Destination:
        """One whose other side cannot prove who it is, by certificate, host key or password."""
        raise NotImplementedError

    def full(self) -> Destination:
        """One whose other side has no room for 5 MB."""
        raise NotImplementedError

    def _within(self, seconds: float) -> None:
        self.settings = replace(self.settings, timeout_seconds=seconds)

    def settle(self) -> None:  # noqa: B027 - most see it at once
        """Wait until the other side has seen that we are gone."""


class EmailCase(Case):
    method = "email"
    people = ("ana@x.test", "bo@x.test", "cy@x.test")
    big = 14 * MB
    unreachable_state = "retry"
    lost_state = "unknown"
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
        self.port = self.server.port

    def options(self) -> dict[str, Any]:
        return {
            "smtp_server": self.server.host,
            "smtp_port": self.server.port,
            "from_email": "reports@hub.test",
            "username": "hub",
            "password": CANARY,
        }

    def at(self, port: int, seconds: float = 5.0) -> Destination:
        self._within(seconds)
        return self.build({**self.options(), "smtp_port": port}, *self.people)

    def wrong_password(self) -> Destination:
        return self.build({**self.options(), "password": "wrong"}, *self.people)

    def stranger(self) -> Destination:
        tls: ssl.SSLContext = self.fixture("smtp_tls")
        server = self.fixture("start_mail_server")(tls=tls, users={"hub": CANARY})
        return self.build({**self.options(), "smtp_port": server.port, "use_tls": True}, *self.people)

    def full(self) -> Destination:
        for person in self.people:
            self.server.script(person, "RCPT", *["452 4.3.1 insufficient system storage"] * 9)
        return self.destination()

    def arrived(self, person: str) -> dict[str, bytes]:
        return {name: data for mail in self.server.to(person) for name, data in mail.attachments.items()}

    def seen(self, person: str) -> set[int]:
        return set()  # a mailbox has mails, not parts of them

    def refuse(self, person: str) -> None:
        self.server.script(person, "RCPT", *[f"550 5.1.1 nobody; your password is {CANARY}"] * 9)

    def fail_for_now(self, person: str) -> None:
        self.server.script(person, "RCPT", f"450 4.2.0 later; your password is {CANARY}")

    def settle(self) -> None:
        self.server.wait_until_idle()


class FolderCase(Case):
    """Who puts files into folders of this machine."""

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        folders = [self.root / name for name in ("ana", "bo", "cy")]
        for folder in folders:
            folder.mkdir()
        self.people = (str(folders[0]), str(folders[1]), str(folders[2]))

    def full(self) -> Destination:
        return self.build(self.options(), str(self.fixture("small_disk")))

    def arrived(self, person: str) -> dict[str, bytes]:
        return folder_content(person)

    def seen(self, person: str) -> set[int]:
        return sizes_in(Path(person))

    def refuse(self, person: str) -> None:
        Path(person).rmdir()
        Path(person).write_text("a file where the folder was")


class FileShareCase(FolderCase):
    method = "file_share"
    unreachable_state = "refused"
    has_server = False
    broken = (
        ({}, (), "delivery_config.path"),
        ({"path": "/mnt", "create_directory": "perhaps"}, (), "delivery_config.create_directory"),
    )

    def options(self) -> dict[str, Any]:
        return {"path": str(self.root), "password": CANARY}

    def unreachable(self) -> Destination:
        gone = [f"{person}/not-mounted" for person in self.people]
        return self.build(self.options(), *gone)

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
        self.port = self.server.port
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

    def at(self, port: int, seconds: float = 5.0) -> Destination:
        self._within(seconds)
        return self.build({**self.options(), "url": f"http://127.0.0.1:{port}/{CANARY}"}, *self.people)

    def wrong_password(self) -> Destination:
        self.server.answer("*", *[Answer(401, body=f"not {CANARY}")] * 9)
        return self.destination()

    def stranger(self) -> Destination:
        server = self.fixture("start_web_server")(tls=self.fixture("smtp_tls"))
        return self.build({**self.options(), "url": f"https://127.0.0.1:{server.port}/"}, *self.people)

    def full(self) -> Destination:
        self.server.answer("*", *[Answer(507)] * 9)
        return self.destination()

    def arrived(self, person: str) -> dict[str, bytes]:
        return {name: data for request in self.server.to(person) for name, data in request.files.items()}

    def seen(self, person: str) -> set[int]:
        return set()  # nobody reads what a receiver has not taken

    def refuse(self, person: str) -> None:
        self.server.answer(person, *[Answer(410, body=f"your key is {CANARY}")] * 9)

    def fail_for_now(self, person: str) -> None:
        self.server.answer(person, Answer(503, {"Retry-After": "7"}, f"your key is {CANARY}"))


class SftpCase(FolderCase):
    method = "sftp"
    identity = "host_key"
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
        self.port = self.server.port
        self.settings = DestinationSettings(timeout_seconds=5, host_keys=RememberedHostKeys())

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

    def wrong_password(self) -> Destination:
        without = {key: value for key, value in self.options().items() if key != "private_key"}
        return self.build({**without, "password": "wrong"}, *self.people)

    def stranger(self) -> Destination:
        self.settings = replace(self.settings, refuse_unknown_hosts=True)
        return self.destination()

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
        self.bucket = self.find_bucket()
        self.port = int(self.bucket.endpoint.rpartition(":")[2])

    def find_bucket(self) -> Bucket:
        """An empty one."""
        bucket: Bucket = self.fixture("bucket")
        return bucket

    def options(self) -> dict[str, Any]:
        keys = {"access_key": f"AK{CANARY}", "secret_key": CANARY, "session_token": CANARY}
        return {"bucket": self.bucket.name, "endpoint_url": self.bucket.endpoint, **keys}

    def at(self, port: int, seconds: float = 5.0) -> Destination:
        self._within(seconds)
        return self.build({**self.options(), "endpoint_url": f"http://127.0.0.1:{port}"}, *self.people)

    def wrong_password(self) -> Destination:
        self.bucket = self.fixture("verifying_bucket")
        keys = {"access_key": self.bucket.access_key, "secret_key": "wrong", "session_token": None}
        return self.build({**self.options(), **keys}, *self.people)

    def stranger(self) -> Destination:
        server = self.fixture("start_web_server")(tls=self.fixture("smtp_tls"))
        endpoint = f"https://127.0.0.1:{server.port}"
        return self.build({**self.options(), "endpoint_url": endpoint}, *self.people)

    def full(self) -> Destination:
        self._answer("to/", 403, "QuotaExceeded", 9)
        return self.destination()

    def arrived(self, person: str) -> dict[str, bytes]:
        return self.bucket.content(person)

    def seen(self, person: str) -> set[int]:
        return self.bucket.sizes(person)

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


class OtherS3Case(S3Case):
    """The same with a server of another make."""

    keeps_parts = True

    def find_bucket(self) -> Bucket:
        bucket: Bucket = self.fixture("other_bucket")
        return bucket


class SmbCase(Case):
    method = "file_share"
    identity = "username"
    unreachable_state = "retry"
    broken = (
        ({"server": "nas", "share": "reports", "password": CANARY}, (), "delivery_config.username"),
        ({"server": "nas", "username": "u", "password": CANARY}, (), "delivery_config.share"),
        ({"share": "reports", "username": "u", "password": CANARY}, (), "delivery_config.server"),
        ({"path": r"\\nas\reports"}, (), "delivery_config.username"),
    )

    def __init__(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        super().__init__(tmp_path, request)
        self.server: SmbServer = self.fixture("smb_server")
        self.port = self.server.port
        self.inbox = self.server.folder / uuid.uuid4().hex
        for name in ("ana", "bo", "cy"):
            (self.inbox / name).mkdir(parents=True)
        self.people = (self._path("ana"), self._path("bo"), self._path("cy"))

    def options(self) -> dict[str, Any]:
        return {
            "server": "127.0.0.1",
            "share": "reports",
            "port": self.port,
            "path": self.inbox.name,
            "username": self.server.user,
            "password": SMB_PASSWORD,
            "timeout": 10,
        }

    def wrong_password(self) -> Destination:
        return self.build({**self.options(), "password": "wrong"}, *self.people)

    def stranger(self) -> Destination:
        server: SmbServer = self.fixture("impostor_smb_server")
        return self.build({**self.options(), "port": server.port, "path": ""}, "Finance")

    def full(self) -> Destination:
        self.fixture("mount_small_disk")(self.inbox / "small")
        return self.build(self.options(), self._path("small"))

    def arrived(self, person: str) -> dict[str, bytes]:
        return folder_content(str(self._folder(person)))

    def seen(self, person: str) -> set[int]:
        return sizes_in(self._folder(person))

    def refuse(self, person: str) -> None:
        self._folder(person).rmdir()
        self._folder(person).write_text("a file where the folder was")

    def fail_for_now(self, person: str) -> None:
        real = SmbSession.put
        failed: list[str] = []

        def cut_once(session: SmbSession, *arguments: Any, **options: Any) -> None:
            if not failed and str(arguments[2]) == person.replace("\\", "/").strip("/"):
                failed.append(person)
                self.server.cut()
            real(session, *arguments, **options)

        self.fixture("monkeypatch").setattr(SmbSession, "put", cut_once)

    def _path(self, name: str) -> str:
        return f"\\{self.inbox.name}\\{name}"

    def _folder(self, person: str) -> Path:
        return self.server.folder / person.replace("\\", "/").strip("/")


CASES: dict[str, type[Case]] = {
    "email": EmailCase,
    "sftp": SftpCase,
    "webhook": WebhookCase,
    "s3": S3Case,
    "s3 elsewhere": OtherS3Case,
    "file_share": FileShareCase,
    "file_share over SMB": SmbCase,
}


def able(what: str) -> list[str]:
    """The cases that have a way to do something."""
    return [name for name, case in CASES.items() if getattr(case, what) is not getattr(Case, what)]


def sizes_in(folder: Path) -> set[int]:
    """Sizes of the files that a reader of a folder sees."""
    return {path.stat().st_size for path in folder.iterdir() if not path.name.startswith(".")}


def folder_content(folder: str) -> dict[str, bytes]:
    """What a reader of a folder sees: file name → bytes."""
    files = Path(folder).iterdir() if Path(folder).is_dir() else ()
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}
