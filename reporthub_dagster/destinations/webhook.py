"""Webhooks: one signed request for each recipient, with a document, the files, or a message for a chat."""

from __future__ import annotations

import contextlib
import html
import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote, urlsplit

import httpx
from pydantic import SecretStr

from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.destinations.chat_presets import chat_message
from reporthub_dagster.destinations.json_template import fill_json, template_text
from reporthub_dagster.destinations.report_link import report_link
from reporthub_dagster.destinations.request_body import Body, Document, Multipart, Sending
from reporthub_dagster.destinations.standard_webhook import key_of, signed_headers, webhook_id
from reporthub_dagster.destinations.webhook_document import default_document
from reporthub_dagster.destinations.webhook_errors import judge, translated
from reporthub_dagster.destinations.webhook_settings import WebhookSettings
from reporthub_dagster.network.http_client import http_client, tls_context
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt
from reporthub_dagster.reporting.text_template import fill

_JSON = "application/json"
_LONGEST_ANSWER = 1 << 16
_ESCAPES: Mapping[str, Callable[[str], str]] = {
    "application/x-www-form-urlencoded": partial(quote, safe=""),
    "application/xml": html.escape,
    "text/xml": html.escape,
    "text/html": html.escape,
}
"""How a value stands in a template that is not JSON, by its media type; otherwise as it is."""


