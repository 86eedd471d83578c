from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stream_unzip

from reporthub_dagster.storage.archive import gzip_file, zip_files

# The reader's own, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:PBKDF2 without:DeprecationWarning")

MOMENT = datetime(2025, 1, 31, 8, 0, 2, tzinfo=UTC)
PASSWORD = "püssword 🔑".encode()


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    texts = {"sales.csv": b"a,b\r\n" * 100_000, "ventes d'été.json": b"[]", "empty.csv": b""}
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in texts]


def members(path: Path, password: bytes | None = None) -> dict[str, bytes]:
    """What another implementation than the writer's reads, its checksums and MACs checked."""

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(65_536):
                yield piece

    return {
        name.decode(): b"".join(content)
        for name, _, content in stream_unzip.stream_unzip(pieces(), password=password)
    }


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["open", "with a password"])
def test_a_zip_holds_the_files(sources: list[Path], tmp_path: Path, password: bytes | None) -> None:
    target = tmp_path / "all.zip"
    zip_files(sources, target, moment=MOMENT, password=password)
    assert members(target, password) == {source.name: source.read_bytes() for source in sources}
    with zipfile.ZipFile(target) as archive:
        assert {info.date_time for info in archive.infolist()} == {(2025, 1, 31, 8, 0, 2)}
        assert {bool(info.flag_bits & 1) for info in archive.infolist()} == {password is not None}


def test_a_zip_with_a_password_shows_nothing_without_it(sources: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "all.zip"
    zip_files(sources, target, moment=MOMENT, password=PASSWORD)
    with pytest.raises(stream_unzip.IncorrectAESPasswordError):
        members(target, b"guess")
    with zipfile.ZipFile(target) as archive:
        # AE-2: a checksum of the text would give short texts away.
        assert {info.CRC for info in archive.infolist()} == {0}
    assert b"a,b" not in target.read_bytes()


def test_the_same_files_give_the_same_bytes(sources: list[Path], tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    zip_files(sources, first, moment=MOMENT)
    gzip_file(sources[0], tmp_path / "1.gz")
    for source in sources:
        os.utime(source, (1, 1))
        source.chmod(0o600)
    zip_files(sources, second, moment=MOMENT)
    gzip_file(sources[0], tmp_path / "2.gz")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "1.gz").read_bytes() == (tmp_path / "2.gz").read_bytes()


def test_gzip_gives_the_file_back(sources: list[Path], tmp_path: Path) -> None:
    gzip_file(sources[0], tmp_path / "sales.csv.gz")
    packed = (tmp_path / "sales.csv.gz").read_bytes()
    assert gzip.decompress(packed) == sources[0].read_bytes()
    assert len(packed) < 2_000
    assert b"sales" not in packed


def test_a_member_beyond_4_gib_is_told_by_its_size(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1_000)
    zip_files(sources, tmp_path / "all.zip", moment=MOMENT)
    assert members(tmp_path / "all.zip")["sales.csv"] == sources[0].read_bytes()
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        large = {info.filename for info in archive.infolist() if info.extract_version >= 45}
    assert large == {"sales.csv"}


@pytest.mark.parametrize("year", [1, 9999])
def test_a_moment_that_zip_has_no_room_for_is_moved(sources: list[Path], tmp_path: Path, year: int) -> None:
    zip_files(sources, tmp_path / "all.zip", moment=datetime(year, 1, 31, tzinfo=UTC))
    assert len(members(tmp_path / "all.zip")) == 3


def test_an_error_leaves_no_archive(sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        zip_files([*sources, tmp_path / "gone"], tmp_path / "x.zip", moment=MOMENT)
    with pytest.raises(FileNotFoundError):
        gzip_file(tmp_path / "gone", tmp_path / "x.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(source.name for source in sources)
