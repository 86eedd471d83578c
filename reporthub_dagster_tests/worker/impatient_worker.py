"""`reporthub worker` on a Redis that hands out again after a second, not minutes, what is not answered."""

from __future__ import annotations

from reporthub_dagster.cli import main
from reporthub_dagster.worker import app

if __name__ == "__main__":
    app.REDELIVERY_SECONDS = app.LOOK_SECONDS = 1
    main()
