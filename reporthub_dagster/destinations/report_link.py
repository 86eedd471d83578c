"""Where people find the file when it does not come with the message."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from reporthub_dagster.reporting.text_template import fill


def report_link(base: str | None, values: Mapping[str, str]) -> str | None:
    """The address of the (first) file.

    Args:
        base: `https://reports.example.com/files`, to which the execution and the file's name are added, or a
            template that says it all; None for the report's own `link` parameter.
        values: The parcel's values, `link` among them where the report has one.
    """
    template = base or values.get("link") or ""
    if not template.startswith(("https://", "http://")):
        return None
    if "{" not in template:
        template = template.rstrip("/") + "/{{execution_id}}/{{file_name}}"
    return fill(template, {name: quote(value, safe="") for name, value in values.items()}).text
