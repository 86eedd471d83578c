"""`parameters.send_if`: when a report is worth sending."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reporthub_dagster.reporting.errors import ConfigurationError, plain_fault

Word = Literal["always", "not_empty", "changed"]
_WORDS: tuple[Word, ...] = ("always", "not_empty", "changed")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}
_VALID = (
    'valid: "always", "not_empty", "changed", {"column": "amount", "op": ">", "value": 100, "rows": "any"}, '
    '{"sql": "SELECT …"}'
)


class Threshold(BaseModel):
    """A value in one column, of any row or of all.

    Attributes:
        rows: A result without rows satisfies neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    column: str = Field(min_length=1)
    op: Literal[">", ">=", "<", "<=", "=", "!="]
    value: int | float | str | bool
    rows: Literal["any", "all"] = "any"

    def holds(self, found: Any) -> bool:
        """Whether a value of the column is as wanted; NULL and NaN never are."""
        if found is None:
            return False
        left, right = _comparable(found, self.value)
        if isinstance(left, Decimal) and left.is_nan():
            return False
        return _OPERATORS[self.op](left, right)

    def __str__(self) -> str:
        return f"{self.column} {self.op} {self.value} in {self.rows} row{'s' if self.rows == 'all' else ''}"


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A query whose first value says whether to send."""

    sql: str


SendCondition = Word | Threshold | SqlCondition


def parse_send_if(config_id: int, parameters: Mapping[str, Any]) -> SendCondition:
    """What a report says.

    Raises:
        ConfigurationError: It is none of the forms; names the row.
    """
    said = parameters.get("send_if")
    if said is None:
        return "always"
    for word in _WORDS:
        if said == word:
            return word
    if isinstance(said, Mapping):
        inner = said.get("threshold", said)
        sql = said.get("sql")
        if set(said) == {"sql"} and isinstance(sql, str) and sql.strip():
            return SqlCondition(sql)
        try:
            return Threshold.model_validate(inner)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(["send_if", *(str(part) for part in first["loc"] if isinstance(part, str))])
            raise _wrong(config_id, place, f"not usable: {plain_fault(first['msg'])}", None) from None
    raise _wrong(config_id, "send_if", "not a condition", said)


def _comparable(found: Any, wanted: Any) -> tuple[Any, Any]:
    """Numbers as numbers, also where the column holds them as text; everything else as text."""
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        try:
            return Decimal(str(found)), Decimal(str(wanted))
        except InvalidOperation:
            return str(found), str(wanted)
    if isinstance(wanted, bool):
        return bool(found), wanted
    if isinstance(found, datetime):
        return found.isoformat(sep=" "), wanted
    return (found.isoformat() if isinstance(found, date) else str(found)), wanted


def _wrong(config_id: int, column: str, problem: str, value: object) -> ConfigurationError:
    return ConfigurationError(
        problem,
        table="report_configs",
        row=config_id,
        column=f"parameters.{column}",
        value=value,
        valid=_VALID,
    )
