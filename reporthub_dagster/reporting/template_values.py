"""Template values as text, and `{{variables}}` inside values of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from reporthub_dagster.reporting.decimal_text import decimal_text
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import TemplateValue

VARIABLE = re.compile(r"\{\{\s*(?P<name>[^\W\d]\w*)\s*\}\}")
"""`{{name}}`, the one form that SQL and filters know."""
_SCALARS = (str, int, float, Decimal, date, time, UUID, type(None))


def is_scalar(value: object) -> bool:
    """True for what one bind can carry (bool is an int, datetime a date)."""
    return isinstance(value, _SCALARS)


def text_of(value: TemplateValue) -> str:
    """A value as people would type it: `2025-01-31 08:00:00`, `12.50`, `true`, `a, b`; NULL is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text_of(item) for item in value)
    return str(value)


def texts_of(variables: Mapping[str, TemplateValue]) -> dict[str, str]:
    """All variables as text, for mail texts and file names."""
    return {name: text_of(value) for name, value in variables.items()}


def names_in(value: TemplateValue) -> tuple[str, ...]:
    """The variables that a text, or the texts of a list, mention."""
    if isinstance(value, str):
        return tuple(match["name"] for match in VARIABLE.finditer(value))
    if isinstance(value, (list, tuple)):
        return tuple(name for item in value for name in names_in(item))
    return ()


def fill_value(value: TemplateValue, variables: Mapping[str, TemplateValue]) -> TemplateValue:
    """`value` with the variables in its texts put in, once.

    A text that is one variable and nothing else becomes that variable's value, with its type.

    Raises:
        ConfigurationError: A variable has no value.
    """
    if isinstance(value, (list, tuple)):
        return [fill_value(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    for name in names_in(value):
        if name not in variables:
            raise ConfigurationError(
                f"the variable {{{{{name}}}}} has no value",
                value=value,
                valid=f"known are {', '.join(sorted(variables)) or 'none'}",
            )
    whole = VARIABLE.fullmatch(value.strip())
    return variables[whole["name"]] if whole else VARIABLE.sub(lambda m: text_of(variables[m["name"]]), value)
