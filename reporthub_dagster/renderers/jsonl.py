"""JSON lines: a row a line, each an object as in `json_rows`; an empty result is an empty file."""

from __future__ import annotations

from typing import BinaryIO

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest
from reporthub_dagster.renderers.json_rows import json_lines


class JsonLinesRenderer(Renderer):
    """A file of objects."""

    format = "jsonl"
    extension = "jsonl"
    media_type = "application/jsonl"
    holds_sections = False
    honours = frozenset[str]()

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; remarks name columns whose JSON documents were not valid."""
        remarks, first = Remarks(), True
        for piece in json_lines(request.only_section, request, remarks, "\n"):
            file.write(piece[1:] if first else piece)
            first = False
        if not first:
            file.write(b"\n")
        return remarks.sentences()
