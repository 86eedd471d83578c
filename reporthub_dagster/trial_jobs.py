"""The jobs `test_delivery` and `test_datasource`: one op each, its steps and times as metadata."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from reporthub_dagster.resources import HubDatabase, Mailer
from reporthub_dagster.trial import Trial, try_data_source, try_delivery

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("step"),
        dg.TableColumn("succeeded", "bool"),
        dg.TableColumn("milliseconds", "int"),
        dg.TableColumn("detail"),
    ]
)


class DeliveryTrialConfig(dg.Config):
    """Which delivery is tried."""

    delivery_id: int = Field(description="Row of report_deliveries.", ge=1)
    to: str = Field(
        "", description="Of an e-mail delivery: an address that gets a small file, marked as test."
    )


class DatasourceTrialConfig(dg.Config):
    """Which data source is tried."""

    datasource_id: int = Field(description="Row of report_datasources.", ge=1)


@dg.op
def try_one_delivery(
    context: dg.OpExecutionContext, config: DeliveryTrialConfig, hub: HubDatabase, mailer: Mailer
) -> None:
    """Connect, authenticate, write and remove a probe where that is harmless."""
    now = datetime.now(UTC)
    _report(
        context, try_delivery(hub.repository, mailer.settings(), config.delivery_id, to=config.to, now=now)
    )


@dg.op
def try_one_datasource(
    context: dg.OpExecutionContext, config: DatasourceTrialConfig, hub: HubDatabase
) -> None:
    """Connect, authenticate, run a trivial query."""
    _report(context, try_data_source(hub.repository, config.datasource_id))


@dg.job(executor_def=dg.in_process_executor, tags={"reporthub/kind": "test"})
def test_delivery() -> None:
    """Tries one row of `report_deliveries`; delivers no report and writes no log row."""
    try_one_delivery()


@dg.job(executor_def=dg.in_process_executor, tags={"reporthub/kind": "test"})
def test_datasource() -> None:
    """Tries one row of `report_datasources`."""
    try_one_datasource()


def _report(context: dg.OpExecutionContext, trial: Trial) -> None:
    """What was tried, on the run page.

    Raises:
        dagster.Failure: Something failed; with what to change.
    """
    records = [
        dg.TableRecord(
            {"step": s.name, "succeeded": s.succeeded, "milliseconds": s.milliseconds, "detail": s.detail}
        )
        for s in trial.steps
    ]
    metadata: dict[str, Any] = {
        "subject": trial.subject,
        "steps": dg.MetadataValue.table(records, schema=_COLUMNS),
    }
    if trial.error is not None:
        raise dg.Failure(str(trial.error), metadata=metadata, allow_retries=False)
    context.add_output_metadata(metadata)
