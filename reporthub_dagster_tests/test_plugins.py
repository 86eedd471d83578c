"""Kinds that another package brings by entry points, and what is said of one that is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reporthub_dagster.plugins import Entry, Registry
from reporthub_dagster.renderers.base import Renderer
from reporthub_dagster.reporting.errors import ConfigurationError

MODULE = """
from reporthub_dagster.renderers.base import Renderer

class Markdown(Renderer):
    format = "markdown"
    extension = "md"
    media_type = "text/markdown"
    holds_sections = True
    honours = frozenset()

    def write(self, request, file):
        return ()

class Misnamed(Markdown):
    format = "md"

class Unfinished(Renderer):
    format = "unfinished"
    extension = "x"

class Stranger:
    pass
"""
ENTRY_POINTS = """
[reporthub_dagster.renderers]
markdown = extra_kinds:Markdown
csv = extra_kinds:Markdown
misnamed = extra_kinds:Misnamed
unfinished = extra_kinds:Unfinished
stranger = extra_kinds:Stranger
absent = extra_kinds:Absent
broken = extra_kinds_broken:Markdown
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is installed in a folder on the path."""
    (tmp_path / "extra_kinds.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "extra_kinds_broken.py").write_text("raise RuntimeError('no licence')", encoding="utf-8")
    install(tmp_path, "extra-kinds", ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def renderers(**changes: Any) -> Registry[Renderer]:
    given: dict[str, Any] = {
        "table": "report_configs",
        "column": "output_format",
        "entries": {"csv": Entry("reporthub_dagster.renderers.csv:CsvRenderer")},
        "base": "reporthub_dagster.renderers.base:Renderer",
        "word": "format",
    }
    return Registry("renderer", **{**given, **changes})


def test_a_package_brings_a_kind(package: Path) -> None:
    found = renderers()
    assert found.get("markdown")().media_type == "text/markdown"
    assert found.kinds()[0] == "csv"
    assert "markdown" in found.kinds()


def test_a_word_that_is_taken_keeps_its_meaning_and_is_told(package: Path) -> None:
    found = renderers()
    assert found.get("csv").__name__ == "CsvRenderer"
    assert found.kinds().count("csv") == 1
    assert found.passed_over() == (
        "the renderer 'csv' of the package extra-kinds 1.2 is not used: the word is taken",
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("misnamed", "extra_kinds:Misnamed has format = 'md', and its entry point is named 'misnamed'"),
        ("unfinished", "extra_kinds:Unfinished lacks holds_sections, honours, media_type, write"),
        ("stranger", "extra_kinds:Stranger is no subclass of reporthub_dagster.renderers.base.Renderer"),
        ("absent", "cannot be imported: AttributeError: module 'extra_kinds' has no attribute 'Absent'"),
        ("broken", "cannot be imported: RuntimeError: no licence"),
    ],
)
def test_a_broken_kind_is_named_with_its_package_and_the_row(package: Path, kind: str, words: str) -> None:
    found = renderers()
    with pytest.raises(ConfigurationError) as caught:
        found.get(kind, row=7, column="parameters.formats[0]")

    what = f"the renderer {kind!r} of the package extra-kinds 1.2"
    place = f"report_configs 7, column parameters.formats[0]: {what}"
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)
    assert str(caught.value).endswith("; mend that package, or remove it")
    assert found.get("markdown").extension == "md"


def test_two_packages_with_one_kind_are_both_named(package: Path) -> None:
    install(package, "other-kinds", "[reporthub_dagster.renderers]\nmarkdown = extra_kinds:Markdown\n")

    with pytest.raises(ConfigurationError, match="several packages bring this renderer") as caught:
        renderers().get("markdown")

    assert "extra-kinds 1.2" in str(caught.value)
    assert "other-kinds 1.2" in str(caught.value)


def test_a_word_that_nobody_brings_is_answered_with_those_that_somebody_does(package: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no renderer of this kind \(value 'ods'\); valid: csv, .*markdown"
    ):
        renderers().get("ods")


def test_a_registry_without_a_base_is_closed(package: Path) -> None:
    assert renderers(base="").kinds() == ("csv",)
