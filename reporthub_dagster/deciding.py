"""Writing down whether an execution is sent: once, so that every attempt keeps to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reporthub_dagster.db.claims import Claim
from reporthub_dagster.db.delivery_logs import DeliveryLogs
from reporthub_dagster.db.digests import Digests
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.slots import note_slot
from reporthub_dagster.delivering import attempt_row
from reporthub_dagster.reporting.records import RenderedFile, ReportPlan

if TYPE_CHECKING:
    from reporthub_dagster.conditions import Judge, Judgement

SEND_IF = "send_if"
"""Key of `execution_context`: what was decided."""


def record_judgement(
    hub: Hub, claim: Claim, judge: Judge, files: Iterable[RenderedFile], delivery_ids: Iterable[int]
) -> str | None:
    """Decide whether to send, unless an earlier attempt has; returns why not.

    What goes to some only, or to nobody, goes as a person wants it.

    Raises:
        ReportHubError: The condition cannot be judged, or the claim is lost.
    """
    plan = judge.plan
    if plan.deliver != "all":
        return None
    earlier = _decided(hub, plan.execution_id)
    if earlier is not None:
        return earlier.not_sent
    judgement = judge.judge()
    document = {"not_sent": judgement.not_sent, "digest": judgement.digest}
    Executions(hub).remember(claim, {SEND_IF: document})
    if judgement.not_sent is not None:
        logs, made = DeliveryLogs(hub), tuple(files)
        for delivery_id in delivery_ids:
            logs.not_sent(attempt_row(plan, made, delivery_id, 0), judgement.not_sent)
        note_slot(hub, plan.execution_id, f"not sent: {judgement.not_sent}")
    return judgement.not_sent


def record_delivered(hub: Hub, plan: ReportPlan) -> None:
    """Remember what everybody has got now, for a report that goes out when it changes."""
    decided = _decided(hub, plan.execution_id)
    if decided is not None and decided.digest and decided.not_sent is None:
        Digests(hub).delivered(plan.config_id, decided.digest)


def _decided(hub: Hub, execution_id: str) -> Judgement | None:
    from reporthub_dagster.conditions import Judgement  # noqa: PLC0415 - Arrow loads slowly

    found = Executions(hub).find(execution_id)
    document = found.context.get(SEND_IF) if found else None
    return Judgement(document["not_sent"], document["digest"]) if document else None
