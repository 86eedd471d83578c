"""The name of what one recipient gets from one delivery of one execution: the same on every attempt."""

from __future__ import annotations

from hashlib import sha256

IDENTITY_LENGTH = 32


def delivery_identity(execution_id: str, delivery_id: int, recipient: str) -> str:
    """32 hex digits: the key of the ledger, and what Message-ID, webhook-id and object keys derive from."""
    return sha256(f"{execution_id}|{delivery_id}|{recipient}".encode()).hexdigest()[:IDENTITY_LENGTH]
