"""The scripts of the tests, one file a family; and what the kernel is asked for by number.

A file holds a sentence and then, under `== name` or `== name | what people are told`, the scripts.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "scripts_of_people"


def scripts_of(family: str) -> dict[str, str]:
    """Name → script."""
    return {name.partition(" | ")[0]: script for name, script in _sections(family)}


def scripts_and_words(family: str) -> dict[str, tuple[str, str]]:
    """Name → script, and a pattern of what people are told."""
    return {
        name.partition(" | ")[0]: (script, name.partition(" | ")[2]) for name, script in _sections(family)
    }


def _sections(family: str) -> list[tuple[str, str]]:
    _, *sections = text_of(family).split("\n== ")
    return [(section.partition("\n")[0], section.partition("\n")[2]) for section in sections]


def kernel_calls(column: int) -> dict[str, int]:
    """Name → number on x86_64 (column 1) or aarch64 (2), of calls that a script has no business with."""
    lines = [line.split() for line in text_of("kernel_calls").splitlines()]
    return {words[0]: int(words[column]) for words in lines}


def text_of(name: str) -> str:
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
