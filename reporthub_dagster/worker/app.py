"""The Celery application of launcher and workers: every option in one place.

What they promise together: a message stays with the broker until its run has ended, so that a worker that is
killed loses none; a second delivery of the same message is harmless, because a run that has started is not
started again, and an execution that somebody works on is not claimed again.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Queue

QUEUE = "reporthub"
TASK = "reporthub.execute_run"

REDELIVERY_SECONDS = 300
"""Redis alone: after so long it hands a message out again that nobody has acknowledged.

It cannot see that a worker died, so this is how long a run that had not started waits then. A report that
takes longer is handed out a second time: whoever gets that looks at the run, finds it started, and drops it.
RabbitMQ sees a worker's connection end, and hands its messages out at once.
"""
LOOK_SECONDS = 10
"""Redis alone: how often a worker looks for such messages."""
_LONGEST_RUN_SECONDS = 4 * 3600
"""RabbitMQ alone, from 3.12: it takes a worker for dead that holds a message for longer."""
_QUEUE = Queue(  # type: ignore[no-untyped-call]
    QUEUE, queue_arguments={"x-consumer-timeout": _LONGEST_RUN_SECONDS * 1000}
)
_OPTIONS: dict[str, Any] = {
    "task_default_queue": QUEUE,
    "task_queues": [_QUEUE],
    # A message is acknowledged when its run has ended; what a killed process held goes to another one.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # With late acknowledgement: no more messages than processes, so nothing waits behind a long report.
    "worker_prefetch_multiplier": 1,
    # What became of a run stands in Dagster's database; a second place could only contradict it.
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    # Cancelling goes through Dagster's database too, which a worker that reconnects does not miss.
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    # Reports go on while the broker is away; it is tried for until it is back.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_redirect_stdouts": False,
    "task_publish_retry_policy": {
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
    },
}


def celery_app(broker: str) -> Celery:
    """The application on a broker.

    Args:
        broker: `amqp://…` of RabbitMQ, or `redis://…`.
    """
    app = Celery("reporthub", broker=broker, set_as_current=False)
    app.conf.update(_OPTIONS, broker_transport_options=_transport_options(broker))
    return app


def _transport_options(broker: str) -> dict[str, Any]:
    if broker.startswith("redis"):
        looks = {"unacked_restore_interval": LOOK_SECONDS, "unacked_restore_throttle": 1}
        return {"visibility_timeout": REDELIVERY_SECONDS, **looks}
    # RabbitMQ says that it has a message before the run counts as launched.
    return {"confirm_publish": True}
