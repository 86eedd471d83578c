"""What one branch of a run is to deliver: to whom, as a test or for real, with which words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from reporthub_dagster.reporting.file_name import moment_variables
from reporthub_dagster.reporting.records import Delivery, Recipient, RenderedFile, ReportPlan
from reporthub_dagster.reporting.template_values import texts_of


@dataclass(frozen=True, slots=True)
class DeliveryTask:
    """What one branch of a run is to do.

    Attributes:
        only: Nobody but these; None for everybody who is due.
        insists: A person asks for it: also a server that is away is tried.
    """

    delivery_id: int
    only: tuple[str, ...] | None = None
    insists: bool = False


def as_test(delivery: Delivery, addresses: Iterable[str]) -> Delivery | None:
    """A delivery as a test run tries it: to these addresses and nobody else; None where it is no e-mail."""
    if delivery.method != "email":
        return None
    options = {key: value for key, value in delivery.options.items() if key not in {"cc", "bcc"}}
    callers = tuple(Recipient(0, "email", address, {}) for address in addresses)
    return replace(delivery, options=options, recipients=callers)


def parcel_variables(plan: ReportPlan, files: Sequence[RenderedFile] = ()) -> Mapping[str, str]:
    """Values for the templates of a delivery that belong to the report; the parcel's own come beside them."""
    moment = plan.window.as_of.astimezone(ZoneInfo(plan.window.timezone))
    return {
        **texts_of(plan.variables),
        "report_name": plan.report_name,
        "timezone": plan.window.timezone,
        **moment_variables(moment),
        "ext": files[0].path.suffix.lstrip(".") if files else "",
    }
