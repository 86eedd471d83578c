"""JSON: an array of the rows, or an object that says what they are.

* `layout: array`: an array of objects, a row a line, as in `json_rows`. Several queries are an object: the
  name of each, with its array.
* `layout: object`: `report`, `window` (`start`, `end`, `timezone`), `truncated`, `columns` (`name`, `type`)
  and `rows`; several queries stand in `sections`, each with a `name`, `truncated`, `columns` and `rows`.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.json_rows import json_lines, json_string
from reporthub_dagster.renderers.options import read_options
from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.storage.spool import columns_of


class JsonRenderer(Renderer):
    """An array of objects, or an object around it."""

    format = "json"
    extension = "json"
    media_type = "application/json"
    holds_sections = True
    honours = frozenset({"layout"})

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; remarks name columns whose JSON documents were not valid."""
        writer = _Writer(request, file)
        if read_options(request.options).layout == "object":
            writer.object()
        elif len(request.sections) == 1:
            writer.array(request.only_section)
        else:
            writer.arrays()
        file.write(b"\n")
        return writer.remarks.sentences()


class _Writer:
    """Writes the parts of a document."""

    def __init__(self, request: RenderRequest, file: BinaryIO) -> None:
        self.remarks = Remarks()
        self._request = request
        self._file = file

    def array(self, section: Section) -> None:
        """The rows of a section."""
        if not section.row_count:
            self._text("[]")
            return
        self._text("[")
        first = True
        for piece in json_lines(section, self._request, self.remarks, ",\n"):
            # Every row comes with the comma of the one before it.
            self._file.write(piece[1:] if first else piece)
            first = False
        self._text("\n]")

    def arrays(self) -> None:
        """The rows of all sections, by name."""
        for position, section in enumerate(self._request.sections):
            self._text(f"{',' if position else '{'}\n{json_string(section.name)}: ")
            self.array(section)
        self._text("\n}")

    def object(self) -> None:
        """What the report is, then its rows."""
        request = self._request
        self._text("{\n")
        self._members({"report": request.title, "window": window_members(request.window)})
        if len(request.sections) == 1:
            self._section(request.only_section)
        else:
            self._text('"sections": [')
            for position, section in enumerate(request.sections):
                self._text(",\n{\n" if position else "\n{\n")
                self._members({"name": section.name})
                self._section(section)
                self._text("\n}")
            self._text("\n]")
        self._text("\n}")

    def _section(self, section: Section) -> None:
        columns = [{"name": one.name, "type": one.type} for one in columns_of(section.schema)]
        self._members({"truncated": section.truncated, "columns": columns})
        self._text('"rows": ')
        self.array(section)

    def _members(self, members: dict[str, Any]) -> None:
        for name, value in members.items():
            self._text(f"{json_string(name)}: {json.dumps(value, ensure_ascii=False)},\n")

    def _text(self, text: str) -> None:
        self._file.write(text.encode())


def window_members(window: TimeWindow) -> dict[str, str]:
    """A window as documents carry it: half-open, in its own zone, ISO 8601."""
    zone = ZoneInfo(window.timezone)
    return {
        "start": window.start.astimezone(zone).isoformat(),
        "end": window.end.astimezone(zone).isoformat(),
        "timezone": window.timezone,
    }
