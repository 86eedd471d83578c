"""From rows to files: every format of a report from its spools, packed if wanted, listed in the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from reporthub_dagster.planning import located, renderers_of
from reporthub_dagster.renderers.base import Renderer, RenderRequest, Section
from reporthub_dagster.renderers.excerpt import excerpt_of
from reporthub_dagster.renderers.html import HtmlRenderer
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.excerpt import Excerpt
from reporthub_dagster.reporting.file_name import FileName, safe_file_name
from reporthub_dagster.reporting.kept_window import window_to_json
from reporthub_dagster.reporting.plan import visible_columns
from reporthub_dagster.reporting.records import QueryResult, RenderedFile, ReportPlan
from reporthub_dagster.reporting.template_values import texts_of
from reporthub_dagster.settings import secret_of
from reporthub_dagster.storage.archive import GZIP_MEDIA_TYPE, ZIP_MEDIA_TYPE, gzip_file, zip_files
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster.storage.manifest import files_made_from, write_manifest
from reporthub_dagster.storage.spool import Spool


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to be rendered.

    Attributes:
        name: With its extension.
        queries: Positions of the queries that it shows.
    """

    renderer: type[Renderer]
    name: str
    queries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlannedFiles:
    """What will be rendered, packed under the name `archive` if that is not empty, and what was tolerated."""

    files: tuple[PlannedFile, ...]
    archive: str = ""
    warnings: tuple[str, ...] = ()


def plan_files(plan: ReportPlan) -> PlannedFiles:
    """The files of a report: one a format, or one a query where a format holds no more.

    Raises:
        ConfigurationError: A format is not known, or the archive's password is not there.
    """
    _password(plan)
    files: list[PlannedFile] = []
    taken: list[str] = []
    warnings: dict[str, None] = {}
    for renderer in renderers_of(plan):
        for part, positions in _parts(plan, renderer):
            name = _file_name(plan, renderer.extension, part, taken)
            files.append(PlannedFile(renderer, name.name, positions))
            taken.append(name.name)
            warnings |= dict.fromkeys(name.warnings)
    is_zip = plan.compress is not None and plan.compress.method == "zip"
    archive = _file_name(plan, "zip", "", []).name if is_zip else ""
    return PlannedFiles(tuple(files), archive, tuple(warnings))


def write_files(
    plan: ReportPlan, results: Sequence[QueryResult], folder: ExecutionFolder
) -> tuple[RenderedFile, ...]:
    """Write the report's files from the spools, each whole or not at all, and the manifest when all are.

    Files that an earlier attempt made from the same rows and the same settings stay as they are while their
    bytes are those of the manifest: whoever has got them already and who gets them now have the same.

    Raises:
        ConfigurationError: A format, one of its options or the way to pack is wrong.
        PermanentError: The rows cannot be shown in a format, or are gone.
        OSError: The output folder cannot be written.
    """
    folder.create()
    planned = plan_files(plan)
    sections, unknown = _sections(plan, results)
    made_from = _digest(plan, planned, sections)
    earlier = files_made_from(folder, made_from)
    if earlier is not None:
        return earlier
    making = _Making(plan, sections, planned)
    if plan.compress is None:
        files = list(making.render(folder.files))
    else:
        with folder.scratch() as scratch:
            files = list(making.packed(list(making.render(scratch)), folder.files))
    first, *rest = files
    files = [replace(first, warnings=(*planned.warnings, *unknown, *first.warnings)), *rest]
    write_manifest(folder, files, made_from=made_from)
    return tuple(files)


def make_excerpt(plan: ReportPlan, folder: ExecutionFolder, rows: int) -> Excerpt:
    """The first rows of each query for the body of a mail; only a sentence where they cannot be shown.

    Raises:
        ConfigurationError, PermanentError: As `write_files`.
    """
    results = folder.load_results()
    if plan.compress is not None and plan.compress.password_env:
        return _no_rows("the report is packed with a password")
    if len(results) != len(plan.queries):
        return _no_rows("they are not kept any more")
    options = {name: value for name, value in _options(plan).items() if name in HtmlRenderer.honours}
    sections, _ = _sections(plan, results)
    with located("report_configs", plan.config_id):
        return excerpt_of(RenderRequest(plan.report_name, plan.window, sections, options), rows)


def _no_rows(why: str) -> Excerpt:
    sentence = f"The rows are not shown here: {why}."
    return Excerpt("", f"<p>{sentence}</p>\n", "", f"{sentence}\n")


