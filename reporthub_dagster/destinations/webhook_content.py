"""What a webhook request says: its document and files, and the headers that a row adds."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import quote

from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.chat_presets import chat_message
from reporthub_dagster.destinations.json_template import fill_json, template_text
from reporthub_dagster.destinations.report_link import report_link
from reporthub_dagster.destinations.request_body import Body, Document, Multipart
from reporthub_dagster.destinations.webhook_document import default_document
from reporthub_dagster.destinations.webhook_settings import WebhookSettings
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.text_template import fill

_JSON = "application/json"
_ESCAPES: Mapping[str, Callable[[str], str]] = {
    "application/x-www-form-urlencoded": partial(quote, safe=""),
    "application/xml": html.escape,
    "text/xml": html.escape,
    "text/html": html.escape,
}
"""How a value stands in a template that is not JSON, by its media type; otherwise as it is."""


class WebhookContent:
    """The content of one delivery's requests.

    Args:
        config: The row's settings.
        row: Its id.

    Attributes:
        template: The payload's template, or empty.

    Raises:
        ConfigurationError: The template is to be JSON and is not, once every value is there.
    """

    def __init__(self, config: WebhookSettings, row: int) -> None:
        self._config = config
        self._row = row
        self._media_type = config.header("content-type") or _JSON
        template = config.payload_template
        self.template = "" if template is None else template_text(template)
        if self.template and _is_json(self._media_type):
            self._filled_json(dict.fromkeys(fill(self.template, {}).unknown, "0"))

    def body(self, parcel: Parcel, values: Mapping[str, str], identity: str) -> Body:
        """The document, with the files where the row wants them.

        Raises:
            ConfigurationError: With these values the document is not JSON.
        """
        document = self._document(parcel, values)
        if self._config.send_file:
            media_type = _JSON if self._media_type.startswith("multipart/") else self._media_type
            return Multipart(document, media_type, parcel.files, f"reporthub-{identity}")
        return Document(document, self._media_type, parcel.files)

    def headers(self, values: Mapping[str, str]) -> dict[str, str]:
        """Those of the row, in small letters."""
        given = {**self._config.headers, **self._config.auth}
        plain = {name: " ".join(value.split()) for name, value in values.items()}
        return {name.lower(): fill(value.get_secret_value(), plain).text for name, value in given.items()}

    def _document(self, parcel: Parcel, values: Mapping[str, str]) -> str:
        link = report_link(self._config.link, values)
        if not self.template:
            preset = self._config.preset
            return chat_message(preset, values, link) if preset else default_document(parcel, values, link)
        values = {**values, "link": link or values.get("link", "")}
        if _is_json(self._media_type):
            return self._filled_json(values)
        escape = _ESCAPES.get(self._media_type.partition(";")[0].strip().lower(), str)
        return fill(self.template, {name: escape(value) for name, value in values.items()}).text

    def _filled_json(self, values: Mapping[str, str]) -> str:
        try:
            return fill_json(self.template, values)
        except ValueError as error:
            raise ConfigurationError(
                f"the template is not JSON: {error}",
                table="report_deliveries",
                row=self._row,
                column="delivery_config.payload_template",
                valid="correct it, or set a Content-Type in delivery_config.headers",
            ) from None


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == _JSON or kind.endswith("+json") or kind.startswith("multipart/")
