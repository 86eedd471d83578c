from __future__ import annotations

import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.sandbox import bars, child, landlock, preload
from reporthub_dagster.sandbox.local import LocalRunner
from reporthub_dagster.sandbox.protocol import Job, Outcome
from reporthub_dagster_tests.sandbox.processes import fork_servers
from reporthub_dagster_tests.sandbox.running import SMALL, Scripts
from reporthub_dagster_tests.servers.process import wait_until

ASLEEP = "import time\ntime.sleep(60)\nresult = data"


def job(script: str) -> Job:
    return Job(script, ("",), {}, 60, SMALL)


def server_of(process: psutil.Process) -> psutil.Process:
    (server,) = fork_servers(process)
    return server


def test_stopping_ends_the_script_at_once(scripts: Scripts) -> None:
    with tempfile.TemporaryFile() as result:
        running = scripts.runner.start(job(ASLEEP), [scripts.spool], result)
        server = server_of(psutil.Process())
        wait_until(lambda: len(server.children()) == 1, "the script")
        threading.Timer(0.05, running.stop).start()
        with pytest.raises(PermanentError, match="stopped"):
            running.wait()
    wait_until(lambda: not server.children(), "its end", 5)


def test_an_interrupt_while_waiting_ends_the_script(scripts: Scripts) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with tempfile.TemporaryFile() as result:
            running = scripts.runner.start(job(ASLEEP), [scripts.spool], result)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                running.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    wait_until(lambda: not server_of(psutil.Process()).children(), "its end", 5)


def test_two_scripts_at_once_do_not_see_each_other(scripts: Scripts) -> None:
    with tempfile.TemporaryFile() as result:
        other = scripts.runner.start(job(ASLEEP), [scripts.spool], result)
        wait_until(lambda: len(server_of(psutil.Process()).children()) == 1, "the other")
        (victim,) = server_of(psutil.Process()).children()
        said = scripts.run(
            f"import os\ndef look():\n    open('/proc/{victim.pid}/mem', 'rb')\n"
            f"for act in (lambda: os.kill({victim.pid}, 9), look):\n    try:\n        act()\n"
            "        print('ESCAPED')\n    except OSError as error:\n        print(error.errno)\n"
            "result = data"
        ).printed
        assert said == "1\n13\n"
        assert victim.is_running()
        other.stop()
        with pytest.raises(PermanentError):
            other.wait()


def test_a_server_that_somebody_ended_is_started_again(scripts: Scripts) -> None:
    scripts.run("result = data")
    server = server_of(psutil.Process())
    server.kill()
    psutil.wait_procs([server], 5)
    assert scripts.run("result = data").tables[0].num_rows == 60


