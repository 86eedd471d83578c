from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster.storage.manifest import files_made_from, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> ExecutionFolder:
    folder = ExecutionFolder(tmp_path / "execution")
    folder.create()
    return folder


def file(folder: ExecutionFolder, name: str, content: bytes = b"a\r\n1\r\n") -> RenderedFile:
    path = folder.files / name
    path.write_bytes(content)
    return RenderedFile(
        path=path,
        name=name,
        format="csv",
        media_type="text/csv",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        row_count=1,
        warnings=("column 'a': odd",),
        truncated=True,
        options={"delimiter": ";", "columns": {"a": {"width": 3}}},
    )


def test_a_manifest_gives_back_what_was_written(folder: ExecutionFolder) -> None:
    files = (file(folder, "sales.csv"), file(folder, "ventes.csv", b"b"))
    write_manifest(folder, files, made_from="digest")
    assert read_manifest(folder) == files
    assert files_made_from(folder, "digest") == files
    assert files_made_from(folder, "another") is None


def test_its_schema_is_the_documented_one(folder: ExecutionFolder) -> None:
    rendered = file(folder, "sales.csv")
    write_manifest(folder, [rendered], made_from="digest")
    assert json.loads(folder.manifest.read_bytes()) == {
        "version": 1,
        "made_from": "digest",
        "files": [
            {
                "name": "sales.csv",
                "format": "csv",
                "media_type": "text/csv",
                "size": 6,
                "sha256": rendered.sha256,
                "row_count": 1,
                "truncated": True,
                "options": {"delimiter": ";", "columns": {"a": {"width": 3}}},
                "warnings": ["column 'a': odd"],
            }
        ],
    }


def test_the_same_files_give_the_same_manifest(folder: ExecutionFolder) -> None:
    files = (file(folder, "sales.csv"),)
    write_manifest(folder, files, made_from="digest")
    first = folder.manifest.read_bytes()
    write_manifest(folder, files, made_from="digest")
    assert folder.manifest.read_bytes() == first


def test_a_manifest_moves_with_its_folder(folder: ExecutionFolder, tmp_path: Path) -> None:
    write_manifest(folder, [file(folder, "sales.csv")], made_from="digest")
    moved = ExecutionFolder(folder.path.rename(tmp_path / "restored"))
    assert [one.path for one in read_manifest(moved)] == [moved.files / "sales.csv"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder.files / "sales.csv").unlink(), "sales.csv is gone"),
        (lambda folder: (folder.files / "sales.csv").write_bytes(b"a\r\n2\r\n"), "sales.csv changed after"),
        (lambda folder: folder.manifest.unlink(), "has no manifest.json"),
        (lambda folder: folder.manifest.write_text("{"), "cannot be used"),
        (lambda folder: edit(folder, '"version": 1', '"version": 2'), "version: Input should be 1"),
        (lambda folder: edit(folder, '"sales.csv"', '"../result.json"'), "not the name of a file"),
    ],
    ids=["gone", "changed", "no manifest", "no JSON", "a later version", "another folder"],
)
def test_what_is_not_what_was_rendered_is_not_given_out(
    folder: ExecutionFolder, spoil: object, words: str
) -> None:
    write_manifest(folder, [file(folder, "sales.csv")], made_from="digest")
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(PermanentError, match=words):
        read_manifest(folder)
    assert files_made_from(folder, "digest") is None


def test_files_of_earlier_attempts_are_gone_when_the_manifest_is_there(folder: ExecutionFolder) -> None:
    file(folder, "old name.csv")
    write_manifest(folder, [file(folder, "sales.csv")], made_from="digest")
    assert [path.name for path in folder.files.iterdir()] == ["sales.csv"]


def test_scratch_folders_are_gone_afterwards_and_after_a_death(folder: ExecutionFolder) -> None:
    with folder.scratch() as scratch:
        (scratch / "sales.csv").write_bytes(b"half")
        folder.create()  # as the next attempt does
        assert not scratch.exists()
    assert sorted(path.name for path in folder.path.iterdir()) == ["files"]


def edit(folder: ExecutionFolder, old: str, new: str) -> None:
    text = folder.manifest.read_text()
    assert old in text
    folder.manifest.write_text(text.replace(old, new))
