"""`parameters.format` of a report: one record of rendering options, by the same names for every format."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from reporthub_dagster.renderers.patterns import DatePattern, Pattern, parse_date_pattern, parse_pattern
from reporthub_dagster.reporting.errors import ConfigurationError

PLACE = "parameters.format"

Paper = Literal["A4", "A3", "Letter"]
Orientation = Literal["auto", "portrait", "landscape"]

TEXT_OPTIONS = frozenset(
    {"null", "decimal_separator", "thousands_separator", "date_format", "datetime_format", "column_formats"}
)
"""What a format honours that shows cells as text."""
_YES_OR_NO = "true or false"
_PATTERN = 'an Excel pattern like "#,##0.00", "0.0%" or "dd.mm.yyyy hh:mm" (docs/formats.md)'
_DATE_PATTERN = 'an Excel pattern like "dd.mm.yyyy" or "d mmm yyyy hh:mm" (docs/formats.md)'


def _is_pattern(text: str) -> str:
    parse_pattern(text)
    return text


_PatternText = Annotated[str, AfterValidator(_is_pattern)]


class RenderOptions(BaseModel):
    """How a file looks; without any option it is as its format is commonly read.

    The description of a field says what is valid. A format leaves out what it has no place for: each renderer
    names the options that it honours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    header: bool = Field(True, description=_YES_OR_NO)
    null: str = Field("", max_length=40, pattern=r"^[^\r\n\t\"]*$", description="a short text without quotes")
    decimal_separator: Literal[".", ","] = Field(".", description=". or ,")
    thousands_separator: Literal["", ",", ".", " ", "'", "\u00a0", "\u202f"] = Field(
        "", description="one of , . ' or a space, and not the decimal separator"
    )
    date_format: str = Field("", description=_DATE_PATTERN)
    datetime_format: str = Field("", description=_DATE_PATTERN)
    column_formats: Mapping[str, _PatternText] = Field(
        default_factory=dict, description=f"an object: column to {_PATTERN}"
    )
    delimiter: Literal[",", ";", "\t", "|"] = Field(
        ",", description='one of "," ";" "|" or a tab, which JSON writes "\\t"'
    )
    quoting: Literal["minimal", "text", "all"] = Field("minimal", description="minimal, text or all")
    line_ending: Literal["crlf", "lf"] = Field("crlf", description="crlf or lf")
    bom: bool = Field(False, description=f"{_YES_OR_NO}; true helps old Excel to see UTF-8")
    escape_formulas: bool = Field(True, description=_YES_OR_NO)
    title: bool | None = Field(None, description=_YES_OR_NO)
    window: bool | None = Field(None, description=_YES_OR_NO)
    totals: tuple[str, ...] = Field((), description='a list of columns like ["amount"]')
    sheet_name: str = Field("", max_length=31, description="a text of at most 31 characters")
    paper: Paper = Field("A4", description="A4, A3 or Letter")
    orientation: Orientation = Field("auto", description="auto, portrait or landscape")
    layout: Literal["array", "object"] = Field("array", description="array or object")
    compression: Literal["zstd", "snappy", "gzip", "none"] = Field(
        "zstd", description="zstd, snappy, gzip or none"
    )

    @field_validator("thousands_separator")
    @classmethod
    def _differs_from_the_decimal_separator(cls, value: str, others: ValidationInfo) -> str:
        if value and value == others.data.get("decimal_separator"):
            raise ValueError(value)
        return value

    @field_validator("date_format", "datetime_format")
    @classmethod
    def _is_a_date_pattern(cls, value: str) -> str:
        if value:
            parse_date_pattern(value)
        return value

    def date_pattern(self, *, with_time: bool) -> DatePattern | None:
        """The pattern of all dates, or of all timestamps."""
        text = self.datetime_format if with_time else self.date_format
        return parse_date_pattern(text) if text else None

    def column_patterns(self) -> dict[str, Pattern]:
        """The patterns of single columns."""
        return {name: parse_pattern(text) for name, text in self.column_formats.items()}

    def columns(self) -> dict[str, set[str]]:
        """The columns that options name, by option."""
        return {"totals": set(self.totals), "column_formats": set(self.column_formats)}


def read_options(given: Mapping[str, Any]) -> RenderOptions:
    """`parameters.format`, checked; an option that is null is not given.

    Raises:
        ConfigurationError: An option is unknown or not valid; names `parameters.format.<option>`.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        # Nothing to check: what checks options takes 27 ms to build, which most reports never need.
        return RenderOptions.model_construct()
    try:
        return RenderOptions.model_validate(given)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    known = RenderOptions.model_fields.get(name)
    raise ConfigurationError(
        f"there is no rendering option of this name{_meant(name)}"
        if known is None
        else "the option is not valid",
        table="report_configs",
        column=PLACE + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]),
        value=first["input"],
        valid=f"valid: {', '.join(RenderOptions.model_fields) if known is None else known.description}",
    )


def _meant(name: str) -> str:
    """The option that somebody may have meant."""
    names = tuple(RenderOptions.model_fields)
    near = get_close_matches(name, names, n=1) or [one for one in names if name and name in one]
    return f": did you mean {near[0]}?" if near else ""
