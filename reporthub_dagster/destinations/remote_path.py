"""Paths on other machines as rows name them: with `{{variables}}`, no value leading elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reporthub_dagster.destinations.folder import filled_part
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import Recipient, RenderedFile


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A folder, or a file where its last part says so; and the place in the rows where a person finds it.

    The last part names the file when `names_file`, when it holds `{{file_name}}`, or when there is one file
    and the part ends as that file does.
    """

    template: str
    table: str
    row: int
    column: str
    names_file: bool = False

    @property
    def base(self) -> PurePosixPath:
        """The part before the first variable: what a person made, not a report.

        A last part with an ending may be the file itself, so it does not belong there.
        """
        base = PurePosixPath()
        template = PurePosixPath(self.template)
        for part in template.parent.parts if template.suffix or self.names_file else template.parts:
            if "{" in part:
                break
            base /= part
        return base

    def places(
        self, files: Sequence[RenderedFile], values: Mapping[str, str]
    ) -> list[tuple[RenderedFile, PurePosixPath]]:
        """Where each file goes.

        Raises:
            PermanentError: A value or a file's name cannot stand in a path, or two files would be one.
        """
        found = [(file, self._place(file, values, alone=len(files) == 1)) for file in files]
        if len({place for _, place in found}) < len(found):
            raise PermanentError(
                f"several files would get the name {found[0][1].name}: use {{{{file_name}}}} in {self.column}"
            )
        return found

    def _place(self, file: RenderedFile, values: Mapping[str, str], *, alone: bool) -> PurePosixPath:
        if "/" in file.name or "\\" in file.name or "\0" in file.name or file.name in {"", ".", ".."}:
            raise PermanentError(f"{file.name!r} is not the name of a file")
        own = {**values, "file_name": file.name}
        path = self.base
        rest = PurePosixPath(self.template).parts[len(path.parts) :]
        for part in rest:
            path /= filled_part(part, own)
        last = PurePosixPath(self.template).name
        is_file = (
            self.names_file or "file_name" in last or (alone and _ending(last) == _ending(file.name) != "")
        )
        return path if is_file else path / file.name


def override_of(row: Recipient, *settings: str) -> tuple[str, str] | None:
    """What a recipient row says instead of one of `settings`: the text and the column that it stands in."""
    for setting in settings:
        given = row.options.get(setting)
        if isinstance(given, str) and given.strip():
            return given.strip(), f"recipient_config.{setting}"
    return (row.value.strip(), "recipient_value") if row.kind.lower() in settings else None


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
