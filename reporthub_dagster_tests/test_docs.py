"""What the documents say is true: paths, settings, commands and targets that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reporthub_dagster.cli import main
from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_OURS = ("reporthub_dagster", "demo/", "benchmarks/", "docs/", ".ci/")


def spans(document: Path) -> list[str]:
    """Everything in backquotes, and every word of code blocks."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [*inline, *lines]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = {span for span in spans(document) if span.startswith(_OURS) and " " not in span}
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
    missing = {path for path in named if not (ROOT / path).exists()}
    missing |= {link for link in links if not (document.parent / link).exists()}
    assert missing == set()


def test_the_architecture_names_every_module_at_the_root() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [path.name for path in (ROOT / "reporthub_dagster").glob("*.py") if path.stem != "__init__"]
    assert [name for name in modules if f"reporthub_dagster/{name}" not in text] == []


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.split("## Settings")[1].split("\n## ")[0]
    documented = set(
        re.findall(r"`([A-Z][A-Z_]+)`", "".join(line.split("|")[1] for line in table_rows(table)))
    )
    assert documented == {field.alias for field in Settings.model_fields.values()}


def table_rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    commands = re.findall(r"^(?:\.venv/bin/)?reporthub ([a-z-]+)", "\n".join(spans(document)), re.MULTILINE)
    assert [command for command in commands if command not in main.commands] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = re.findall(r"^make ([a-z]+)", "\n".join(spans(document)), re.MULTILINE)
    assert [target for target in named if target not in targets] == []


def test_the_document_of_connectors_says_of_every_kind_what_it_was_tested_against() -> None:
    text = (ROOT / "docs" / "connectors.md").read_text(encoding="utf-8")
    assert [kind for kind in CONNECTORS.kinds() if f"\n| `{kind}` |" not in text] == []
