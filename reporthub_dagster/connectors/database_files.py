"""Databases that are files of this machine: only those below the folders that an operator has named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class NotReadableError(Exception):
    """A file that a row may not name; `valid` says what would help."""

    def __init__(self, problem: str, valid: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.valid = valid


def database_file(name: str, roots: Sequence[Path], product: str) -> Path:
    """The real path of a database, wherever links lead.

    Args:
        name: As the row has it.
        roots: What may be read. ReportHub's own databases are files, too.
        product: For messages.

    Raises:
        NotReadableError: It lies elsewhere, or is not there.
    """
    scheme = product.lower()
    valid = f"give the path of an existing file, {scheme}:////absolute/path or {scheme}:///relative/path"
    if name in ("", ":memory:") or "\0" in name:
        raise NotReadableError(f"there is no {product} file {name!r}", valid)
    path = Path(name).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in roots):
        named = f"they are {', '.join(map(str, roots))}" if roots else "there are none"
        raise NotReadableError(
            f"{name!r} is in none of the folders that may be read",
            f"an operator names them in REPORTHUB_FILE_ROOTS; {named}",
        )
    if not path.is_file():
        raise NotReadableError(f"there is no {product} file {name!r}", valid)
    return path