class WebhookDestination(Destination):
    """Recipients are the rows, each a label or a URL instead of `url`; without rows, the host of `url`.

    A URL is a secret: a recipient with one of its own is named by its host and its row. Whoever checks the
    signature also knows a `webhook-id` that comes again, so with a `secret` requests are repeatable.
    """

    method = "webhook"

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = config = WebhookSettings.of_row(delivery.options, delivery.id)
        self._warn(*(f"delivery_config.{key} is not known to webhook" for key in config.unknown()))
        self.repeatable = config.secret is not None if config.repeatable is None else config.repeatable
        self._timeout = config.timeout or settings.timeout_seconds
        self._urls = self._find_urls()
        self._media_type = config.header("content-type") or _JSON
        self._template = self._checked_template()
        self._context = self._tls_context()
        if not config.tls_verify:
            self._warn("delivery_config.tls_verify is false: any certificate is accepted")
        if any(url.startswith("http:") for url in self._plain_urls()) and (config.auth or config.headers):
            self._warn("delivery_config.url is not https: its headers travel unencrypted")

    def recipients(self) -> tuple[str, ...]:
        """Labels and hosts."""
        return tuple(self._urls)

    def templates(self) -> Mapping[str, str]:
        """The payload, the URL's path and the headers."""
        place = f"report_deliveries {self.delivery.id}, delivery_config"
        headers = {f"headers.{k}": v.get_secret_value() for k, v in self._config.headers.items()}
        texts = {"payload_template": self._template, "url": self._own_url(), **headers}
        return {f"{place}.{name}": text for name, text in texts.items() if text}

    def values(self, parcel: Parcel) -> dict[str, str]:
        """Also what says which file it is, and to whom it goes."""
        first = parcel.files[0] if parcel.files else None
        return {
            **super().values(parcel),
            "recipient": "",
            "file_size": str(first.size) if first else "",
            "sha256": first.sha256 if first else "",
            "media_type": first.media_type if first else "",
        }

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """One request each, over one connection where the other side keeps it."""
        with http_client(self.settings.egress, self._timeout, context=self._context) as client:
            for recipient in recipients:
                if recipient not in self._urls:
                    yield self._stranger(recipient)
                    continue
                yield self._attempted(recipient, partial(self._post, client, parcel, recipient))

    def check(self) -> str:
        """Connect, and see the certificate; asking for more could set something off there."""
        heard = [self._reach(url) for url in self._plain_urls()]
        return f"{', '.join(heard)}; nothing was posted, so credentials are not tried"

    def _post(self, client: httpx.Client, parcel: Parcel, recipient: str) -> str:
        values = {**self.values(parcel), "recipient": recipient}
        url = self._filled_url(recipient, values)
        identity = webhook_id(parcel.execution_id, self.delivery.id, recipient)
        body = self._body(parcel, values, identity)
        where, now = _place(url), datetime.now(UTC)
        headers = {**self._headers(values), "content-type": body.media_type, "content-length": str(body.size)}
        secret = self._config.secret
        key = key_of(secret.get_secret_value()) if secret else None
        headers |= signed_headers(identity, now, body.pieces(), key)
        sending = Sending(body)
        try:
            with client.stream(self._config.method, url, headers=headers, content=sending) as response:
                _drain(response, self._timeout)
                return judge(response, where, self.delivery.id, now)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise translated(
                error, where, self.delivery.id, all_sent=sending.done, repeatable=self.repeatable
            ) from None

    def _body(self, parcel: Parcel, values: Mapping[str, str], identity: str) -> Body:
        document = self._document(parcel, values)
        if self._config.send_file:
            media_type = _JSON if self._media_type.startswith("multipart/") else self._media_type
            return Multipart(document, media_type, parcel.files, f"reporthub-{identity}")
        return Document(document, self._media_type, parcel.files)

    def _document(self, parcel: Parcel, values: Mapping[str, str]) -> str:
        link = report_link(self._config.link, values)
        if not self._template:
            preset = self._config.preset
            return chat_message(preset, values, link) if preset else default_document(parcel, values, link)
        values = {**values, "link": link or values.get("link", "")}
        if not _is_json(self._media_type):
            escape = _ESCAPES.get(self._media_type.partition(";")[0].strip().lower(), str)
            return fill(self._template, {name: escape(value) for name, value in values.items()}).text
        try:
            return fill_json(self._template, values)
        except ValueError as error:
            raise self._not_json(error) from None

    def _headers(self, values: Mapping[str, str]) -> dict[str, str]:
        given = {**self._config.headers, **self._config.auth}
        plain = {name: " ".join(value.split()) for name, value in values.items()}
        return {name.lower(): fill(value.get_secret_value(), plain).text for name, value in given.items()}

    def _filled_url(self, recipient: str, values: Mapping[str, str]) -> str:
        quoted = {name: quote(value, safe="") for name, value in values.items()}
        return fill(self._urls[recipient].get_secret_value(), quoted).text

    def _find_urls(self) -> dict[str, SecretStr]:
        """Recipient → URL, whose host is fixed."""
        own = self._own_url()
        found: dict[str, SecretStr] = {}
        for row in self.delivery.recipients:
            value = row.value.strip()
            if value.startswith(("http://", "https://")):
                self._require_url(value, "report_delivery_recipients", row.id, "recipient_value")
                found[f"{urlsplit(value).hostname} (recipient {row.id})"] = SecretStr(value)
            elif value:
                found.setdefault(value, SecretStr(own))
        if not found or any(url.get_secret_value() == own for url in found.values()):
            self._require_url(own, "report_deliveries", self.delivery.id, "delivery_config.url")
        return found or {str(urlsplit(own).hostname): SecretStr(own)}

    def _plain_urls(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(url.get_secret_value() for url in self._urls.values()))

    def _own_url(self) -> str:
        return self._config.url.get_secret_value().strip() if self._config.url else ""

    def _require_url(self, url: str, table: str, row: int, column: str) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and "{" not in parts.netloc
            httpx.URL(url)
            _ = parts.port
        except (ValueError, httpx.InvalidURL):
            usable = False
        if not usable:
            problem = "this is not the URL of a webhook" if url else "there is no URL"
            error = self._misconfigured(
                problem, "url", valid="give https://host/path; no variable in the host"
            )
            raise type(error)(error.problem, table=table, row=row, column=column, valid=error.valid)

    def _checked_template(self) -> str:
        """The payload's template, which must be JSON once every value is there."""
        template = self._config.payload_template
        text = "" if template is None else template_text(template)
        if text and _is_json(self._media_type):
            try:
                fill_json(text, dict.fromkeys(fill(text, {}).unknown, "0"))
            except ValueError as error:
                raise self._not_json(error) from None
        return text

    def _not_json(self, error: ValueError) -> ConfigurationError:
        return self._misconfigured(
            f"the template is not JSON: {error}",
            "payload_template",
            valid="correct it, or set a Content-Type in delivery_config.headers",
        )

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return tls_context(self._config.tls_ca_file, verify=self._config.tls_verify)
        except OSError as error:
            raise self._misconfigured(
                f"the file cannot be used: {error.strerror or 'not a PEM file'}",
                "tls_ca_file",
                value=self._config.tls_ca_file,
                valid="give the path of a PEM file",
            ) from None

    def _reach(self, url: str) -> str:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host, port = str(parts.hostname), parts.port or (443 if tls else 80)
        try:
            with self.settings.egress.connect(host, port, self._timeout, guarded=True) as plain:
                if not tls:
                    return f"{_place(url)} answers"
                with self._context.wrap_socket(plain, server_hostname=host) as encrypted:
                    return f"{_place(url)} answers over {encrypted.version()}"
        except ssl.SSLError as error:
            raise translated(error, _place(url), self.delivery.id, all_sent=False, repeatable=True) from None
        except OSError as error:
            raise TransientError(f"{_place(url)} cannot be reached: {error.strerror or error}") from None

    def _secrets(self) -> frozenset[str]:
        """Also headers, and URLs with what follows their host: chat services put the key there."""
        found = set(super()._secrets() | self._config.secret_texts())
        for url in self._plain_urls():
            parts = urlsplit(url)
            found |= {url, parts.path, parts.query, f"{parts.path}?{parts.query}", parts.password or ""}
        return frozenset(text for text in found if text not in {"", "/", "?", "basic", "bearer"})


def _place(url: str) -> str:
    """Host and port: what messages may show of a URL."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _drain(response: httpx.Response, seconds: float) -> None:
    """Read a short body to its end, so that the connection can be used again; nobody looks at it."""
    end, size = time.monotonic() + seconds, 0
    with contextlib.suppress(httpx.HTTPError):  # the answer itself has come
        for piece in response.iter_raw():
            size += len(piece)
            if size > _LONGEST_ANSWER or time.monotonic() > end:
                break


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == _JSON or kind.endswith("+json") or kind.startswith("multipart/")
