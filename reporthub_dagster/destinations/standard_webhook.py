"""Standard Webhooks: an id that stays the same over all attempts, and a signature over id, time and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

_PREFIX = "whsec_"


def webhook_id(execution_id: str, delivery_id: int, recipient: str) -> str:
    """The same for every attempt to bring this execution's delivery to this recipient."""
    identity = f"{execution_id}|{delivery_id}|{recipient}"
    return f"msg_{sha256(identity.encode()).hexdigest()[:32]}"


def key_of(secret: str) -> bytes:
    """The bytes of a secret: base64 after `whsec_`, else its text as it stands.

    Raises:
        ValueError: What follows `whsec_` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("what follows whsec_ is not base64")
    return key


def signed_headers(identity: str, now: datetime, body: Iterable[bytes], key: bytes | None) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, with a key, `webhook-signature`; reads the body to its end."""
    seconds = str(int(now.timestamp()))
    headers = {"webhook-id": identity, "webhook-timestamp": seconds}
    digest = hmac.new(key or b"", f"{identity}.{seconds}.".encode(), sha256)
    for piece in body:
        digest.update(piece)
    if key is not None:
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest.digest()).decode()}"
    return headers
