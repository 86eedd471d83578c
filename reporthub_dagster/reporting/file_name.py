"""The name of a report's file: from its template, and safe wherever the file may go."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from reporthub_dagster.reporting.text_template import fill

MAX_BYTES = 200
"""Of UTF-8, with the extension: file systems end at 255, and temporary names add to it."""

_FALLBACK = "report"
_SEPARATORS = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*", re.IGNORECASE)
"""Names of devices on Windows, whatever follows their first dot."""
_JOINERS = ("\u200c", "\u200d")
"""Invisible but part of words (Persian) and of emoji; all other format characters are taken out."""


@dataclass(frozen=True, slots=True)
class FileName:
    """A file's name with its extension, and what was tolerated, one sentence each."""

    name: str
    warnings: tuple[str, ...] = ()


def safe_file_name(
    template: str | None,
    *,
    extension: str,
    report_name: str,
    execution_id: str,
    variables: Mapping[str, str],
    moment: datetime,
    part: str = "",
    taken: Collection[str] = (),
) -> FileName:
    """Make the name of one file of an execution.

    Args:
        template: With `{{x}}` and `{x}`, with or without the extension; without one, or when it is blank, the
            name is `<report_name>_<YYYYMMDD_HHMMSS>`.
        extension: What the name must end in, e.g. `csv`.
        report_name: As people wrote it.
        execution_id: Value of `{execution_id}`.
        variables: The time variables and all others, as text. What this module defines itself wins: `date` is
            `20250131`, `time` is `080000`, `datetime` is `20250131_080000`.
        moment: What the report speaks for, in its own zone.
        part: What part of the report it is, added to the name; empty for the whole.
        taken: Names that the execution already has; a number is added to differ from them in more than case.

    Returns:
        A name of at most 200 bytes without separators, control characters, device names, or dots and spaces
        at its ends. An unknown placeholder stays as written, with a warning.
    """
    extension = extension.lstrip(".")
    stamps = moment_variables(moment)
    text = f"{report_name.strip() or _FALLBACK}_{stamps['datetime']}"
    warnings: tuple[str, ...] = ()
    if template and template.strip():
        own = {
            "report_name": report_name,
            **stamps,
            "execution_id": execution_id,
            "ext": extension,
        }
        filled = fill(template.strip(), {**variables, **own})
        text = filled.text
        warnings = tuple(f"the file name keeps {{{name}}}: no such variable" for name in filled.unknown)
    stem = _safe_stem(text.strip(), extension) or _safe_stem(report_name, extension) or _FALLBACK
    if part:
        ending = f"_{_safe_stem(part, '') or 'part'}"
        stem = _cut(stem, MAX_BYTES - len(f"{ending}_999.{extension}".encode())) + ending
    return FileName(_free(stem, extension, {_key(name) for name in taken}), warnings)


def moment_variables(moment: datetime) -> dict[str, str]:
    """`date` 20250131, `time` 080000 and `datetime` 20250131_080000, of file names and mail texts."""
    return {
        "date": f"{moment:%Y%m%d}",
        "time": f"{moment:%H%M%S}",
        "datetime": f"{moment:%Y%m%d_%H%M%S}",
    }


def _safe_stem(text: str, extension: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = "".join(_safe(character) for character in _SEPARATORS.sub("_", text))
    if extension and text.lower().endswith(f".{extension.lower()}"):
        text = text[: -len(extension) - 1]
    text = text.strip(". ")
    return f"_{text}" if _RESERVED.fullmatch(text.partition(".")[0]) else text


def _safe(character: str) -> str:
    category = unicodedata.category(character)
    if category.startswith("Z"):
        return " "
    return "_" if category.startswith("C") and character not in _JOINERS else character


def _free(stem: str, extension: str, taken: Collection[str]) -> str:
    for number in count(1):
        ending = f".{extension}" if number == 1 else f"_{number}.{extension}"
        name = _cut(stem, MAX_BYTES - len(ending.encode())) + ending
        if _key(name) not in taken:
            break
    return name


def _cut(text: str, size: int) -> str:
    """The longest beginning of at most `size` bytes that ends in no half character, dot or space."""
    return text.encode()[:size].decode(errors="ignore").rstrip(". ")


def _key(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
