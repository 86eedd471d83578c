"""The jobs `test_delivery` and `test_datasource`: one op each, its steps and times as metadata."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from reporthub_dagster.opening import tag_run
from reporthub_dagster.resources import HubDatabase, Mailer
from reporthub_dagster.run_config import DATASOURCE_TAG

if TYPE_CHECKING:
    from reporthub_dagster.trial import Trial

_DELIVERY = """
Tries one row of `report_deliveries`: **row → server → probe**. It delivers no report and writes no log row;
where that is harmless it writes a small file and removes it again.

```yaml
ops:
  try_one_delivery:
    config:
      delivery_id: 7
      # empty: nothing is sent
      to: me@example.com
```

Each step and its time is in the metadata of the run; what failed says what to change.
"""

_DATASOURCE = """
Tries one row of `report_datasources`: **row → address → server → trivial query → rights**.

```yaml
ops:
  try_one_datasource:
    config:
      datasource_id: 3
```

Each step and its time is in the metadata of the run; what failed says what to change.
"""

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

    delivery_id: int = Field(description="Which delivery: `report_deliveries.id`.")
    to: str = Field(
        default="",
        description="Of an e-mail delivery: an address that gets a small file, marked as test. Empty: "
        "nothing is sent, the server is only asked.",
    )


class DatasourceTrialConfig(dg.Config):
    """Which data source is tried."""

    datasource_id: int = Field(description="Which data source: `report_datasources.id`.")


@dg.op
def try_one_delivery(
    context: dg.OpExecutionContext, config: DeliveryTrialConfig, hub: HubDatabase, mailer: Mailer
) -> None:
    """Connect, authenticate, write and remove a probe where that is harmless."""
    from reporthub_dagster.trial import try_delivery  # noqa: PLC0415 - Arrow loads slowly

    tag_run(context, {"reporthub/delivery_id": str(config.delivery_id)})
    now = datetime.now(UTC)
    _report(
        context, try_delivery(hub.repository, mailer.settings(), config.delivery_id, to=config.to, now=now)
    )


@dg.op
def try_one_datasource(
    context: dg.OpExecutionContext, config: DatasourceTrialConfig, hub: HubDatabase
) -> None:
    """Connect, authenticate, run a trivial query."""
    from reporthub_dagster.trial import try_data_source  # noqa: PLC0415 - Arrow loads slowly

    tag_run(context, {DATASOURCE_TAG: str(config.datasource_id)})
    _report(context, try_data_source(hub.repository, config.datasource_id))


@dg.job(description=_DELIVERY.strip(), executor_def=dg.in_process_executor, tags={"reporthub/kind": "test"})
def test_delivery() -> None:
    """Row → server → probe."""
    try_one_delivery()


@dg.job(description=_DATASOURCE.strip(), executor_def=dg.in_process_executor, tags={"reporthub/kind": "test"})
def test_datasource() -> None:
    """Row → server → query."""
    try_one_datasource()


def _report(context: dg.OpExecutionContext, trial: "Trial") -> None:
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
