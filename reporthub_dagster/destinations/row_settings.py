"""`delivery_config` as a checked model: what people and old front ends write there is read leniently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationError,
    model_validator,
)

from reporthub_dagster.reporting.errors import ConfigurationError, plain_fault

Secret = Annotated[SecretStr, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
"""A password; one that JSON holds as a number is text all the same."""


class RowSettings(BaseModel):
    """Base of the settings models of destinations: null and empty text count as not given."""

    model_config = ConfigDict(
        extra="allow", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {str(key): value for key, value in given.items() if value not in (None, "", [], {})}

    @classmethod
    def of_row(cls, options: Mapping[str, Any], row: int) -> Self:
        """Read a row's settings.

        Raises:
            ConfigurationError: A value is of the wrong kind; names the setting, never shows the value.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            setting = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"the setting is not usable: {plain_fault(first['msg'])}",
                table="report_deliveries",
                row=row,
                column=f"delivery_config.{setting}" if setting else "delivery_config",
            ) from None

    @classmethod
    def known(cls) -> frozenset[str]:
        """Every key that is understood, other spellings included."""
        names: set[str] = set()
        for name, field in cls.model_fields.items():
            names.add(name)
            if isinstance(field.validation_alias, AliasChoices):
                names.update(str(choice) for choice in field.validation_alias.choices)
        return frozenset(names)

    def unknown(self) -> tuple[str, ...]:
        """Keys of the row that mean nothing here."""
        return tuple(key for key in self.model_extra or {} if key not in self.known())
