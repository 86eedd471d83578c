"""A local mail server that keeps every message as a file instead of sending it on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class _Keeper:
    """Writes a message per recipient: `0001-ana@example.com.eml`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        for recipient in envelope.rcpt_tos:
            number = sum(1 for _ in self._folder.glob("*.eml")) + 1
            name = re.sub(r"[^\w.@+-]", "_", recipient)
            content = envelope.original_content or b""
            (self._folder / f"{number:04d}-{name}.eml").write_bytes(content)
        return "250 OK: kept"


@contextmanager
def mail_sink(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server on a free loopback port; yields the environment that points ReportHub at it."""
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(_Keeper(folder), hostname="127.0.0.1", port=_free_port())
    controller.start()
    try:
        yield {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(controller.port),
            "SMTP_USE_TLS": "false",
            "SMTP_FROM_EMAIL": "reports@example.com",  # of notices; the demo's deliveries name their own
        }
    finally:
        controller.stop()


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
