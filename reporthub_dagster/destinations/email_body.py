"""What a mail says, as text and as HTML: the row's templates, and the first rows of the report if wanted."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from reporthub_dagster.reporting.excerpt import Excerpt
from reporthub_dagster.reporting.text_template import fill

TABLE_VARIABLE = "report_table"
"""Where a template wants the rows; without it they come last."""
_PARAGRAPH = "margin:0 0 16px"


@dataclass(frozen=True, slots=True)
class BodyTexts:
    """The templates of a body.

    Attributes:
        page: HTML; None where the row has none.
    """

    text: str
    page: str | None

    def filled(self, values: Mapping[str, str], excerpt: Excerpt | None) -> tuple[str, str | None]:
        """Text and HTML; no HTML where neither the row nor an excerpt has some. Values are escaped there."""
        escaped = {name: html.escape(value) for name, value in values.items()}
        if excerpt is None:
            return fill(self.text, values).text, None if self.page is None else fill(self.page, escaped).text
        text = _with_table(self.text, values, f"\n{excerpt.text}")
        if self.page is not None:
            return text, _with_table(self.page, escaped, excerpt.tables)
        words = fill(self.text, values).text
        return text, excerpt.page("".join(map(_paragraph, words.split("\n\n"))))


def _with_table(template: str, values: Mapping[str, str], table: str) -> str:
    filled = fill(template, {**values, TABLE_VARIABLE: table}).text
    return filled if TABLE_VARIABLE in fill(template, {}).unknown else f"{filled}\n{table}"


def _paragraph(words: str) -> str:
    lines = "<br>\n".join(html.escape(line) for line in words.strip().splitlines())
    return f'<div style="{_PARAGRAPH}">{lines}</div>\n' if lines else ""