@dataclass(frozen=True, slots=True)
class _Making:
    """The files of one execution on their way."""

    plan: ReportPlan
    sections: tuple[Section, ...]
    planned: PlannedFiles

    def render(self, target: Path) -> Iterator[RenderedFile]:
        for planned in self.planned.files:
            request = RenderRequest(
                title=self.plan.report_name,
                window=self.plan.window,
                sections=tuple(self.sections[position] for position in planned.queries),
                options=_options_for(self.plan, planned.renderer),
            )
            with located("report_configs", self.plan.config_id):
                file = planned.renderer().render(request, target / planned.name)
            yield replace(file, truncated=request.truncated, options=_options(self.plan))

    def packed(self, files: list[RenderedFile], target: Path) -> Iterator[RenderedFile]:
        if not self.planned.archive:
            for file in files:
                packed = target / f"{file.name}.gz"
                gzip_file(file.path, packed)
                yield replace(_measured(file, packed), media_type=GZIP_MEDIA_TYPE)
            return
        password = _password(self.plan)
        archive = target / self.planned.archive
        moment = self.plan.window.as_of.astimezone(ZoneInfo(self.plan.window.timezone))
        zip_files([file.path for file in files], archive, moment=moment, password=password)
        yield replace(
            _measured(files[0], archive),
            format="zip",
            media_type=ZIP_MEDIA_TYPE,
            row_count=sum(section.row_count for section in self.sections),
            truncated=any(section.truncated for section in self.sections),
            warnings=tuple(dict.fromkeys(warning for file in files for warning in file.warnings)),
        )


def _parts(plan: ReportPlan, renderer: type[Renderer]) -> list[tuple[str, tuple[int, ...]]]:
    """What each file of a format holds: the name of its part, and the positions of the queries."""
    if renderer.holds_sections or len(plan.queries) == 1:
        return [("", tuple(range(len(plan.queries))))]
    return [(query.name, (position,)) for position, query in enumerate(plan.queries)]


def _file_name(plan: ReportPlan, extension: str, part: str, taken: Sequence[str]) -> FileName:
    return safe_file_name(
        plan.file_name,
        extension=extension,
        report_name=plan.report_name,
        execution_id=plan.execution_id,
        variables=texts_of(plan.variables),
        moment=plan.window.as_of.astimezone(ZoneInfo(plan.window.timezone)),
        part=part,
        taken=taken,
    )


def _sections(
    plan: ReportPlan, results: Sequence[QueryResult]
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """What is rendered, and warnings about columns that no query has."""
    sections: list[Section] = []
    warnings: list[str] = []
    everywhere: set[str] | None = None
    for query, result in zip(plan.queries, results, strict=True):
        columns, unknown = visible_columns(query.display_columns, [column.name for column in result.columns])
        sections.append(Section(result.name, _spool(result), columns, result.truncated, query.sql))
        if "display_columns" in query.own:
            warnings += _column_warnings(query.own["display_columns"], unknown, query.display_columns)
        else:
            everywhere = set(unknown) if everywhere is None else everywhere & set(unknown)
    shared = next((query for query in plan.queries if "display_columns" not in query.own), None)
    if shared is not None:
        unknown = tuple(name for name in shared.display_columns if name in (everywhere or ()))
        warnings += _column_warnings("display_columns", unknown, shared.display_columns)
    return tuple(sections), tuple(warnings)


def _column_warnings(place: str, unknown: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    for name in unknown:
        yield f"{place}: the result has no column {name}"
    if wanted and len(unknown) == len(wanted):
        yield f"{place}: none of its columns is known, so all are shown"


def _spool(result: QueryResult) -> Spool:
    try:
        return Spool.open(result.spool)
    except FileNotFoundError:
        raise PermanentError(
            "the rows that were read are gone, a purge may have taken them: run the report again"
        ) from None


def _digest(plan: ReportPlan, planned: PlannedFiles, sections: Sequence[Section]) -> str:
    """Of all that the bytes depend on besides the rows, whose change removes the manifest itself."""
    made_from = {
        "title": plan.report_name,
        "window": window_to_json(plan.window),
        "files": [(file.renderer.format, file.name, file.queries) for file in planned.files],
        "sections": [(part.name, part.columns, part.truncated, part.query) for part in sections],
        "options": _options(plan),
        "compress": asdict(plan.compress) if plan.compress else None,
        "archive": planned.archive,
    }
    text = json.dumps(made_from, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _measured(file: RenderedFile, packed: Path) -> RenderedFile:
    with packed.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return replace(file, path=packed, name=packed.name, size=packed.stat().st_size, sha256=digest)


def _options(plan: ReportPlan) -> dict[str, Any]:
    return dict(plan.parameters.get("format") or {})


def _options_for(plan: ReportPlan, renderer: type[Renderer]) -> dict[str, Any]:
    """What this format honours, and what none of the report's does, so that it is remarked on."""
    honoured = {name for one in renderers_of(plan) for name in one.honours}
    return {
        name: value
        for name, value in _options(plan).items()
        if name in renderer.honours or name not in honoured
    }


def _password(plan: ReportPlan) -> bytes | None:
    if plan.compress is None or not plan.compress.password_env:
        return None
    with located("report_configs", plan.config_id, "parameters.compress.password"):
        return secret_of(plan.compress.password_env).encode()
