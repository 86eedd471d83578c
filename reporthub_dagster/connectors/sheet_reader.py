"""Reads a sheet of a workbook in a process of its own, which has a limit on memory.

What a workbook takes does not follow from its size: a kilobyte that names the cells A1 and XFD1048576 takes
hundreds of gigabytes, and the library that reads it ends its process when there are none. Run as a program:
path, sheet, bytes. It writes pickles: `("rows", [...])` again and again and `("end", None)`, or one that says
what is wrong.
"""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_CELLS_AT_ONCE = 20_000
_ROW_CHARACTERS = 16_000_000
_ENVIRONMENT = {"PATH": "/nonexistent", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


class SheetError(Exception):
    """There is nothing to read.

    Attributes:
        sheets: The workbook's sheets, where only the name is wrong.
    """

    def __init__(self, problem: str, sheets: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.sheets = sheets


def rows_of(path: Path, sheet: str, *, memory_bytes: int, seconds: float) -> Iterator[list[Any]]:
    """The rows of a sheet.

    Args:
        path: The workbook.
        sheet: The sheet's name; empty for the first.
        memory_bytes: What reading it may take.
        seconds: How long it may take.

    Raises:
        SheetError: It cannot be read.
        TimeoutError: The time is over.
    """
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-m", __name__, str(path.absolute()), sheet, str(memory_bytes)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()
    try:
        yield from _told(process.stdout)
    except (EOFError, pickle.UnpicklingError):
        problem = SheetError(f"it takes more than {memory_bytes >> 20:,} MiB of memory")
        raise TimeoutError if late.is_set() else problem from None
    finally:
        clock.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


def _told(source: IO[bytes]) -> Iterator[list[Any]]:
    while True:
        kind, content = pickle.load(source)  # noqa: S301 - by our own program, which holds plain values
        if kind == "rows":
            yield from content
        elif kind == "sheets":
            raise SheetError("the workbook has no such sheet", tuple(content))
        elif kind == "broken":
            raise SheetError(content)
        else:
            return


def _read(path: str, sheet: str) -> Iterator[tuple[str, Any]]:
    from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415 - after the limit

    try:
        workbook = CalamineWorkbook.from_path(path)
        names = workbook.sheet_names
        if sheet and sheet not in names:
            yield "sheets", names
            return
        rows: list[list[Any]] = []
        held = 0
        for row in workbook.get_sheet_by_name(sheet or names[0]).iter_rows():
            if sum(len(cell) for cell in row if isinstance(cell, str)) > _ROW_CHARACTERS:
                yield "broken", f"a row has more than {_ROW_CHARACTERS:,} characters"
                return
            rows.append(row)
            held += len(row) + sum(len(cell) for cell in row if isinstance(cell, str)) // 100
            if held > _CELLS_AT_ONCE:
                yield "rows", rows
                rows, held = [], 0
        yield "rows", rows
        yield "end", None
    except (CalamineError, OSError) as error:
        yield "broken", str(error)


def main() -> None:
    """Read what the arguments name."""
    path, sheet, memory_bytes = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for who asked; who then ends this
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    for told in _read(path, sheet):
        pickle.dump(told, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
