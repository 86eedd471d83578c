"""Celery applications of the rivals in `benchmarks.dispatch`, for `celery -A benchmarks.dispatch_tasks:…`."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from celery import Celery
from sqlalchemy import Engine, create_engine, text

START = "UPDATE report_executions SET status = 'running' WHERE id = :id"
END = "UPDATE report_executions SET status = 'completed', completed_at = NOW() WHERE id = :id"


def shipped_app(broker: str) -> Celery:
    """dagster-celery's task for its `CeleryRunLauncher`, as shipped."""
    from dagster_celery.make_app import make_app  # noqa: PLC0415 - one worker's alone
    from dagster_celery.tasks import create_execute_job_task  # noqa: PLC0415

    arguments = {"broker": broker, "backend": broker, "task_default_queue": "dagster"}
    app: Celery = make_app(app_args=arguments)  # type: ignore[no-untyped-call]
    create_execute_job_task(app)
    return app


def plain_app(broker: str) -> Celery:
    """The replaced design: a task that reads with pandas, writes the file and the execution's outcome."""
    app = Celery("plain", broker=broker, backend=None)
    app.conf.task_default_queue = "plain"

    @app.task(name="plain.report")  # type: ignore[untyped-decorator]
    def report(execution_id: str) -> None:
        import pandas as pd  # noqa: PLC0415 - the worker's, not the sender's

        engine = _engine()
        with engine.begin() as connection:
            connection.execute(text(START), {"id": execution_id})
        frame = pd.read_sql("SELECT * FROM src", engine)
        folder = Path(os.environ["REPORTHUB_HOME"]) / "plain"
        folder.mkdir(exist_ok=True)
        frame.to_csv(folder / f"{execution_id}.csv", index=False)
        with engine.begin() as connection:
            connection.execute(text(END), {"id": execution_id})

    return app


@cache
def _engine() -> Engine:
    return create_engine(os.environ["REPORTHUB_DATABASE_URL"])


def __getattr__(name: str) -> Celery:
    """The application that a worker was told to run, on the broker of the environment."""
    apps = {"shipped": shipped_app, "plain": plain_app}
    if name not in apps:
        raise AttributeError(name)
    return apps[name](os.environ["REPORTHUB_BROKER_URL"])
