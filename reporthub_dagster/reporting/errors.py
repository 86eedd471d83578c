"""The errors of ReportHub, named by what the caller should do about them.

    ReportHubError
    ├── ConfigurationError   a person must change a row or a setting; says which, and what would be valid
    │   └── MissingRowError  there is no row of this id
    ├── TransientError       the same request may work later
    │   └── UnreachableError the server is away or silent: for now nobody need try it
    └── PermanentError       the same request will fail again

Messages are one line and safe to show: whoever raises them has taken secrets out (see `redaction`).
Driver exceptions are translated in one place per kind and never escape a connector, renderer or destination.
"""

from __future__ import annotations

import re
from typing import Self

LONGEST_MESSAGE = 2000
"""Characters; of a longer message the middle is left out, since its end says what to do."""


class ReportHubError(Exception):
    """Base of every error that ReportHub raises on purpose.

    Args:
        message: What happened; it becomes one line of bounded length.
    """

    def __init__(self, message: str = "") -> None:
        line = " ".join(message.splitlines())
        half = LONGEST_MESSAGE // 2
        super().__init__(line if len(line) <= LONGEST_MESSAGE else f"{line[:half]} … {line[-half:]}")


class ConfigurationError(ReportHubError):
    """A row or a setting that a person must change before the work can be done.

    Args:
        problem: What is wrong, in one clause, without the value.
        table: Shared table of the row, e.g. `report_configs`; None until the caller that knows it adds it.
        row: Primary key of the row.
        column: Column of the row, or the setting's name when there is no table.
        value: The offending value; left out where it may be a secret.
        valid: What would be valid, or what to do.
    """

    def __init__(
        self,
        problem: str,
        *,
        table: str | None = None,
        row: int | str | None = None,
        column: str | None = None,
        value: object = None,
        valid: str | None = None,
    ) -> None:
        self.problem = problem
        self.table = table
        self.row = row
        self.column = column
        self.value = value
        self.valid = valid
        super().__init__(self._message())

    def located(
        self, *, table: str | None = None, row: int | str | None = None, column: str | None = None
    ) -> Self:
        """The same error with what was not yet known about its place filled in."""
        return type(self)(
            self.problem,
            table=self.table or table,
            row=self.row if self.row is not None else row,
            column=self.column or column,
            value=self.value,
            valid=self.valid,
        )

    def _message(self) -> str:
        place = " ".join(str(part) for part in (self.table, self.row) if part is not None)
        if self.column:
            place = f"{place}, column {self.column}" if place else self.column
        text = f"{place}: {self.problem}" if place else self.problem
        if self.value is not None:
            text += f" (value {_shortened(self.value)})"
        return f"{text}; {self.valid}" if self.valid else text


class MissingRowError(ConfigurationError):
    """There is no row of this id: whoever names it may say where."""


class TransientError(ReportHubError):
    """The attempt failed for a reason that may pass: try again.

    Args:
        message: What happened.
        retry_after: Seconds that the other side asked to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableError(TransientError):
    """The server could not be reached, or did not answer in time: whoever else tries it now waits as long."""


class PermanentError(ReportHubError):
    """The attempt failed and would fail again in the same way: do not retry."""


def plain_fault(words: str) -> str:
    """What pydantic says of a value, for people who write JSON."""
    return re.sub(
        r"a valid dictionary( or instance of \w+)?", "an object", words.removeprefix("Value error, ")
    )


def _shortened(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
