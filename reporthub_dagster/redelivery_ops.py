"""The op that begins a redelivery: the files of an earlier run take the place of query and renderer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from reporthub_dagster import attempt, opening, ops, run_metadata
from reporthub_dagster.delivery_task import DeliveryTask
from reporthub_dagster.planning import plan_report, require_recipient
from reporthub_dagster.redelivering import open_archive, require_missing
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Execution, MadeReport
from reporthub_dagster.resources import HubDatabase, Mailer, OutputStore
from reporthub_dagster.run_config import RETRY_TAG, RedeliveryRunConfig
from reporthub_dagster.settings import Settings


@dg.op(
    out={
        "report": dg.Out(MadeReport, is_required=False),
        "task": dg.DynamicOut(DeliveryTask),
    }
)
def open_redelivery(
    context: dg.OpExecutionContext,
    config: RedeliveryRunConfig,
    hub: HubDatabase,
    store: OutputStore,
    mailer: Mailer,
) -> Iterator[Any]:
    """Claim the execution and find its files; one branch per delivery. Yields nothing when it has no turn."""
    by_person = RETRY_TAG not in context.run.tags
    with attempt.telling(context):
        execution = attempt.patiently(context, lambda: _asked_for(config, hub, mailer))
        folder = store.folder(execution.id)
        if by_person and execution.status != "running":
            open_archive(execution, folder)  # what has ended is not opened again in vain
        claim = attempt.patiently(
            context,
            lambda: attempt.claim_execution(context, hub, execution, by_person=by_person),
        )
    if claim is None:
        return
    with attempt.at_work(context, hub, execution.id, claim):
        opening.tag_run(context, opening.tags_of_execution(execution))
        archive = open_archive(execution, folder)
        plan = plan_report(
            hub.repository,
            opening.first_request(execution),
            execution_id=execution.id,
            now=datetime.now(UTC),
            default_timezone=Settings.load().default_timezone,
        )
        opening.tag_run(context, opening.tags_of_plan(plan))
        if by_person:
            hub.ledger.reopen(
                claim,
                delivery_id=config.delivery_id or None,
                recipient=config.recipient or None,
                include_unknown=config.include_unknown,
            )
        delivery_ids = hub.repository.active_delivery_ids(plan.config_id)
        _require_delivery(config, delivery_ids)
    report = MadeReport(plan, archive.results, archive.files)
    yield dg.Output(report, "report", metadata=run_metadata.of_product(report))
    for delivery_id in delivery_ids if plan.deliver != "none" else ():
        yield ops.branch_of(_task(config, delivery_id, insists=by_person), "task")


def _asked_for(config: RedeliveryRunConfig, hub: HubDatabase, mailer: Mailer) -> Execution:
    """The execution, if there is something that a person may ask of it.

    Raises:
        ConfigurationError: There is none of this id, it has not run yet, or the recipient is none or has it.
    """
    found = hub.executions.find(config.execution_id)
    if found is None:
        raise ConfigurationError(
            "there is no such execution", column="execution_id", value=config.execution_id
        )
    if found.status == "queued":
        raise ConfigurationError(
            "the execution still waits for its run", column="execution_id", value=config.execution_id
        )
    if config.recipient:
        require_missing(hub.ledger.of_execution(found.id), config.recipient)
        require_recipient(
            config.recipient, hub.repository, found.config_id, mailer.settings(), column="recipient"
        )
    return found


def _require_delivery(config: RedeliveryRunConfig, delivery_ids: tuple[int, ...]) -> None:
    if config.delivery_id and config.delivery_id not in delivery_ids:
        raise ConfigurationError(
            "the report has no active delivery of this id",
            column="delivery_id",
            value=config.delivery_id,
            valid=f"valid: {', '.join(map(str, delivery_ids))}",
        )


def _task(config: RedeliveryRunConfig, delivery_id: int, *, insists: bool) -> DeliveryTask:
    """Every delivery is looked at, since the outcome is about all; only who was asked for is sent to."""
    if config.delivery_id not in {0, delivery_id}:
        return DeliveryTask(delivery_id, only=())
    return DeliveryTask(delivery_id, (config.recipient,) if config.recipient else None, insists)
