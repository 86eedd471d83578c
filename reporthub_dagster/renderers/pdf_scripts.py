"""Scripts that run from right to left: letters in the form that their places ask for, lines as they are seen.

What does both is loaded when such text appears: https://www.unicode.org/reports/tr9/.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_JOINING = re.compile("[\u0600-\u08ff]")


def shaped(text: str) -> str:
    """Arabic letters as the presentation forms that stand at their places in a word; other text as it is."""
    found: str = _reshaper().reshape(text) if _JOINING.search(text) else text
    return found


def in_visual_order(lines: list[str]) -> list[str]:
    """The lines of one text, each from left to right as it is seen.

    The first letter that has a direction gives it to all of them.
    """
    text = " ".join(lines)
    if not _RIGHT_TO_LEFT.search(text):
        return lines
    from bidi.algorithm import get_base_level, get_display  # noqa: PLC0415 - see the module's docstring

    direction = "R" if get_base_level(text) else "L"
    return [str(get_display(line, base_dir=direction)) for line in lines]


@cache
def _reshaper() -> Any:
    from arabic_reshaper import ArabicReshaper  # noqa: PLC0415 - see the module's docstring

    return ArabicReshaper({"ARABIC LIGATURE ALLAH": False})  # which the font lacks
