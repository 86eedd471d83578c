"""JSON templates: a value that is put in can never end the string it stands in, or add a member."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from reporthub_dagster.reporting.text_template import fill

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS = frozenset({"true", "false", "null"})
_LONGEST_NUMBER = 15
"""Digits that every reader of JSON keeps."""


def template_text(template: Any) -> str:
    """A template as text: rows hold it as text of JSON, or as JSON itself."""
    return template if isinstance(template, str) else json.dumps(template, ensure_ascii=False)


def fill_json(template: str, values: Mapping[str, str]) -> str:
    """The JSON document with these values; a name that has none stays as written.

    Inside a string a value is escaped; on its own it is a number, true, false, null, or a string.

    Raises:
        ValueError: It is not JSON, with or without values.
    """
    inside = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    alone = {name: _scalar(value) for name, value in values.items()}
    pieces, end = [], 0
    for string in _STRING.finditer(template):
        pieces.append(fill(template[end : string.start()], alone).text)
        pieces.append(fill(string[0], inside).text)
        end = string.end()
    pieces.append(fill(template[end:], alone).text)
    document = "".join(pieces)
    json.loads(document, parse_constant=_refuse)
    return document


def _scalar(value: str) -> str:
    number = _NUMBER.fullmatch(value) and len(value) <= _LONGEST_NUMBER
    return value if number or value in _WORDS else json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> Callable[[], None]:
    raise ValueError(f"{constant} is not JSON")
