"""Exact numbers as text."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

MOST_ZEROS: Final = 200_000
"""PostgreSQL, which goes furthest, has 131,072 digits before the point and 16,383 after it."""


def decimal_text(number: Decimal) -> str:
    """All digits without an exponent; with one where ten characters would become a gigabyte of zeros."""
    if number.is_finite() and abs(number.adjusted()) <= MOST_ZEROS:
        return format(number, "f")
    return str(number)
