"""The one redactor: takes secrets out of text before anything stores or shows it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import SecretStr

MASK = "•••"

_URL_PASSWORD = re.compile(r"(?P<head>\b[a-zA-Z][\w+.-]*://[^\s:/@]*):(?P<password>[^\s/]*)@")
_LENIENT_PASSWORD = re.compile(r"://[^:/@]*:(?P<password>[^@]*)@")
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|private_key|api_?key|access_key|credential|^auth$|authorization",
    re.IGNORECASE,
)
_SHORTEST = 3
"""Shorter secrets are not replaced by value: they would eat ordinary words."""


def revealed(secret: SecretStr | None) -> str | None:
    """A secret in the clear, for whoever signs in with it; None where there is none, or an empty one."""
    return secret.get_secret_value() if secret else None


def is_secret_key(key: str) -> bool:
    """True when a setting of this name holds a secret."""
    return _SECRET_KEY.search(key) is not None


def secrets_of_url(url: str) -> frozenset[str]:
    """The password of a URL, as it stands there and decoded; empty when it has none.

    Both as the standard has it and as database drivers do, for whom it may hold a `/`.
    """
    try:
        strict = urlsplit(url).password
    except ValueError:
        strict = None
    lenient = _LENIENT_PASSWORD.search(url)
    found = {password for password in (strict, lenient and lenient["password"]) if password}
    return frozenset(found | {unquote(password) for password in found})


def secrets_of_options(options: Mapping[str, Any]) -> frozenset[str]:
    """Every text below a key that names a secret, at any depth."""
    return frozenset(_secret_texts(options, secret=False))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with passwords in URLs and every one of `secrets` masked, also as others write them.

    That is in URLs, in HTML, in JSON, as Python shows texts and bytes, and in base64.
    """
    for form in sorted(_forms(secrets), key=len, reverse=True):
        text = text.replace(form, MASK)
    return _URL_PASSWORD.sub(rf"\g<head>:{MASK}@", text)


def unforeseen(error: Exception, secrets: Iterable[str]) -> RuntimeError:
    """An error that nobody foresaw, to be raised in its place: drivers quote what they were given."""
    words = " ".join(redact(str(error), secrets).split())
    return RuntimeError(f"{type(error).__name__}: {words}").with_traceback(error.__traceback__)


def _forms(secrets: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for secret in secrets:
        raw = secret.encode(errors="surrogatepass")
        for text in {secret, secret.strip()}:
            found |= {text, quote(raw, safe=""), quote(raw), quote_plus(raw), html.escape(text)}
            found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
            found |= {repr(text)[1:-1], repr(raw)[2:-1]}
        found.add(base64.b64encode(raw).decode())
    return {form for form in found if len(form) >= _SHORTEST}


def _secret_texts(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secret_texts(inner, secret=secret or is_secret_key(str(key)))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secret_texts(inner, secret=secret)
    elif secret and isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)
