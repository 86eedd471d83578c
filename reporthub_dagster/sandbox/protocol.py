"""What passes between ReportHub and the process that runs a script: the job, and what became of it.

Rows go beside it as Arrow IPC: each input a file, the results one stream after the other in one file. Of what
comes back nothing is trusted: the script may have written it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

PRINTED_BYTES = 64 << 10
OUTCOME_BYTES = 16 << 10
MESSAGE_CHARACTERS = 500
SCRIPT_NAME = "<script>"

Kind = Literal["done", "error", "memory", "output", "refused"]
KINDS: tuple[Kind, ...] = ("done", "error", "memory", "output", "refused")


@dataclass(frozen=True, slots=True)
class Job:
    """A script to run.

    Attributes:
        script: Its text.
        names: Of the inputs, in their order; one without a name is the only one.
        params: What the script sees as `params`.
        seconds: How long it may take.
        memory_bytes: What it may use beyond the interpreter and its libraries, and the size of its result.
        barred: False only in a runner whose container is the wall.
    """

    script: str
    names: tuple[str, ...]
    params: Mapping[str, Any]
    seconds: float
    memory_bytes: int
    barred: bool = True

    def to_bytes(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Job:
        """As it was sent."""
        said = json.loads(text)
        return cls(**{**said, "names": tuple(said["names"])})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a script's process says of its end.

    Attributes:
        kind: `error` is the script's own; `memory` and `output` are limits; `refused`: it was not run.
        message: One line.
        line: Of the script, where there is one.
        results: Names of the results, in the order of their streams.
    """

    kind: Kind
    message: str = ""
    line: int | None = None
    results: tuple[str, ...] = field(default=())

    def to_bytes(self) -> bytes:
        """As it is sent."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Outcome | None:
        """What a process that is not trusted has said; None where it is not an outcome."""
        try:
            said = json.loads(text.rstrip(b"\0"))
            kind, message, line, results = (said[key] for key in ("kind", "message", "line", "results"))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if kind not in KINDS or not isinstance(message, str) or not isinstance(results, list):
            return None
        known_line = line if isinstance(line, int) and 0 < line < 2**31 else None
        return cls(kind, one_line(message), known_line, tuple(str(name) for name in results))


def one_line(text: str) -> str:
    """A message without line breaks or control characters, short enough for people."""
    words = " ".join(text[: 4 * MESSAGE_CHARACTERS].split())
    shown = "".join(character if character.isprintable() else "�" for character in words)
    return shown if len(shown) <= MESSAGE_CHARACTERS else f"{shown[: MESSAGE_CHARACTERS - 1]}…"


def read_all(descriptor: int, most: int) -> bytes:
    """What a file holds from its beginning, `most` bytes of it, wherever others have read or written."""
    found = b""
    while len(found) < most:
        piece = os.pread(descriptor, most - len(found), len(found))
        if not piece:
            break
        found += piece
    return found
