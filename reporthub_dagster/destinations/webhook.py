"""Webhooks: one signed request for each recipient, with a document, the files, or a message for a chat."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote, urlsplit

import httpx
from pydantic import SecretStr

from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.request_body import Sending
from reporthub_dagster.destinations.standard_webhook import key_of, signed_headers, webhook_id
from reporthub_dagster.destinations.webhook_content import WebhookContent
from reporthub_dagster.destinations.webhook_errors import judge, translated
from reporthub_dagster.destinations.webhook_settings import WebhookSettings
from reporthub_dagster.network.http_client import http_client, tls_context
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt
from reporthub_dagster.reporting.text_template import fill

_LONGEST_ANSWER = 1 << 16


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
        self._content = WebhookContent(config, delivery.id)
        self._context = self._tls_context()
        if not config.tls_verify:
            self._warn("delivery_config.tls_verify is false: any certificate is accepted")
        if any(url.startswith("http:") for url in self._plain_urls()) and (config.auth or config.headers):
            self._warn("delivery_config.url is not https: its headers travel unencrypted")

    def recipients(self) -> tuple[str, ...]:
        """Labels and hosts."""
        return tuple(self._urls)

    def server_of(self, recipient: str) -> str | None:
        """The host of its URL."""
        url = self._urls.get(recipient)
        parts = urlsplit(url.get_secret_value()) if url else None
        return f"{parts.scheme}://{_place(parts.geturl())}" if parts else None

    def templates(self) -> Mapping[str, str]:
        """The payload, the URL's path and the headers."""
        place = f"report_deliveries {self.delivery.id}, delivery_config"
        headers = {f"headers.{k}": v.get_secret_value() for k, v in self._config.headers.items()}
        texts = {"payload_template": self._content.template, "url": self._own_url(), **headers}
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
        body = self._content.body(parcel, values, identity)
        where, now = _place(url), datetime.now(UTC)
        headers = {
            **self._content.headers(values),
            "content-type": body.media_type,
            "content-length": str(body.size),
        }
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
