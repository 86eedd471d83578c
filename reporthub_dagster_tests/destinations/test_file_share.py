"""What only folders do: variables in paths, missing mounts, full and read-only disks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.file_share import FileShareDestination
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all


def folder(path: Path | str, *recipients: str, **options: Any) -> FileShareDestination:
    """A delivery to a folder."""
    row = delivery("file_share", {"path": str(path), **options}, *recipients)
    return FileShareDestination(row, DestinationSettings())


def sent_to(destination: FileShareDestination, what: Any) -> list[str]:
    """Where the files are."""
    receipts = send_all(destination, what)
    assert {receipt.state for receipt in receipts} == {"sent"}, receipts
    return [receipt.detail for receipt in receipts]


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


def test_without_rows_the_path_is_the_recipient(share: Path, tmp_path: Path) -> None:
    destination = folder(share)
    assert destination.recipients() == (str(share),)
    assert sent_to(destination, parcel(rendered(tmp_path))) == [str(share / "flights.csv")]


def test_rows_are_labels_or_paths_of_their_own(share: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    destination = folder(share, "Finance", str(other), "ana@x.test", "Finance", "  ")
    assert destination.recipients() == ("Finance", str(other), "ana@x.test")
    where = sent_to(destination, parcel(rendered(tmp_path)))
    assert where == [str(base / "flights.csv") for base in (share, other, share)]


def test_only_paths_in_rows_need_no_path_in_the_delivery(share: Path) -> None:
    row = delivery("file_share", {}, str(share))
    assert FileShareDestination(row, DestinationSettings()).check() == f"{share} can be written"


def test_variables_name_folders_that_are_created(share: Path, tmp_path: Path) -> None:
    destination = folder(f"{share}/{{{{start_date}}}}/of {{report_name}}/fixed")
    where = sent_to(destination, parcel(rendered(tmp_path)))
    assert where == [str(share / "2013-01-01" / "of Flights & <Delays>" / "fixed" / "flights.csv")]
    assert list(destination.templates()) == ["report_deliveries 7, delivery_config.path"]


def test_an_unknown_variable_stays_as_written_with_a_warning(share: Path, tmp_path: Path) -> None:
    destination = folder(f"{share}/{{{{tenant}}}}")
    whole = parcel(rendered(tmp_path))
    assert sent_to(destination, whole) == [str(share / "{{tenant}}" / "flights.csv")]
    assert destination.unknown_variables(whole) == (
        "report_deliveries 7, delivery_config.path: {{tenant}} has no value and stays as written",
    )


@pytest.mark.parametrize("value", ["..", "../..", "/etc", "a/b", "a\\b", "", " ", ".", "a\0b", "../share/x"])
def test_a_value_cannot_lead_elsewhere(share: Path, tmp_path: Path, value: str) -> None:
    (receipt,) = send_all(folder(f"{share}/{{{{tenant}}}}"), parcel(rendered(tmp_path), tenant=value))
    assert receipt.state == "refused"
    assert "{{tenant}}" in receipt.detail
    assert not list(share.iterdir())


def test_a_link_cannot_lead_elsewhere(share: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (share / "acme").symlink_to(outside)
    (receipt,) = send_all(folder(f"{share}/{{tenant}}"), parcel(rendered(tmp_path), tenant="acme"))
    assert receipt.state == "refused"
    assert "by a link" in receipt.detail
    assert not list(outside.iterdir())


def test_a_share_that_is_not_mounted_is_not_created(tmp_path: Path) -> None:
    destination = folder(tmp_path / "mnt" / "{{start_date}}")
    (receipt,) = send_all(destination, parcel(rendered(tmp_path)))
    assert receipt.state == "refused"
    assert "report_deliveries 7, column delivery_config.path: the folder does not exist" in receipt.detail
    assert "create_directory" in receipt.detail
    assert not (tmp_path / "mnt").exists()
    with pytest.raises(ConfigurationError, match="does not exist"):
        destination.check()


def test_create_directory_makes_it(tmp_path: Path) -> None:
    where = sent_to(folder(tmp_path / "a" / "b", create_directory="true"), parcel(rendered(tmp_path)))
    assert where == [str(tmp_path / "a" / "b" / "flights.csv")]


def test_a_row_whose_path_is_wrong_is_named(tmp_path: Path) -> None:
    (receipt,) = send_all(folder(tmp_path, str(tmp_path / "gone")), parcel(rendered(tmp_path)))
    assert "report_delivery_recipients 100, column recipient_value" in receipt.detail


def test_a_relative_path_is_taken_from_here_with_a_warning(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    destination = folder("share")
    assert sent_to(destination, parcel(rendered(tmp_path))) == [str(share / "flights.csv")]
    assert "not absolute" in destination.warnings[0]


def test_a_url_is_not_a_folder_and_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="server, share") as caught:
        folder("smb://hub:c4nary@nas/reports")
    assert "c4nary" not in str(caught.value)


def test_overwrite_false_keeps_what_is_there_unless_it_is_the_same(share: Path, tmp_path: Path) -> None:
    destination, file = folder(share, overwrite=False), rendered(tmp_path)
    sent_to(destination, parcel(file))
    sent_to(destination, parcel(file))  # an attempt after one whose receipt was lost
    (receipt,) = send_all(destination, parcel(rendered(tmp_path, content=b"other")))
    assert receipt.state == "refused"
    assert "overwrite" in receipt.detail
    assert (share / "flights.csv").read_bytes() == b"a,b\r\n1,2\r\n"


def test_a_full_disk_is_tried_again_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    kept = rendered(tmp_path, content=b"old")
    sent_to(folder(small_disk), parcel(kept))
    (receipt,) = send_all(folder(small_disk), parcel(rendered(tmp_path, content=b"x" * 200_000)))
    assert receipt.state == "retry"
    assert "No space left" in receipt.detail
    assert [(path.name, path.read_bytes()) for path in small_disk.iterdir()] == [("flights.csv", b"old")]


def test_a_read_only_share_is_refused_with_the_cure(read_only_disk: Path, tmp_path: Path) -> None:
    (receipt,) = send_all(folder(read_only_disk), parcel(rendered(tmp_path)))
    assert receipt.state == "refused"
    assert "mounted read-only" in receipt.detail
    with pytest.raises(ConfigurationError, match="mount it for writing"):
        folder(read_only_disk).check()


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.ENOSPC, "retry"),
        (errno.EDQUOT, "retry"),
        (errno.ESTALE, "retry"),
        (errno.EIO, "retry"),
        (errno.ETIMEDOUT, "retry"),
        (errno.EHOSTDOWN, "retry"),
        (errno.EACCES, "refused"),
        (errno.EPERM, "refused"),
        (errno.EROFS, "refused"),
        (errno.EFBIG, "refused"),
    ],
)
def test_what_the_file_system_says(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, state: str
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    (receipt,) = send_all(folder(share), parcel(rendered(tmp_path)))
    assert receipt.state == state
    assert str(share) in receipt.detail
    assert not list(share.iterdir())


def test_check_tells_what_may_pass_from_what_will_not(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_self: Path, _data: bytes) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(TransientError, match="Stale file handle"):
        folder(share).check()


def test_a_folder_with_the_files_name_is_refused(share: Path, tmp_path: Path) -> None:
    (share / "flights.csv").mkdir()
    (receipt,) = send_all(folder(share), parcel(rendered(tmp_path)))
    assert receipt.state == "refused"
    assert [path.name for path in share.iterdir()] == ["flights.csv"]


@pytest.mark.parametrize("name", ["../flights.csv", "..", "a/b.csv", "/etc/passwd"])
def test_a_file_name_is_only_a_name(share: Path, tmp_path: Path, name: str) -> None:
    file = rendered(tmp_path)
    object.__setattr__(file, "name", name)
    (receipt,) = send_all(folder(share), parcel(file))
    assert receipt.state == "refused"
    assert not list(share.iterdir())


def test_one_failure_of_several_files_is_a_failure(share: Path, tmp_path: Path) -> None:
    gone = rendered(tmp_path, "gone.csv")
    gone.path.unlink()
    (receipt,) = send_all(folder(share), parcel(rendered(tmp_path), gone))
    assert receipt.state == "refused"
    assert "gone.csv" in receipt.detail
