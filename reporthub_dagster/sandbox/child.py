"""One script in a process of its own: reads its rows, runs it behind the bars, writes its result.

Everything here happens after the fork, and all but the first lines after the bars are on.
"""

from __future__ import annotations

import datetime as dt
import decimal
import errno
import io
import math
import mmap
import os
import re
import statistics
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Never

import numpy as np
import pandas as pd
import pyarrow as pa

from reporthub_dagster.sandbox import bars
from reporthub_dagster.sandbox.frames import ResultError, frame_of, table_of
from reporthub_dagster.sandbox.protocol import (
    PRINTED_BYTES,
    SCRIPT_NAME,
    Job,
    Outcome,
    one_line,
    read_all,
)

_BATCH_ROWS = 65_536
_CUT = b"\n[cut: a script's prints are kept up to 64 KiB]\n"


@dataclass(frozen=True, slots=True)
class Files:
    """The open files of a job, by their descriptors.

    Attributes:
        job: What to run.
        outcome: Gets the `Outcome`.
        printed: Gets what is printed; the kernel keeps it from growing.
        result: Gets the results.
        inputs: Rows.
    """

    job: int
    outcome: int
    printed: int
    result: int
    inputs: tuple[int, ...]


class _Printed(io.TextIOBase):
    """What the script prints, as far as there is room."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._left = PRINTED_BYTES - len(_CUT)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            room = text[: self._left].encode(errors="replace")[: self._left]
            self._left -= len(room)
            os.write(self._descriptor, room if self._left else room + _CUT)
        return len(text)


def run(files: Files, parent: int) -> Never:
    """Run the job of this process and end the process."""
    job = Job.from_bytes(read_all(files.job, os.fstat(files.job).st_size))
    outcome = _refused(job, parent) or _run(job, files)
    os.pwrite(files.outcome, outcome.to_bytes(), 0)
    os._exit(0)


def _refused(job: Job, parent: int) -> Outcome | None:
    try:
        bars.put_on(bars.Limits(job.seconds, job.memory_bytes), parent=parent, barred=job.barred)
    except bars.NoBarsError as missing:
        return Outcome("refused", str(missing))
    return None


def _run(job: Job, files: Files) -> Outcome:
    """The script from its rows to its result; whatever it raises is an outcome."""
    sys.stdout = sys.stderr = _Printed(files.printed)
    try:
        tables = {name: _read(source) for name, source in zip(job.names, files.inputs, strict=True)}
        schemas = {name: table.schema for name, table in tables.items()}
        frames = {name: frame_of(tables.pop(name)) for name in job.names}
        result = _result_of(job, frames)
        written = {name: table_of(one, schemas[name]) for name, one in _results(job, result).items()}
        _write(files.result, written.values())
        return Outcome("done", results=tuple(written))
    except MemoryError as error:
        return Outcome("memory", line=_line(error))
    except ResultError as error:
        return Outcome("error", str(error))
    except OSError as error:
        return Outcome("output" if error.errno == errno.EFBIG else "error", _words(error), _line(error))
    except BaseException as error:  # noqa: BLE001 - whatever a script raises is what it says
        return Outcome("error", _words(error), _line(error))


def _read(descriptor: int) -> pa.Table:
    """All rows of a spool; from memory, since Arrow reads files in a thread, and none can be made here."""
    with os.fdopen(descriptor, "rb") as file:
        source = pa.BufferReader(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False)).read_all()


def _result_of(job: Job, frames: Mapping[str, pd.DataFrame]) -> object:
    """What the script calls `result`.

    Raises:
        ResultError: Nothing.
    """
    names: dict[str, Any] = {
        "__name__": "script",
        "data": frames[job.names[0]] if len(job.names) == 1 else dict(frames),
        "params": MappingProxyType(dict(job.params)),
        "pd": pd,
        "pandas": pd,
        "np": np,
        "numpy": np,
        "datetime": dt,
        "math": math,
        "re": re,
        "decimal": decimal,
        "statistics": statistics,
    }
    exec(compile(job.script, SCRIPT_NAME, "exec", dont_inherit=True), names)  # noqa: S102 - what this process is for
    if "result" not in names:
        raise ResultError("the script sets no `result`: end it with `result = data`, or what shall be shown")
    return names["result"]


def _results(job: Job, result: object) -> dict[str, object]:
    """Results by the name of their query.

    Raises:
        ResultError: There are several queries, and it does not say what is whose.
    """
    if len(job.names) == 1:
        return {job.names[0]: result}
    valid = f"the report has several queries; give a dict of frames by name: {', '.join(job.names)}"
    if not isinstance(result, Mapping):
        raise ResultError(f"`result` is a {type(result).__name__}: {valid}")
    unknown = [str(name) for name in result if name not in job.names]
    if unknown or not result:
        raise ResultError(f"`result` {f'names {unknown[0]!r}' if unknown else 'is empty'}: {valid}")
    return {name: result[name] for name in job.names if name in result}


def _write(descriptor: int, tables: Iterable[pa.Table]) -> None:
    with os.fdopen(descriptor, "wb") as file:
        for table in tables:
            with pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=_BATCH_ROWS)


def _words(error: BaseException) -> str:
    """What a script's exception says, whatever it makes of being asked."""
    try:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:  # noqa: BLE001 - its text is the script's own code
        said = ""
    return one_line(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _line(error: BaseException) -> int | None:
    """The script's line, the innermost where it calls itself."""
    if isinstance(error, SyntaxError) and error.filename == SCRIPT_NAME:
        return error.lineno
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == SCRIPT_NAME
    ]
    return lines[-1] if lines else None
