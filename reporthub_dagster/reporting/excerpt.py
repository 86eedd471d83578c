"""The first rows of a report, as the body of a mail shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A page in three parts, and the same for who reads text.

    Attributes:
        start: Of the page, with its style sheet, up to where words may stand.
        tables: Title, window and rows; carries its looks with it and fits into any page.
        end: Of the page.
        text: The same rows in columns of text.
    """

    start: str
    tables: str
    end: str
    text: str

    def page(self, words: str) -> str:
        """The whole page, with words, as HTML, before the tables."""
        return f"{self.start}{words}{self.tables}{self.end}"


MakeExcerpt = Callable[[int], Excerpt]
"""From the number of rows that are wanted of each table."""
