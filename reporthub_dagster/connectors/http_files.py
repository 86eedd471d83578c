"""Files behind a URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from reporthub_dagster.connectors.file_formats import new_file
from reporthub_dagster.connectors.file_places import FilePlace, RowPlace
from reporthub_dagster.connectors.http_fetch import Ask, HttpFetcher, host_of
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.reporting.errors import TransientError


class HttpFiles(FilePlace):
    """One host; its paths have no wildcards.

    Args:
        settings: What the environment says.
        place: For messages.
        base: Scheme and host.
        headers: Of every request.
        ca_file: PEM file of the authorities to trust instead of the system's.
    """

    def __init__(
        self,
        settings: SourceSettings,
        place: RowPlace,
        base: str,
        headers: Mapping[str, str],
        ca_file: str | None,
    ) -> None:
        self._settings = settings
        self._place = place
        self._base = base
        self._headers = headers
        self._ca_file = ca_file

    def fetch(self, path: str, scratch: Path, budget: Budget) -> dict[Path, str]:
        """See `FilePlace.fetch`."""
        name = unquote(PurePosixPath(urlsplit(path).path).name)
        url = f"{self._base}{path}"
        with HttpFetcher(self._settings, self._place, self._ca_file) as fetcher:
            answered = fetcher.fetch(Ask(url, headers=self._headers), new_file(scratch, name), budget)
        return {answered.body: name}

    def check(self, path: str) -> str:
        """See `FilePlace.check`; the file itself is not asked for: it may not be there yet."""
        del path
        parts = urlsplit(self._base)
        host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self._settings.egress.connect(host, port, self._settings.fetch_seconds, guarded=True).close()
        except OSError as error:
            raise TransientError(
                f"{host_of(self._base)} cannot be reached: {error.strerror or error}"
            ) from None
        return f"{host_of(self._base)} can be reached"
