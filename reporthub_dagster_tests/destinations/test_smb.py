"""Folders on an SMB server: whole files, encryption, what the server says, and a cut on the way."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.file_share import FileShareDestination
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all
from reporthub_dagster_tests.servers.smb import HOST, PASSWORD, SmbServer


@pytest.fixture
def inbox(smb_server: SmbServer) -> Path:
    path = smb_server.folder / uuid.uuid4().hex
    path.mkdir()
    return path


def to(
    smb_server: SmbServer, path: str, *recipients: str, egress: EgressPolicy | None = None, **options: Any
) -> FileShareDestination:
    row = {
        "server": HOST,
        "share": "reports",
        "port": smb_server.port,
        "path": path,
        "username": smb_server.user,
        "password": PASSWORD,
        "timeout": 10,
        **options,
    }
    settings = DestinationSettings(egress=egress or EgressPolicy())
    return FileShareDestination(delivery("file_share", row, *recipients), settings)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_files_arrive_whole_and_replace_what_was_there(
    smb_server: SmbServer, inbox: Path, tmp_path: Path
) -> None:
    destination = to(smb_server, inbox.name)
    for content in (b"old", b"new"):
        files = [rendered(tmp_path, name, content) for name in ("Umsätze 売上.csv", "b.bin")]
        (receipt,) = send_all(destination, parcel(*files))
        assert receipt.state == "sent", receipt
        assert {name: (inbox / name).read_bytes() == content for name in visible(inbox)} == {
            "Umsätze 売上.csv": True,
            "b.bin": True,
        }
    assert len(list(inbox.iterdir())) == 2
    assert f"\\\\{HOST}\\reports\\{inbox.name}\\b.bin" in receipt.detail


@pytest.mark.parametrize("form", ["{inbox}\\{{{{start_date}}}}\\x", "/{inbox}/{{start_date}}/x"])
def test_paths_with_variables(smb_server: SmbServer, inbox: Path, tmp_path: Path, form: str) -> None:
    path = form.replace("{inbox}", inbox.name).replace("{{{{", "{{").replace("}}}}", "}}")
    assert send_all(to(smb_server, path), parcel(rendered(tmp_path)))[0].state == "sent"
    assert visible(inbox / "2013-01-01" / "x") == ["flights.csv"]


def test_a_path_may_say_all(smb_server: SmbServer, inbox: Path, tmp_path: Path) -> None:
    path = f"\\\\{HOST}\\reports\\{inbox.name}"
    destination = to(smb_server, path, server=None, share=None)
    assert send_all(destination, parcel(rendered(tmp_path)))[0].state == "sent"
    assert visible(inbox) == ["flights.csv"]


def test_rows_are_labels_or_paths(smb_server: SmbServer, inbox: Path, tmp_path: Path) -> None:
    (inbox / "own").mkdir()
    destination = to(smb_server, inbox.name, "Finance", f"\\{inbox.name}\\own")
    assert [r.state for r in send_all(destination, parcel(rendered(tmp_path)))] == ["sent", "sent"]
    assert visible(inbox / "own") == ["flights.csv"]


@pytest.mark.parametrize(
    ("options", "state", "column"),
    [
        ({"share": "nothing"}, "refused", "delivery_config.share"),
        ({"path": "no/such/folder"}, "refused", "delivery_config.path"),
    ],
)
def test_what_the_server_says(
    smb_server: SmbServer, inbox: Path, tmp_path: Path, options: dict[str, Any], state: str, column: str
) -> None:
    destination = to(smb_server, options.pop("path", inbox.name), **options)
    (receipt,) = send_all(destination, parcel(rendered(tmp_path)))
    assert (receipt.state, receipt.needs_person) == (state, bool(column)), receipt.detail
    assert column in receipt.detail
    assert PASSWORD not in receipt.detail
    with pytest.raises(ConfigurationError if column else TransientError):
        destination.check()


def test_create_directory_makes_the_whole_path(smb_server: SmbServer, inbox: Path, tmp_path: Path) -> None:
    destination = to(smb_server, f"{inbox.name}/a/b", create_directory=True)
    assert send_all(destination, parcel(rendered(tmp_path)))[0].state == "sent"
    assert visible(inbox / "a" / "b") == ["flights.csv"]


def test_check_leaves_nothing(smb_server: SmbServer, inbox: Path) -> None:
    assert "can be written" in to(smb_server, inbox.name).check()
    assert not list(inbox.iterdir())


def test_a_strict_policy_holds_for_smb(smb_server: SmbServer, inbox: Path, tmp_path: Path) -> None:
    destination = to(smb_server, inbox.name, egress=EgressPolicy.parse("strict"))
    (receipt,) = send_all(destination, parcel(rendered(tmp_path)))
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert "REPORTHUB_EGRESS_ALLOW" in receipt.detail
