"""Mails that are too large: the files as one zip, then a link to them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import file_digest
from pathlib import Path, PurePath
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from reporthub_dagster.destinations.addresses import Address
from reporthub_dagster.destinations.email_message import Letter, Message, TooLargeError
from reporthub_dagster.destinations.mail_link import FileLink, MakeLinks
from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.reporting.records import RenderedFile

_WITH_LINKS = 2


class Letters:
    """One letter in the forms that it may take, the largest first; each is made when it is needed.

    Args:
        letter: With the files as they are.
        folder: Where a zip may be written.
        links: Makes the links to the files; None where nobody can fetch them.
    """

    def __init__(self, letter: Letter, folder: Path, links: MakeLinks | None) -> None:
        self._made = [letter]
        self._links = links
        self._folder = folder

    def addressed(
        self,
        to: Address,
        *,
        now: datetime,
        size_limit: int,
        utf8: bool,
        instead: Address | None,
    ) -> Message:
        """The mail for one recipient, as `Letter.addressed`, in the first form that is small enough.

        Raises:
            TooLargeError: None is.
        """
        position, failure = 0, None
        while (letter := self._form(position)) is not None:
            try:
                return letter.addressed(to, now=now, size_limit=size_limit, utf8=utf8, instead=instead)
            except TooLargeError as error:
                failure, position = failure or error, position + 1
        assert failure is not None  # noqa: S101 - for mypy: the first form exists, and it was too large
        raise failure

    def _form(self, position: int) -> Letter | None:
        if position == len(self._made):
            smaller = self._smaller(position)
            if smaller is None:
                return None
            self._made.append(smaller)
        return self._made[position]

    def _smaller(self, position: int) -> Letter | None:
        """The next form; what fails on the way may be tried again for the next recipient."""
        letter = self._made[0]
        if not letter.files:
            return None
        if position == 1:
            return replace(letter, files=(zipped(letter.files, self._folder),))
        return _linked(letter, self._links()) if position == _WITH_LINKS and self._links else None


def zipped(files: Sequence[RenderedFile], folder: Path) -> RenderedFile:
    """All files in one zip, whose bytes are the same every time.

    Raises:
        PermanentError: A file is gone or is not what was rendered.
        TransientError: A file cannot be read.
    """
    name = f"{PurePath(files[0].name).stem}.zip"
    path = folder / "attachment.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for file in files:
            entry = ZipInfo(file.name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as out:
                for chunk in chunks_of(file):
                    out.write(chunk)
    with path.open("rb") as whole:
        digest = file_digest(whole, "sha256").hexdigest()
    rows = max(file.row_count for file in files)
    return RenderedFile(path, name, "zip", "application/zip", path.stat().st_size, digest, rows)


def _linked(letter: Letter, links: Sequence[FileLink]) -> Letter:
    """Without files; both texts say where they are."""
    text, page, added = letter.text, letter.html, ""
    for link in links:
        until = f" until {link.until:%Y-%m-%d %H:%M} UTC" if link.until else ""
        text += f"\n\n{link.names}: too large for a mail, to be found{until} at\n{link.url}\n"
        anchor = f'<a href="{html.escape(link.url)}">{html.escape(link.names)}</a>'
        added += f"\n<p>{anchor} (too large for a mail, to be found there{until})</p>"
    if page is not None:
        before, end, after = page.rpartition("</body>") if "</body>" in page else (page, "", "")
        page = f"{before}{added}{end}{after}"
    return replace(letter, text=text, html=page, files=())
