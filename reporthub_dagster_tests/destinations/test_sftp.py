"""What only SFTP does: recognising the machine, signing in, paths there, and what it says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.sftp import SftpDestination
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.host_keys import HostKeys
from reporthub_dagster.reporting.records import DeliveryReceipt
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all
from reporthub_dagster_tests.servers.sftp import HOST, RememberedHostKeys, SftpServer

StartServer = Callable[..., SftpServer]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


def to(
    server: SftpServer,
    path: Path | str,
    *recipients: str,
    keys: HostKeys | None = None,
    refuse: bool = False,
    egress: EgressPolicy | None = None,
    **options: Any,
) -> SftpDestination:
    """A delivery to a folder, signed in with the server's client key."""
    row = {
        "host": HOST,
        "port": server.port,
        "username": server.user,
        "private_key": server.client_key.export_private_key().decode(),
        "remote_path": str(path),
        "timeout": 10,
        **options,
    }
    settings = DestinationSettings(
        host_keys=keys, refuse_unknown_hosts=refuse, egress=egress or EgressPolicy()
    )
    return SftpDestination(delivery("sftp", row, *recipients), settings)


def sent(destination: SftpDestination, folder: Path, **variables: str) -> DeliveryReceipt:
    (receipt,) = send_all(destination, parcel(rendered(folder), **variables))
    return receipt


def public(key: asyncssh.SSHKey) -> str:
    return str(key.export_public_key().decode().strip())


def test_an_unknown_machine_is_pinned_told_and_recognised(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path
) -> None:
    keys = RememberedHostKeys()
    destination = to(sftp_server, inbox, keys=keys)
    first, second = (sent(to(sftp_server, inbox, keys=keys), tmp_path) for _ in range(2))
    assert first.state == second.state == "sent"
    assert f"host key {sftp_server.host_key.get_fingerprint()} is kept" in first.detail
    assert "kept" not in second.detail
    assert list(keys.kept) == [(HOST, sftp_server.port)]
    assert "host_key is not set" in destination.warnings[0]


def test_a_changed_key_is_refused_with_the_cure(
    start_sftp_server: StartServer, sftp_server: SftpServer, inbox: Path, tmp_path: Path
) -> None:
    other = start_sftp_server(sftp_server.client_key)
    keys = RememberedHostKeys()
    keys.kept[HOST, other.port] = public(sftp_server.host_key)
    receipt = sent(to(other, inbox, keys=keys), tmp_path)
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert "shows another host key than before" in receipt.detail
    assert "reporthub_host_keys" in receipt.detail
    assert not list(inbox.iterdir())
    assert keys.kept[HOST, other.port] == public(sftp_server.host_key)


@pytest.mark.parametrize("refuse", [True, False])
def test_the_strict_refuse_unknown_machines(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path, refuse: bool
) -> None:
    keys = RememberedHostKeys() if refuse else None
    receipt = sent(to(sftp_server, inbox, keys=keys, refuse=refuse), tmp_path)
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert sftp_server.host_key.get_fingerprint() in receipt.detail
    assert not list(inbox.iterdir())


@pytest.mark.parametrize("form", ["key", "fingerprint", "lines", "file"])
def test_a_key_that_the_row_gives_is_the_only_one(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path, form: str
) -> None:
    def given(key: asyncssh.SSHKey) -> dict[str, Any]:
        line = f"[{HOST}]:{sftp_server.port} {public(key)}\n"
        (tmp_path / "known").write_text(line)
        return {
            "key": {"host_key": public(key)},
            "fingerprint": {"host_key": key.get_fingerprint()},
            "lines": {"known_hosts": line},
            "file": {"known_hosts": str(tmp_path / "known")},
        }[form]

    right = to(sftp_server, inbox, refuse=True, **given(sftp_server.host_key))
    assert sent(right, tmp_path).state == "sent"
    assert right.warnings == ()
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    wrong = sent(to(sftp_server, inbox, keys=RememberedHostKeys(), **given(stranger)), tmp_path)
    assert (wrong.state, wrong.needs_person) == ("refused", True)
    assert "delivery_config.host_key" in wrong.detail


@pytest.mark.parametrize(
    ("algorithm", "form", "passphrase"),
    [
        ("ssh-rsa", "pkcs8-pem", "geheim"),
        ("ecdsa-sha2-nistp256", "pkcs1-pem", None),
        ("ssh-ed25519", "openssh", None),
        ("ssh-ed25519", "openssh", "geheim"),
    ],
)
def test_keys_of_several_kinds_sign_in(
    start_sftp_server: StartServer, inbox: Path, algorithm: str, form: str, passphrase: str | None
) -> None:
    key = asyncssh.generate_private_key(algorithm)
    server = start_sftp_server(key)
    text = key.export_private_key(form, passphrase, rounds=50).decode()
    destination = to(server, inbox, keys=RememberedHostKeys(), private_key=text, passphrase=passphrase)
    assert "signed in as" in destination.check()
    if passphrase:
        with pytest.raises(ConfigurationError, match="passphrase"):
            to(server, inbox, private_key=text)


