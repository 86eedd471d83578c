"""Documents on disk, as rows of a spool: JSON in any arrangement, and the sheets of workbooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.connectors.json_rows import kind_of, rows_in
from reporthub_dagster.connectors.nested import Document, NestedColumns
from reporthub_dagster.connectors.sheet_reader import SheetError, rows_of
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.storage.spool import distinct_names, new_spool

_SAMPLE_ROWS = 2_000
_BATCH_ROWS = 500
_LARGEST_EXACT = 2**53
Documents = Callable[[], Iterable[Document]]


@dataclass(frozen=True, slots=True)
class SheetLimits:
    """What reading a workbook may take.

    Attributes:
        seconds: What is left of the time, when it is asked.
    """

    memory_bytes: int
    seconds: Callable[[], float]


def write_documents(target: Path, documents: Documents, declared: Sequence[pa.Field] = ()) -> None:
    """Write documents as a spool, in bounded memory.

    Args:
        target: The spool.
        documents: Gives them from the start; once more where later ones need wider types.
        declared: The columns, if a person has said them.

    Raises:
        ConfigurationError: A value is not of its declared type; or there is neither a row nor a declaration.
    """
    try:
        _write(target, iter(documents()), declared, {})
    except TypeMisfit as misfit:
        _write(target, iter(documents()), declared, misfit.wider)


def json_documents(path: Path, name: str, rows: str = "") -> Iterator[Document]:
    """The objects of a file: an array of them, one after the other, or a list inside a document.

    Args:
        path: The file, UTF-8.
        name: What people call it.
        rows: Where in the document the list is, `data.items`; empty for the file itself.

    Raises:
        PermanentError: The file is not JSON, or holds something else than objects.
    """
    try:
        for number, document in enumerate(rows_in(path, rows), start=1):
            if not isinstance(document, Mapping):
                raise PermanentError(f"the file {name}: row {number} is no object but {kind_of(document)}")
            yield document
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"the file {name} is not JSON: {error}") from None


def sheet_documents(path: Path, name: str, sheet: str, limits: SheetLimits) -> Iterator[Document]:
    """The rows of a sheet under the names in its first row.

    Args:
        path: The workbook.
        name: What people call it.
        sheet: The sheet's name; empty for the first.
        limits: What reading it may take.

    Raises:
        ConfigurationError: There is no such sheet.
        PermanentError: The file is no workbook, or takes too much.
        TimeoutError: The time is over.
    """
    if find_spec("python_calamine") is None:
        raise ConfigurationError(
            f"the workbook {name} needs the package 'python_calamine'",
            table="report_datasources",
            column="connection_url",
            valid="install it with: pip install 'reporthub-dagster[files]'",
        )
    try:
        rows = rows_of(path, sheet, memory_bytes=limits.memory_bytes, seconds=limits.seconds())
        names = ["" if cell is None else str(cell).strip() for cell in map(_cell, next(rows, []))]
        header = distinct_names(names)
        for row in rows:
            cells = [_cell(cell) for cell in row]
            if any(cell is not None for cell in cells):
                yield dict(zip(header, cells, strict=False))
    except SheetError as error:
        if error.sheets:
            raise ConfigurationError(
                f"the workbook {name} has no such sheet",
                table="report_datasources",
                column="connection_config.sheet",
                value=sheet,
                valid=f"it has {', '.join(error.sheets)}",
            ) from None
        raise PermanentError(f"the file {name} is no workbook that can be read: {error}") from None


def _write(
    target: Path, documents: Iterator[Document], declared: Sequence[pa.Field], wider: Mapping[int, pa.Field]
) -> None:
    sample = list(islice(documents, _SAMPLE_ROWS))
    columns = NestedColumns(sample, declared, wider)
    if not columns.schema.names:
        raise ConfigurationError(
            "there are no rows, and without one nobody can know the columns",
            table="report_datasources",
            column="connection_config.columns",
            valid='declare them, {"id": "integer", "city": "text"}',
        )
    with new_spool(target, columns.schema) as spool:
        batch = sample
        while batch:
            try:
                rows = columns.batch(batch)
            except TypeMisfit as misfit:
                raise columns.widened(misfit, _batches(batch, documents)) from None
            spool.write(rows)
            batch = list(islice(documents, _BATCH_ROWS))


def _batches(batch: list[Document], documents: Iterator[Document]) -> Iterator[list[Document]]:
    """A batch and those that come after it."""
    while batch:
        yield batch
        batch = list(islice(documents, _BATCH_ROWS))


def _cell(value: Any) -> Any:
    """A cell: workbooks know one kind of number, and an empty text where there is nothing."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return int(value)
    return None if value == "" else value
