"""The file formats, by the words of `report_configs.output_format`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reporthub_dagster.plugins import Entry, Registry

if TYPE_CHECKING:
    from reporthub_dagster.renderers.base import Renderer

RENDERERS: Registry[Renderer] = Registry(
    "renderer",
    base="reporthub_dagster.renderers.base:Renderer",
    word="format",
    table="report_configs",
    column="output_format",
    entries={
        "csv": Entry("reporthub_dagster.renderers.csv:CsvRenderer"),
        "xlsx": Entry("reporthub_dagster.renderers.xlsx:XlsxRenderer"),
        "json": Entry("reporthub_dagster.renderers.json:JsonRenderer"),
        "jsonl": Entry("reporthub_dagster.renderers.jsonl:JsonLinesRenderer"),
        "parquet": Entry("reporthub_dagster.renderers.parquet:ParquetRenderer"),
        "html": Entry("reporthub_dagster.renderers.html:HtmlRenderer"),
        "pdf": Entry("reporthub_dagster.renderers.pdf:PdfRenderer"),
    },
)