def test_the_server_and_its_scripts_end_with_who_started_them(tmp_path: Path, scripts: Scripts) -> None:
    program = f"""
import os, sys, tempfile
from pathlib import Path
from reporthub_dagster.sandbox.local import LOCAL
from reporthub_dagster.sandbox.protocol import Job
with tempfile.TemporaryFile() as result:
    running = LOCAL.start(Job({ASLEEP!r}, ("",), {{}}, 60, {SMALL}), [Path({str(scripts.spool)!r})], result)
    print("started", flush=True)
    running.wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        server = server_of(psutil.Process(process.pid))
        wait_until(lambda: len(server.children()) == 1, "the script")
        family = [server, *server.children()]
        process.kill()
    assert not psutil.wait_procs(family, 10)[1]


def test_the_server_knows_nothing(scripts: Scripts) -> None:
    scripts.run("result = data")
    server = server_of(psutil.Process())
    assert "SANDBOX_TEST_SECRET" in os.environ
    assert not {name for name in server.environ() if "SECRET" in name or "DB_" in name or "SMTP" in name}
    assert server.num_threads() <= 3, "its own, and those that Arrow has made; a fork has its own alone"
    assert server.cwd() == "/"


def test_what_is_not_installed_says_how_to_install_it(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with (
        tempfile.TemporaryFile() as result,
        pytest.raises(ConfigurationError, match=r"pip install 'reporthub-dagster\[scripts\]'"),
    ):
        LocalRunner().start(job("result = data"), [scripts.spool], result)


@pytest.mark.parametrize("missing", ["landlock", "seccomp"])
def test_without_its_bars_a_script_does_not_run(
    scripts: Scripts, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "landlock":
        monkeypatch.setattr(landlock, "version", lambda _: 0)
    else:
        monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    outcome = in_a_fork("open('/etc/hostname').read()", scripts.spool, uid=0)
    assert outcome.kind == "refused"
    assert missing in outcome.message.lower() or "riscv64" in outcome.message


def test_an_ordinary_account_is_behind_the_same_bars(scripts: Scripts) -> None:
    """Where the worker is not root, a script is of its account, and reads and ends nothing of it."""
    if os.geteuid() != 0:
        pytest.skip("every other test is this one then")
    preload.load()
    account = 54_321
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, account, account)
        secret = Path(folder) / "secret"
        secret.write_text("vault")
        os.chown(secret, account, account)
        with subprocess.Popen(["sleep", "60"], user=account) as victim:
            for script, says in (
                (f"open({str(secret)!r}).read()", "Permission denied"),
                (f"open({folder + '/new'!r}, 'w')", "Operation not permitted"),
                (f"import os\nos.kill({victim.pid}, 9)", "Operation not permitted"),
                ("import os\nassert os.geteuid() == 54321\nos.setuid(0)", "Operation not permitted"),
            ):
                outcome = in_a_fork(script, scripts.spool, uid=account)
                assert outcome.kind == "error"
                assert says in outcome.message
            assert victim.poll() is None
            victim.kill()
        assert [path.name for path in Path(folder).iterdir()] == ["secret"]


def test_a_worker_of_an_ordinary_account_runs_scripts_through_its_own_server() -> None:
    """The runner, its fork server and the script, all of `nobody`, from a new process."""
    if os.geteuid() != 0:
        pytest.skip("every other test is this one then")
    program = """
import os, tempfile
from pathlib import Path
from reporthub_dagster.sandbox.local import LOCAL
from reporthub_dagster.sandbox.running import ScriptError
from reporthub_dagster_tests.sandbox.running import Scripts
with tempfile.TemporaryDirectory() as folder:
    secret = Path(folder) / "secret"
    secret.write_text("vault")
    scripts = Scripts(LOCAL, Path(folder))
    given = scripts.run("import os\\nprint(os.getuid(), os.geteuid())\\nresult = data.head(3)")
    print(os.geteuid(), given.printed.strip(), given.tables[0].num_rows)
    for act in (f"open({str(secret)!r})", f"import os\\nos.kill({os.getpid()}, 9)"):
        try:
            scripts.run(f"{act}\\nresult = data")
        except ScriptError as error:
            print(error)
LOCAL.close()
"""
    account = str(bars.NOBODY)
    # The right to read every file is for an interpreter below /root; what bars a script is not file modes.
    reading = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    python = [sys.executable, "-c", program]
    told = subprocess.run(
        ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", *reading, *python],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    ran, read, killed = told.stdout.splitlines()
    assert ran == f"{account} {account} {account} 3"
    assert "Permission denied" in read
    assert "Operation not permitted" in killed


def in_a_fork(script: str, rows: Path, *, uid: int) -> Outcome:
    """Run a script in a fork of this process, as another account."""
    parent = os.getpid()
    with ExitStack() as opened:
        told, outcome, printed, result = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(4)]
        told.write(Job(script, ("",), {}, 20, 1 << 30).to_bytes())
        told.flush()
        source = os.dup(opened.enter_context(rows.open("rb")).fileno())
        opened.callback(os.close, source)
        pid = os.fork()
        if pid == 0:
            try:
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                files = child.Files(
                    told.fileno(), outcome.fileno(), printed.fileno(), result.fileno(), (source,)
                )
                child.run(files, parent)
            finally:
                os._exit(3)
        assert os.waitpid(pid, 0)[1] == 0
        outcome.seek(0)
        found = Outcome.from_bytes(outcome.read())
    assert found is not None
    return found
