"""Templates of mail texts and file names: `{{x}}` and `{x}`; what is unknown stays as written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"\{\{\s*(?P<double>[A-Za-z_]\w*)\s*\}\}|\{(?P<single>[A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class FilledText:
    """A template with its values in place, and the names it used that have none."""

    text: str
    unknown: tuple[str, ...]


def fill(template: str, variables: Mapping[str, str]) -> FilledText:
    """Put values in place, once: a value that looks like a placeholder stays a value."""
    unknown: dict[str, None] = {}

    def value_of(match: re.Match[str]) -> str:
        name = match["double"] or match["single"]
        if name not in variables:
            unknown[name] = None
            return match[0]
        return variables[name]

    return FilledText(_PLACEHOLDER.sub(value_of, template), tuple(unknown))
