"""`delivery_config` of webhooks, and the headers that follow from it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from reporthub_dagster.destinations.chat_presets import Preset
from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.destinations.standard_webhook import key_of

_OURS = re.compile(r"(webhook-.*|host|content-length|transfer-encoding|connection)", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(r"[\x00-\x1f\x7f]")
_KINDS = frozenset({"basic", "bearer", "none", "header", "api_key"})


def _authorization(given: Any) -> Any:
    """What rows hold under `auth`, as the header and value that it means."""
    if isinstance(given, str):
        return {"Authorization": given if " " in given.strip() else f"Bearer {given.strip()}"}
    if not isinstance(given, Mapping):
        raise ValueError("give {type: basic, username, password} or {type: bearer, token}")  # noqa: TRY004 - pydantic's
    kind = str(given.get("type") or "").lower().replace("apikey", "api_key")
    if kind and kind not in _KINDS:
        raise ValueError("type is one of basic, bearer, api_key")
    if kind == "none":
        return {}
    if kind in {"header", "api_key"}:
        name, value = (
            given.get("header") or given.get("name") or "X-Api-Key",
            given.get("value") or given.get("key"),
        )
        return {str(name): _required(value, "value")}
    if kind == "bearer" or "token" in given:
        return {"Authorization": f"Bearer {_required(given.get('token'), 'token')}"}
    pair = f"{_required(given.get('username'), 'username')}:{given.get('password') or ''}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _required(value: Any, name: str) -> str:
    if not value:
        raise ValueError(f"{name} is missing")
    return str(value)


def _safe_headers(given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise ValueError("give an object: name of the header, value")  # noqa: TRY004 - pydantic's
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(str(name)) or _BREAKS.search(str(value)):
            raise ValueError("a name or a value holds what no header may hold")
        if _OURS.fullmatch(str(name)):
            raise ValueError(f"{name} is set by ReportHub")
    return {str(name): str(value) for name, value in given.items()}


def _known_secret(given: Any) -> Any:
    key_of(str(given))
    return given


Headers = Annotated[dict[str, SecretStr], BeforeValidator(_safe_headers)]
Authorization = Annotated[dict[str, SecretStr], BeforeValidator(_authorization)]


class WebhookSettings(RowSettings):
    """Every key of a webhook row.

    Attributes:
        secret: Signs the request (Standard Webhooks); `whsec_…` or any text.
        payload_template: A JSON document, or its text; any text where a Content-Type says so.
        send_file: Send the files too, as multipart/form-data.
        preset: A message for a chat service instead of our own document.
        link: Where people find the files: see `report_link`.
        repeatable: The receiver takes a request with a known `webhook-id` only once; unless said, true with a
            `secret`.
        timeout: Seconds for connecting and for each answer.
    """

    url: Secret | None = None
    method: Annotated[Literal["POST", "PUT", "PATCH"], BeforeValidator(lambda given: str(given).upper())] = (
        "POST"
    )
    headers: Headers = Field(default_factory=dict)
    auth: Authorization = Field(default_factory=dict)
    secret: Annotated[Secret, BeforeValidator(_known_secret)] | None = None
    send_file: bool = False
    payload_template: str | dict[str, Any] | list[Any] | None = None
    preset: Preset | None = None
    link: str | None = None
    repeatable: bool | None = None
    timeout: float | None = Field(None, gt=0, le=3600)
    tls_ca_file: str | None = None
    tls_verify: bool = True

    def header(self, name: str) -> str | None:
        """The value of a header of the row."""
        found = (v for k, v in self.headers.items() if k.lower() == name.lower())
        return next((value.get_secret_value() for value in found), None)

    def secret_texts(self) -> frozenset[str]:
        """What no message may show: headers, as sent, and what signs."""
        values = [*self.headers.values(), *self.auth.values(), *([self.secret] if self.secret else [])]
        texts = {value.get_secret_value() for value in values}
        return frozenset(texts | {text.partition(" ")[2] for text in texts if " " in text})
