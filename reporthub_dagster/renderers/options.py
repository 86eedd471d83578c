"""Reads `parameters.format` of a report: a small pydantic model per renderer, errors that name the option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from reporthub_dagster.reporting.errors import ConfigurationError

PLACE = "parameters.format"


class Options(BaseModel):
    """Base of every renderer's options: a field is an option, its description says what is valid."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T", bound=Options)


def read_options(model: type[T], given: Mapping[str, Any], *, renderer: str) -> T:
    """The options of one renderer.

    Raises:
        ConfigurationError: An option is unknown or not valid; names `parameters.format.<option>`.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    known = model.model_fields.get(name)
    if known is None:
        problem = f"{renderer} has no option of this name"
        valid = f"valid: {', '.join(model.model_fields)}" if model.model_fields else "it has no options"
    else:
        problem = f"the option is not valid for {renderer}"
        valid = f"valid: {known.description}"
    raise ConfigurationError(
        problem, table="report_configs", column=f"{PLACE}.{name}", value=given[name], valid=valid
    )
