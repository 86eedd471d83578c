from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.sandbox import wire
from reporthub_dagster.sandbox.protocol import Job
from reporthub_dagster.sandbox.remote import RemoteRunner
from reporthub_dagster.sandbox.running import ScriptError
from reporthub_dagster_tests.sandbox.running import SMALL, Scripts
from reporthub_dagster_tests.servers.process import stop, wait_until


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a runner that holds its container to be the wall, as in one without Landlock."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/scripts.sock"
        command = [
            sys.executable,
            "-m",
            "reporthub_dagster.cli",
            "script-runner",
            "--listen",
            f"unix:{place}",
        ]
        runner = subprocess.Popen([*command, "--container-is-wall"], stderr=subprocess.DEVNULL, cwd=folder)
        try:
            wait_until(lambda: Path(place).exists(), "the runner")
            yield f"unix:{place}"
        finally:
            stop(runner)


@pytest.fixture
def far(address: str, tmp_path: Path) -> Scripts:
    return Scripts(RemoteRunner(address), tmp_path)


def test_a_runner_gives_what_a_script_gives_here(far: Scripts, scripts: Scripts) -> None:
    script = "print('seen')\nresult = data.groupby('category', as_index=False)[['amount']].sum()"
    there, here = far.run(script), scripts.run(script)
    assert there.tables[0].equals(here.tables[0])
    assert there.printed == here.printed == "seen\n"


def test_a_runner_takes_several_queries(far: Scripts) -> None:
    inputs = {"A": pa.table({"v": [1]}), "B": pa.table({"v": [2]})}
    given = far.run("result = {'B': data['A'], 'A': data['B']}", inputs)
    assert [one.to_pydict() for one in given.tables] == [{"v": [2]}, {"v": [1]}]


def test_a_runners_errors_are_those_of_here(far: Scripts) -> None:
    with pytest.raises(ScriptError, match=r"^line 2: ZeroDivisionError: division by zero$"):
        far.run("result = data\n1 / 0")
    with pytest.raises(ScriptError, match=r"longer than 0.5 s"):
        far.run("while True:\n    pass", seconds=0.5)


def test_in_a_container_that_is_the_wall_a_script_still_is_nobody(far: Scripts) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    assert (
        far.run("import os\nprint(os.geteuid(), len(os.environ) < 12)\nresult = data").printed
        == "65534 True\n"
    )


def test_hanging_up_ends_the_script(far: Scripts) -> None:
    with tempfile.TemporaryFile() as result:
        job = Job("import time\ntime.sleep(60)\nresult = data", ("",), {}, 60, SMALL)
        running = far.runner.start(job, [far.spool], result)
        running.stop()
        with pytest.raises(PermanentError, match="stopped"):
            running.wait()
    assert far.run("result = data").tables[0].num_rows == 60


def test_nonsense_is_answered(address: str) -> None:
    family, place = wire.address_of(address)
    with socket.socket(family) as connection:
        connection.connect(place)
        wire.send(connection, b'{"version": 7}')
        with connection.makefile("rb") as answer:
            assert json.loads(wire.receive(answer, 1000)) == {"problem": "this runner speaks version 1"}


def test_a_frame_has_a_limit(address: str) -> None:
    family, place = wire.address_of(address)
    with socket.socket(family) as connection:
        connection.connect(place)
        connection.sendall(b"\xff" * 8)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "address", ["", "unix:relative", "tcp:host", "tcp::80", "tcp:host:99999", "http://x"]
)
def test_an_address_is_a_unix_socket_or_tcp(address: str) -> None:
    with pytest.raises(ConfigurationError, match="unix:/path or tcp:host:port"):
        wire.address_of(address)


def test_a_runner_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"REPORTHUB_SCRIPT_RUNNER: .*cannot be reached"):
        Scripts(RemoteRunner("tcp:127.0.0.1:1"), tmp_path).run("result = data")
