"""What `connection_config` says about HTTP: headers, signing in, and how an API deals out its pages."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_BREAKS = re.compile(r"[\x00-\x1f\x7f]")


class Auth(BaseModel):
    """How to sign in.

    Attributes:
        type: `basic` takes `username` and `password`, `bearer` a `token`, `api_key` a `value` in a `header`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: Literal["basic", "bearer", "api_key"]
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    header: str = "X-Api-Key"
    value: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _whole(self) -> Auth:
        needed = {"basic": self.username, "bearer": self.token.get_secret_value()}
        if not needed.get(self.type, self.value.get_secret_value()):
            missing = {"basic": "username", "bearer": "token", "api_key": "value"}[self.type]
            raise ValueError(f"{missing} is missing")
        return self

    def header_pair(self) -> tuple[str, str]:
        """Name and value of the header that signs in."""
        if self.type == "basic":
            pair = f"{self.username}:{self.password.get_secret_value()}"
            return "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
        if self.type == "bearer":
            return "Authorization", f"Bearer {self.token.get_secret_value()}"
        return self.header, self.value.get_secret_value()


class Pages(BaseModel):
    """How an API deals out its rows.

    Attributes:
        type: `page` counts pages, `offset` rows; `cursor` repeats what `next` holds; `link` follows the
            header Link (RFC 8288) with `rel="next"`.
        param: What carries the page, the offset or the cursor.
        start: The first page or offset.
        size_param: What carries the size; none if not said.
        size: Rows of a page; a shorter one is the last. Unless said, an empty page is.
        next: Where in the answer the cursor is, `meta.next`: a value, or the URL of the next page.
        where: Whether `param` goes into the query or the body.
        most: Pages, at the most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["page", "offset", "cursor", "link"]
    param: str = ""
    start: int | None = None
    size_param: str = ""
    size: int = Field(0, ge=0)
    next: str = ""
    where: Literal["query", "body"] = "query"
    most: int = Field(10_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _whole(self) -> Pages:
        if self.type == "cursor" and not self.next:
            raise ValueError("next is missing: where the answer holds the cursor")
        return self

    @property
    def name(self) -> str:
        """The parameter, where the row names none."""
        return self.param or {"page": "page", "offset": "offset"}.get(self.type, "cursor")

    @property
    def first(self) -> int:
        """Where pages or offsets begin."""
        return self.start if self.start is not None else int(self.type == "page")


def request_headers(headers: Mapping[str, SecretStr], auth: Auth | None) -> dict[str, str]:
    """The headers of every request.

    Raises:
        ValueError: A name or a value holds a line break.
    """
    found = {name: value.get_secret_value() for name, value in headers.items()}
    if auth is not None:
        name, value = auth.header_pair()
        found[name] = value
    if any(_BREAKS.search(f"{name}{value}") for name, value in found.items()):
        raise ValueError("a header holds a line break")
    return found
