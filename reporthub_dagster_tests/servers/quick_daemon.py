"""Dagster's daemon, which looks after backfills and sensors every second instead of every thirty and five.

It says where its threads are when it gets SIGUSR1.
"""

from __future__ import annotations

import faulthandler
import signal

from dagster._daemon import controller, sensor
from dagster._daemon.cli import main

if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
    sensor.MIN_INTERVAL_LOOP_TIME = 1
    main()
