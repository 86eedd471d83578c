"""Schedulers in processes of their own, each on its own Dagster instance.

Each evaluates the sensor as the daemon does until it is killed, in a time of its own that may run fast. What
it asks for it appends to `<name>.asked`.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg

from reporthub_dagster.db.session import Hub
from reporthub_dagster.definitions import wiring
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster_tests import forked
from reporthub_dagster_tests.local_instance import local_instance


class Nursery:
    """Where schedulers are started and killed.

    Args:
        home: Folder of their instances and logs.
        start: When their time begins.
        epoch: What the machine's clock said then, in seconds.
        pace: Their seconds in one of ours.
    """

    def __init__(self, home: Path, start: datetime, epoch: float, pace: float) -> None:
        self.home = home
        self._time = (start, epoch, pace)
        self._living: dict[str, BaseProcess] = {}

    def start(self, name: str) -> None:
        """Start a scheduler."""
        log = self.home / "stderr.log"
        self._living[name] = forked.start(_live, name, self.home, *self._time, log=log)

    def kill(self, name: str) -> None:
        """Kill a scheduler with -9."""
        forked.kill(self._living.pop(name))

    def end(self) -> None:
        """Kill those that are left."""
        for name in list(self._living):
            self.kill(name)

    def said(self) -> list[str]:
        """Every whole line of every scheduler."""
        texts = [path.read_text() for path in self.home.glob("*.asked")]
        return [line for text in texts for line in text.split("\n")[:-1]]


def _live(name: str, home: Path, start: datetime, epoch: float, pace: float) -> None:
    """Tick for ever."""

    def now(_: Hub) -> datetime:
        moment = start + timedelta(seconds=(time.time() - epoch) * pace)
        return moment.replace(microsecond=0)

    setattr(Hub, "now", now)  # noqa: B010 - the type checker would want the method's own self
    log = os.open(home / f"{name}.asked", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    (home / name).mkdir(exist_ok=True)
    with local_instance(home / name) as instance:
        while True:
            with dg.build_sensor_context(
                instance=instance, definitions=wiring(), resources={"hub": HubDatabase()}
            ) as context:
                try:
                    requests = report_schedule_sensor.evaluate_tick(context).run_requests or ()
                    lines = [f"{request.run_key}\n" for request in requests]
                except Exception as error:  # noqa: BLE001 - what a tick left the next one does
                    lines = [f"tick failed: {' '.join(str(error).split())}\n"]
            os.write(log, "".join([*lines, "tick\n"]).encode())
