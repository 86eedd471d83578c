"""The run launcher of `deploy/dagster.yaml`: runs go to the workers of `reporthub worker`.

dagster-celery's `CeleryRunLauncher` is not used. It asks a Celery result backend whether a run lives, which
shows a run as started for ever after kill -9, and one whose result it has lost as dead: our leases know. It
cancels by a signal to a process that may be at another run by then. And its task opens Dagster's storage
anew for every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from kombu.exceptions import OperationalError

from reporthub_dagster.dagster_internals import (
    ConfigurableClass,
    ConfigurableClassData,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    RunLauncher,
)
from reporthub_dagster.reporting.redaction import redact, secrets_of_url
from reporthub_dagster.worker.app import TASK, celery_app

_NOT_STARTED = {dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING}


class ReportRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Hands runs to workers over RabbitMQ or Redis.

    Whether a run lives is not asked of the launcher (`supports_check_run_worker_health` stays False).

    Args:
        broker: URL of the broker.
        inst_data: Where in `dagster.yaml` this came from.
    """

    def __init__(self, broker: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._celery = celery_app(broker)
        self._secrets = secrets_of_url(broker)

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Where in `dagster.yaml` this came from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """What stands in `dagster.yaml`."""
        return {"broker": dg.Field(dg.StringSource, description="URL of RabbitMQ or Redis.")}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """What Dagster calls with the launcher's part of `dagster.yaml`."""
        return cls(broker=config_value["broker"], inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put a run into the queue.

        Raises:
            DagsterUserCodeUnreachableError: The broker does not answer. It is Dagster's one error after which
                a run goes back to its own queue, to be launched again a minute later.
        """
        run_id = context.dagster_run.run_id
        try:
            self._celery.send_task(TASK, kwargs={"run_id": run_id}, task_id=run_id)
        except (OperationalError, OSError) as error:
            words = redact(str(error), self._secrets)
            raise DagsterUserCodeUnreachableError(f"the broker does not answer: {words}") from None

    def terminate(self, run_id: str) -> bool:
        """Ask for the end of a run; its worker looks every few seconds whether somebody has."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if run.status in _NOT_STARTED:
            self._instance.report_run_canceled(run)
        return True
