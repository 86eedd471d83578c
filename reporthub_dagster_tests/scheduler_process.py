"""Schedulers in processes of their own, each on its own Dagster instance: `… HOME START EPOCH PACE`.

The process loads the code location once. For each line on its stdin it forks a scheduler of that name, says
its pid, and the scheduler evaluates the sensor as the daemon does until it is killed, in a time that runs
PACE times as fast since EPOCH. What it asks for it appends to `HOME/<name>.log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from reporthub_dagster.db.session import Hub
from reporthub_dagster.definitions import defs
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.sensors import report_schedule_sensor


class Nursery:
    """The process that schedulers are forked from.

    Args:
        home: Folder of their instances and logs.
        start: When their time begins.
        epoch: What the machine's clock said then, in seconds.
        pace: Their seconds in one of ours.
    """

    def __init__(self, home: Path, start: datetime, epoch: float, pace: float) -> None:
        self.home = home
        words = [str(home), start.isoformat(), str(epoch), str(pace)]
        command = [sys.executable, "-m", "reporthub_dagster_tests.scheduler_process", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._pids: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Start a scheduler."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{name}\n")
        stdin.flush()
        self._pids[name] = int(stdout.readline())

    def kill(self, name: str) -> None:
        """Kill a scheduler with -9."""
        os.kill(self._pids.pop(name), signal.SIGKILL)

    def end(self) -> None:
        """Kill those that are left, and the nursery."""
        for name in list(self._pids):
            self.kill(name)
        self._process.communicate("")

    def said(self) -> list[str]:
        """Every whole line of every scheduler."""
        texts = [path.read_text() for path in self.home.glob("*.log")]
        return [line for text in texts for line in text.split("\n")[:-1]]


def live(name: str, home: Path, start: datetime, epoch: float, pace: float) -> None:
    """Tick for ever."""

    def now(_: Hub) -> datetime:
        moment = start + timedelta(seconds=(time.time() - epoch) * pace)
        return moment.replace(microsecond=0)

    setattr(Hub, "now", now)  # noqa: B010 - the type checker would want the method's own self
    log = os.open(home / f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    (home / name).mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(home / name)) as instance:
        while True:
            with dg.build_sensor_context(
                instance=instance, definitions=defs, resources={"hub": HubDatabase()}
            ) as context:
                try:
                    requests = report_schedule_sensor.evaluate_tick(context).run_requests or ()
                    lines = [f"{request.run_key}\n" for request in requests]
                except Exception as error:  # noqa: BLE001 - what a tick left the next one does
                    lines = [f"tick failed: {' '.join(str(error).split())}\n"]
            os.write(log, "".join([*lines, "tick\n"]).encode())


def main() -> None:
    """Fork a scheduler for each line."""
    home, start = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
    epoch, pace = float(sys.argv[3]), float(sys.argv[4])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.stdout = sys.stderr
            live(line.strip(), home, start, epoch, pace)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