def test_a_wrong_password_or_key_needs_a_person(sftp_server: SftpServer, inbox: Path, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    keys = RememberedHostKeys()
    by_key = sent(to(sftp_server, inbox, keys=keys, private_key=other), tmp_path)
    by_word = sent(to(sftp_server, inbox, keys=keys, private_key=None, password="wrong"), tmp_path)
    assert [(r.state, r.needs_person) for r in (by_key, by_word)] == [("refused", True)] * 2
    assert "delivery_config.private_key" in by_key.detail
    assert "delivery_config.password" in by_word.detail
    assert keys.kept == {}


def test_a_silent_machine_is_tried_again_within_its_time(tmp_path: Path, sftp_server: SftpServer) -> None:
    with socket.create_server((HOST, 0)) as silent:
        options = {"port": silent.getsockname()[1], "timeout": 1}
        receipts = send_all(to(sftp_server, "/x", "ana", "bo", **options), parcel(rendered(tmp_path)))
    assert {receipt.state for receipt in receipts} == {"retry"}
    assert "did not answer within 1 s" in receipts[0].detail


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("{{start_date}}/of {report_name}", "2013-01-01/of Flights & <Delays>/flights.csv"),
        ("fixed.csv", "fixed.csv"),
        ("{{start_date}}_{{file_name}}", "2013-01-01_flights.csv"),
        ("", "flights.csv"),
    ],
)
def test_paths_with_variables(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path, path: str, arrives: str
) -> None:
    destination = to(sftp_server, f"{inbox}/{path}", keys=RememberedHostKeys())
    assert sent(destination, tmp_path).state == "sent"
    assert (inbox / arrives).read_bytes() == rendered(tmp_path).path.read_bytes()


@pytest.mark.parametrize("value", ["..", "../..", "/etc", "a/b", "a\\b", "", "."])
def test_a_value_cannot_lead_elsewhere(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path, value: str
) -> None:
    destination = to(sftp_server, f"{inbox}/{{{{tenant}}}}", keys=RememberedHostKeys())
    assert sent(destination, tmp_path, tenant=value).state == "refused"
    assert not list(inbox.iterdir())


def test_a_missing_folder_is_created_only_when_the_row_says_so(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path
) -> None:
    keys = RememberedHostKeys()
    refused = sent(to(sftp_server, inbox / "a" / "b", keys=keys), tmp_path)
    assert (refused.state, refused.needs_person) == ("refused", True)
    assert "create_directory" in refused.detail
    assert (
        sent(to(sftp_server, inbox / "a" / "b", keys=keys, create_directory=True), tmp_path).state == "sent"
    )


def test_a_row_names_a_path_of_its_own_or_is_a_label(
    sftp_server: SftpServer, inbox: Path, tmp_path: Path
) -> None:
    other = inbox / "other"
    other.mkdir()
    destination = to(sftp_server, inbox, "Finance", str(other), keys=RememberedHostKeys())
    receipts = send_all(destination, parcel(rendered(tmp_path)))
    assert [receipt.recipient for receipt in receipts] == ["Finance", str(other)]
    assert (inbox / "flights.csv").exists()
    assert (other / "flights.csv").exists()


def test_several_files_need_names_of_their_own(sftp_server: SftpServer, inbox: Path, tmp_path: Path) -> None:
    destination = to(sftp_server, f"{inbox}/{{file_name}}", keys=RememberedHostKeys())
    files = [rendered(tmp_path, name) for name in ("a.csv", "b.pdf")]
    assert send_all(destination, parcel(*files))[0].state == "sent"
    assert sorted(path.name for path in inbox.iterdir()) == ["a.csv", "b.pdf"]


def test_a_strict_policy_holds_for_sftp(sftp_server: SftpServer, inbox: Path, tmp_path: Path) -> None:
    receipt = sent(to(sftp_server, inbox, egress=EgressPolicy.parse("strict")), tmp_path)
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert "REPORTHUB_EGRESS_ALLOW" in receipt.detail


def test_check_leaves_nothing_and_says_what_is_wrong(sftp_server: SftpServer, inbox: Path) -> None:
    keys = RememberedHostKeys()
    assert "OpenSSH" in to(sftp_server, inbox, keys=keys).check()
    assert not list(inbox.iterdir())
    with pytest.raises(ConfigurationError, match="does not exist"):
        to(sftp_server, inbox / "gone", keys=keys).check()
    with pytest.raises(TransientError, match="cannot be reached"):
        to(sftp_server, inbox, port=1).check()
