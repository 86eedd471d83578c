"""A private RabbitMQ, with its own name, data, ports and port mapper: one node for the whole test session."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.connection import Connection

from reporthub_dagster_tests.servers.process import binary, free_port, log_tail, stop, wait_until

_SCRIPTS = "/usr/lib/rabbitmq/bin"
"""Debian's command in the path changes to a user of its own; the script behind it does not."""


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """URL of an empty RabbitMQ."""
    found = binary(f"{_SCRIPTS}/rabbitmq-server", "rabbitmq-server")
    home = Path(tempfile.mkdtemp(prefix="reporthub-rabbitmq-"))
    port = free_port()
    environment = {**os.environ, **_settings(home, port)}
    mapper = subprocess.Popen(
        [binary("epmd"), "-port", environment["ERL_EPMD_PORT"], "-address", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = home / "rabbitmq.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [found], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    try:
        wait_until(lambda: _answers(process, url), "rabbitmq", 90)
        yield url
    except TimeoutError as error:
        raise RuntimeError(f"rabbitmq did not start: {log_tail(log)}") from error
    finally:
        _end(process)
        stop(mapper)
        shutil.rmtree(home, ignore_errors=True)


def _settings(home: Path, port: int) -> dict[str, str]:
    config = home / "rabbitmq.conf"
    config.write_text("log.console = true\nlog.console.level = warning\nloopback_users = none\n")
    (home / "enabled_plugins").write_text("[].\n")
    return {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"reporthub{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "LC_ALL": "C.UTF-8",
    }


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise RuntimeError("the node ended")
    with Connection(url, connect_timeout=5) as connection:  # type: ignore[no-untyped-call]
        connection.connect()
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the node with its helpers: they are a session of their own."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
