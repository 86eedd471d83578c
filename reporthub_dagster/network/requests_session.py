"""A session of requests that connects where the policy lets it, for drivers that are built on requests.

requests has no seam for connecting: this module alone reaches into urllib3's connections.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ReadTimeoutError

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.network.limited_response import limited_response

MOST_BYTES = 256_000_000
"""Of a body that is read at once; pages of results have some megabytes."""
_PIECE = 1 << 20
Left = Callable[[], float]
"""Seconds that a request may still take; raises when there are none, which ends the request."""


class GuardedAdapter(HTTPAdapter):
    """Sends a session's requests: checked addresses, no proxy, one clock for all.

    Args:
        policy: Which addresses may be reached; URLs may not reach this machine's own services.
        context: How certificates are verified.
        connect_seconds: For each address.
        left: What is left of the time, asked before each request and when one was not answered in it.
    """

    def __init__(
        self, policy: EgressPolicy, context: ssl.SSLContext, connect_seconds: float, left: Left
    ) -> None:
        self._context = context
        self._connect_seconds = connect_seconds
        self._left = left
        self._seconds = connect_seconds
        super().__init__()
        self.poolmanager.pool_classes_by_scheme = _pools(policy, connect_seconds, lambda: self._seconds)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """See requests: the context decides whom to trust, and nothing else does."""
        where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return where, {"ssl_context": self._context} if where["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """See requests; nothing beyond the context."""

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """See requests; the body is read here, unless it is to be streamed."""
        del timeout, proxies
        left = self._seconds = self._left()
        clock = (min(self._connect_seconds, left), left)
        try:
            response = super().send(request, stream=stream, timeout=clock, verify=verify, cert=cert)
            if not stream:
                response._content = _whole(response)  # noqa: SLF001 - as its own `content` does
        except requests.RequestException as error:
            if error.args and isinstance(error.args[0], ReadTimeoutError):
                # A client would take it for a lost connection, and may or may not try again.
                self._left()
            raise
        return response


def guard(session: requests.Session, adapter: GuardedAdapter) -> None:
    """Make a session send everything through `adapter`, whatever the environment says of proxies."""
    session.trust_env = False
    session.mount("http://", adapter)
    session.mount("https://", adapter)


def _whole(response: requests.Response) -> bytes:
    """A body, unpacked."""
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > MOST_BYTES:
            raise requests.exceptions.ContentDecodingError(f"an answer of more than {MOST_BYTES:,} bytes")
    return bytes(body)


def _pools(policy: EgressPolicy, timeout: float, seconds: Callable[[], float]) -> dict[str, Any]:
    """urllib3's connection pools with our way to connect, and limits for answers."""
    limited = limited_response(seconds)

    class Plain(HTTPConnection):
        response_class = limited

        def _new_conn(self) -> socket.socket:
            return policy.connect(self.host, self.port, timeout, guarded=True)

    class Encrypted(HTTPSConnection):
        response_class = limited

        def _new_conn(self) -> socket.socket:
            return policy.connect(self.host, self.port or 443, timeout, guarded=True)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
