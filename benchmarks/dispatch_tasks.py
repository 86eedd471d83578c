"""Celery applications of the rivals in `benchmarks.dispatch`, for `celery -A benchmarks.dispatch_tasks:…`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery

BROKER = os.environ.get("REPORTHUB_BROKER_URL", "")
QUEUES = {"shipped": "dagster", "plain": "plain"}


def shipped_app() -> Celery:
    """dagster-celery's task for its `CeleryRunLauncher`, as shipped."""
    from dagster_celery.make_app import make_app  # noqa: PLC0415 - one worker's alone
    from dagster_celery.tasks import create_execute_job_task  # noqa: PLC0415

    arguments = {"broker": BROKER, "backend": BROKER, "task_default_queue": QUEUES["shipped"]}
    app: Celery = make_app(app_args=arguments)  # type: ignore[no-untyped-call]
    create_execute_job_task(app)
    return app


def plain_app() -> Celery:
    """The replaced design: a task that reads with pandas, writes the file and the execution's outcome."""
    app = Celery("plain", broker=BROKER, backend=None)
    app.conf.task_default_queue = QUEUES["plain"]
    kept: dict[str, Any] = {}

    @app.task(name="plain.report")  # type: ignore[untyped-decorator]
    def report(execution_id: str) -> None:
        import pandas as pd  # noqa: PLC0415
        from sqlalchemy import create_engine, text  # noqa: PLC0415

        url = os.environ["REPORTHUB_DATABASE_URL"]
        engine = kept.setdefault("engine", None) or kept.update(engine=create_engine(url)) or kept["engine"]
        row = {"id": execution_id}
        with engine.begin() as connection:
            start = "UPDATE report_executions SET status = 'running' WHERE id = :id"
            connection.execute(text(start), row)
        frame = pd.read_sql("SELECT * FROM src", engine)
        path = Path(os.environ["REPORTHUB_HOME"]) / "plain" / f"{execution_id}.csv"
        path.parent.mkdir(exist_ok=True)
        frame.to_csv(path, index=False)
        with engine.begin() as connection:
            end = "UPDATE report_executions SET status = 'completed', completed_at = NOW() WHERE id = :id"
            connection.execute(text(end), row)

    return app


shipped = shipped_app() if BROKER else None
plain = plain_app() if BROKER else None
