"""Which format a file has, and what is inside a gzip or a zip."""

from __future__ import annotations

import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Literal, get_args

from isal import igzip

from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.reporting.errors import PermanentError

FileFormat = Literal["csv", "tsv", "json", "jsonl", "parquet", "xlsx"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
_ENDINGS: dict[str, FileFormat] = {
    **{f".{name}": name for name in FORMATS},
    ".txt": "csv",
    ".ndjson": "jsonl",
    ".xls": "xlsx",
    ".xlsm": "xlsx",
    ".xlsb": "xlsx",
    ".ods": "xlsx",
}
_PIECE = 1 << 20
_MOST_MEMBERS = 10_000
_SIGNATURES = ((b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"))


def format_of(name: str) -> FileFormat | None:
    """The format that a file's name says, a `.gz` or `.zip` at its end aside; None when it says none."""
    path = PurePosixPath(name.lower())
    if path.suffix in (".gz", ".gzip", ".zip"):
        path = path.with_suffix("")
    return _ENDINGS.get(path.suffix)


def unpacked(
    path: Path, name: str, wanted: FileFormat | None, scratch: Path, budget: Budget
) -> dict[Path, str]:
    """The plain files in a file: itself, or what a gzip or a zip holds.

    Args:
        path: The file; it is not changed.
        name: What people call it.
        wanted: Its format, where a person said it; a workbook is a zip that stays as it is.
        scratch: Where plain files are written.
        budget: What they may have.

    Returns:
        Path → what people call it.

    Raises:
        PermanentError: It is broken, encrypted, empty, or larger than may be.
    """
    with path.open("rb") as file:
        begin = file.read(4)
    kind = next((kind for signature, kind in _SIGNATURES if begin.startswith(signature)), "")
    if not kind or (
        kind == "zip" and "xlsx" in (wanted, format_of(name)) and not name.lower().endswith(".zip")
    ):
        return {path: name}
    try:
        if kind == "gzip":
            with igzip.open(path, "rb") as source:  # type: ignore[no-untyped-call]
                return {_written(source, scratch, name, budget): name}
        return dict(_members(path, name, wanted, scratch, budget))
    except (igzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PermanentError(f"the file {name} is broken: {error}") from None


def without_wildcards(path: Path, name: str, scratch: Path) -> Path:
    """The file under a path that engines take as it stands: of `[1].csv` DuckDB makes `1.csv`."""
    if not re.search(r"[*?\[]", str(path)):
        return path
    link = new_file(scratch, name)
    link.symlink_to(path)
    return link


def _members(
    path: Path, name: str, wanted: FileFormat | None, scratch: Path, budget: Budget
) -> Iterator[tuple[Path, str]]:
    found = False
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS:
                raise PermanentError(
                    f"the file {name} holds {len(members):,} files; at most {_MOST_MEMBERS:,} are read"
                )
            for member in sorted(members, key=lambda one: one.filename):
                inside = PurePosixPath(member.filename)
                hidden = member.is_dir() or inside.name.startswith(".") or "__MACOSX" in inside.parts
                if hidden or (wanted is None and format_of(member.filename) is None):
                    continue
                found = True
                inner = f"{name}/{member.filename}"
                if member.flag_bits & 1:
                    raise PermanentError(f"the file {inner} is encrypted")
                with archive.open(member) as source:
                    yield _written(source, scratch, member.filename, budget), inner
    except (zipfile.BadZipFile, lzma.LZMAError, NotImplementedError) as error:
        raise PermanentError(f"the file {name} is broken: {error}") from None
    if not found:
        raise PermanentError(f"the file {name} holds no {', '.join(FORMATS)}")


def _written(source: IO[bytes], scratch: Path, name: str, budget: Budget) -> Path:
    """Written under a name of ours: what an archive calls a file is no path."""
    target = new_file(scratch, name)
    with target.open("wb") as out:
        while piece := source.read(_PIECE):
            budget.spend(len(piece))
            out.write(piece)
    return target


def new_file(scratch: Path, name: str) -> Path:
    """A path that is free, with the ending of a name."""
    return scratch / f"{sum(1 for _ in scratch.iterdir()):06}.{format_of(name) or 'bin'}"


def as_utf8(path: Path, name: str, encoding: str, scratch: Path) -> Path:
    """A text file in UTF-8.

    Raises:
        PermanentError: It is not in this encoding, or there is none of this name.
    """
    target = new_file(scratch, name)
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            target.open("w", encoding="utf-8", newline="") as out,
        ):
            shutil.copyfileobj(source, out, _PIECE)
    except UnicodeError as error:
        raise PermanentError(f"the file {name} is not in {encoding}: {error}") from None
    except (LookupError, ValueError):
        raise PermanentError(f"{encoding[:40]!r} is no encoding of text, such as latin-1 or cp1252") from None
    return target
