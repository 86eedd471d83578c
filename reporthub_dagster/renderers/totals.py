"""Sums of columns: whole numbers and decimals exact, floats as floats; what is not finite is left out."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation, localcontext

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks
from reporthub_dagster.renderers.cells import float_text, is_numeric
from reporthub_dagster.reporting.decimal_text import decimal_text
from reporthub_dagster.storage.spool import text_kind

LABEL = "Total"
_NOT_SUMMED = "is no number and has no total"
_DIGITS = 10_000
_ARROW_DIGITS = 76


class Totals:
    """Adds up columns as their rows go by, and counts these; columns without numbers get a remark."""

    def __init__(self, fields: list[pa.Field], wanted: Iterable[str], remarks: Remarks) -> None:
        self.rows = 0
        self._fields = fields
        self._decimals: dict[int, Decimal] = {}
        self._floats: dict[int, float] = {}
        names = set(wanted)
        for position, field in enumerate(fields):
            if field.name not in names:
                continue
            if not is_numeric(field) or pt.is_duration(field.type):
                remarks.say(field.name, _NOT_SUMMED)
            elif pt.is_floating(field.type):
                self._floats[position] = 0.0
            else:
                self._decimals[position] = Decimal(0)

    def __bool__(self) -> bool:
        return bool(self._decimals or self._floats)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch of the section's columns."""
        self.rows += batch.num_rows
        with localcontext(prec=_DIGITS):
            for position in self._decimals:
                self._decimals[position] += _decimal_sum(batch.column(position), self._fields[position])
        for position in self._floats:
            values = batch.column(position).cast(pa.float64())
            self._floats[position] += pc.sum(values.filter(pc.is_finite(values)), min_count=0).as_py()

    def texts(self) -> dict[int, str]:
        """The sums so far, by position of their columns, as `cell_texts` writes numbers."""
        sums = {position: decimal_text(value) for position, value in self._decimals.items()}
        return sums | {position: float_text(value) for position, value in self._floats.items()}


def _decimal_sum(array: pa.Array, field: pa.Field) -> Decimal:
    if text_kind(field) == "decimal":
        return sum((_finite(text) for text in array.to_pylist()), Decimal(0))
    scale = array.type.scale if pt.is_decimal(array.type) else 0
    if pt.is_decimal256(array.type) and array.type.precision + len(str(len(array))) > _ARROW_DIGITS:
        # Arrow's sum would go round at its end, without a word.
        return sum(array.drop_null().to_pylist(), Decimal(0).scaleb(-scale))
    wide = array.cast(pa.decimal256(_ARROW_DIGITS, max(scale, 0)))
    return pc.sum(wide, min_count=0).as_py() or Decimal(0).scaleb(-scale)


def _finite(text: str | None) -> Decimal:
    try:
        number = Decimal(text or 0)
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)
