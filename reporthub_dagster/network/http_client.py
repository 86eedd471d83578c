"""The one way to speak HTTP: checked addresses, verified certificates, time limits, no redirect, no proxy."""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import httpx

from reporthub_dagster.network.egress import EgressPolicy

_KINDS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)
"""httpcore's exceptions as httpx's, which is what callers of a client expect."""
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content coding → zlib's word for what it looks like."""
_PIECE = 1 << 20


def tls_context(ca_file: str | Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """How certificates are verified.

    Args:
        ca_file: PEM file of the authorities to trust instead of the system's.
        verify: False accepts any certificate.

    Raises:
        OSError: `ca_file` cannot be read, or is no PEM file.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def http_client(
    policy: EgressPolicy,
    timeout: float,
    *,
    guarded: bool = True,
    context: ssl.SSLContext | None = None,
    answer_seconds: Callable[[], float] | None = None,
) -> httpx.Client:
    """A client for one delivery; close it.

    Args:
        policy: Which addresses may be reached; each is the one that was checked.
        timeout: Seconds for connecting, and for each piece that is read or written.
        guarded: URLs may not reach this machine's own services.
        context: How certificates are verified; by default with the system's authorities.
        answer_seconds: How long an answer may take from its first byte to its last, asked before it; by
            default `timeout`.
    """
    backend = _GuardedBackend(policy, answer_seconds or (lambda: timeout), guarded=guarded)
    transport = _GuardedTransport(backend, context or tls_context())
    return httpx.Client(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeout),
        headers={"User-Agent": "ReportHub", "Accept-Encoding": "gzip"},
    )


def decoded(response: httpx.Response) -> Iterator[bytes]:
    """A body without its content coding, a megabyte at a time at the most, however little it was packed into.

    A piece may be empty, so that whoever looks at the clock does so while nothing but packing arrives.

    Raises:
        httpx.DecodingError: It is broken, or packed in a way that nobody asked for.
        httpx.TransportError: It breaks off.
    """
    codings = [
        coding
        for word in response.headers.get("content-encoding", "").split(",")
        if (coding := word.strip().lower()) not in ("", "identity")
    ]
    if not codings:
        yield from response.iter_raw()
        return
    if len(codings) > 1 or codings[0] not in _WINDOWS:
        raise httpx.DecodingError(
            f"the answer is packed as {', '.join(codings)[:60]}", request=response.request
        )
    unpacker = zlib.decompressobj(_WINDOWS[codings[0]])
    try:
        for packed in response.iter_raw():
            yield unpacker.decompress(packed, _PIECE)
            while unpacker.unconsumed_tail:
                yield unpacker.decompress(unpacker.unconsumed_tail, _PIECE)
    except zlib.error as error:
        raise httpx.DecodingError(str(error), request=response.request) from None
    if not unpacker.eof and response.num_bytes_downloaded:
        raise httpx.RemoteProtocolError("the answer breaks off", request=response.request)


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to the addresses that the policy has checked; TLS still sees the host's name."""

    def __init__(self, policy: EgressPolicy, answer_seconds: Callable[[], float], *, guarded: bool) -> None:
        self._policy = policy
        self._answer_seconds = answer_seconds
        self._guarded = guarded
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._policy.addresses(host, port, guarded=self._guarded)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from None
        failure: Exception | None = None
        for _, address in addresses:
            try:
                plain = self._plain.connect_tcp(address[0], port, timeout, local_address, socket_options)
                return _Timed(plain, self._answer_seconds)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("the name has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError(f"{path}: sockets of this machine are not for URLs")


class _Timed(httpcore.NetworkStream):
    """A connection on which an answer as a whole has a time limit: one that drips ends, too.

    Args:
        stream: The connection.
        answer_seconds: Asked when an answer is first waited for.
    """

    def __init__(self, stream: httpcore.NetworkStream, answer_seconds: Callable[[], float]) -> None:
        self._stream = stream
        self._answer_seconds = answer_seconds
        self._end: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._end is None:
            self._end = time.monotonic() + self._answer_seconds()
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer has no end")
        return self._stream.read(max_bytes, left if timeout is None else min(timeout, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._end = None
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, timeout), self._answer_seconds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _GuardedTransport(httpx.BaseTransport):
    """httpx over a pool of httpcore's that uses our backend."""

    def __init__(self, backend: httpcore.NetworkBackend, context: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=backend)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        plain = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = self._pool.handle_request(plain)
        except tuple(kind for kind, _ in _KINDS) as error:
            raise _translated(error) from error
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """An answer's body as it arrives."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except tuple(kind for kind, _ in _KINDS) as error:
            raise _translated(error) from error

    def close(self) -> None:
        self._answer.close()


def _translated(error: Exception) -> httpx.TransportError:
    ours = next(ours for kind, ours in _KINDS if isinstance(error, kind))
    return ours(str(error))
