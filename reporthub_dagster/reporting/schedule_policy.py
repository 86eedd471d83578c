"""What a report wants of its schedules: `parameters.schedule`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reporthub_dagster.reporting.errors import ConfigurationError

CatchUp = Literal["latest", "all", "skip"]
Overlap = Literal["queue", "skip", "allow"]
Bound = time | datetime | date
"""A time of day, a moment, or a day; in the schedule's zone."""

MOST_JITTER_SECONDS = 3600
MOST_GRACE_MINUTES = 366 * 24 * 60
_BOUND = "write 08:30, 2025-01-31 or 2025-01-31 08:30, in the schedule's zone"


class SchedulePolicy(BaseModel):
    """How a report's schedules treat slots that cannot simply run when they are due.

    Attributes:
        catch_up: Of slots missed together: `latest` runs the last one, `all` each of them, `skip` the last
            one unless it is older than the grace.
        misfire_grace_minutes: How late a slot may be under `skip`.
        overlap: While an earlier execution of the schedule is not over: `queue` waits, `skip` leaves the slot
            out, `allow` runs beside it.
        not_before: Slots before it are skipped. A time of day is meant every day; with a `not_before` later
            than `not_after`, across midnight.
        not_after: Slots after it are skipped; a day is included whole.
        jitter_seconds: A schedule starts up to so many seconds after its slots, always the same number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catch_up: CatchUp = "latest"
    misfire_grace_minutes: int = Field(60, ge=0, le=MOST_GRACE_MINUTES)
    overlap: Overlap = "queue"
    not_before: Bound | None = None
    not_after: Bound | None = None
    jitter_seconds: int = Field(0, ge=0, le=MOST_JITTER_SECONDS)

    @field_validator("not_before", "not_after", mode="plain")
    @classmethod
    def _bound(cls, value: object) -> Bound | None:
        return value if value is None or isinstance(value, (time, date)) else _parse_bound(value)

    @property
    def grace(self) -> timedelta:
        """How late a slot may be under `skip`."""
        return timedelta(minutes=self.misfire_grace_minutes)

    def reason_outside(self, local: datetime) -> str | None:
        """Why a slot may not run at a wall time of its zone; None when it may."""
        low, high, at = self.not_before, self.not_after, local.replace(tzinfo=None)
        if isinstance(low, time) and isinstance(high, time) and low > high:
            in_night = at.time() >= low or at.time() <= high
            return None if in_night else f"between not_after {high:%H:%M} and not_before {low:%H:%M}"
        if low is not None and _is_before(at, low):
            return f"before not_before {_text(low)}"
        if high is not None and _is_after(at, high):
            return f"after not_after {_text(high)}"
        return None


def parse_policy(config_id: int, parameters: object, defaults: SchedulePolicy) -> SchedulePolicy:
    """The policy of a report; what `parameters.schedule` does not say comes from `defaults`.

    Raises:
        ConfigurationError: `parameters` is not a JSON object, or `schedule` in it is not a valid policy.
    """
    if parameters is None:
        return defaults
    if not isinstance(parameters, Mapping):
        raise _refused(config_id, "parameters", None, 'not a JSON object; for example {"key": "value"}')
    given = parameters.get("schedule")
    if given is None:
        return defaults
    if not isinstance(given, Mapping):
        raise _refused(
            config_id, "parameters.schedule", given, 'not a JSON object; for example {"catch_up": "latest"}'
        )
    values = {**defaults.model_dump(), **{key: value for key, value in given.items() if value is not None}}
    try:
        return SchedulePolicy.model_validate(values)
    except ValidationError as invalid:
        raise _first_of(config_id, invalid) from None


def _first_of(config_id: int, invalid: ValidationError) -> ConfigurationError:
    first = invalid.errors(include_url=False, include_context=False)[0]
    column = ".".join(["parameters.schedule", *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        known = ", ".join(SchedulePolicy.model_fields)
        return _refused(config_id, column, None, f"there is no such key; valid: {known}")
    said = first["msg"].removeprefix("Value error, ")
    return _refused(config_id, column, first["input"], f"not valid; {said}")


def _refused(config_id: int, column: str, value: Any, words: str) -> ConfigurationError:
    problem, _, valid = words.partition("; ")
    return ConfigurationError(
        problem, table="report_configs", row=config_id, column=column, value=value, valid=valid
    )


def _parse_bound(value: object) -> Bound:
    if isinstance(value, str):
        text = value.strip()
        for parse in (time.fromisoformat, date.fromisoformat, datetime.fromisoformat):
            try:
                found = parse(text)
            except ValueError:
                continue
            if getattr(found, "tzinfo", None) is None and ("T" not in text or len(text) > len("T08:30:00")):
                return found
    raise ValueError(_BOUND)


def _is_before(at: datetime, bound: Bound) -> bool:
    if isinstance(bound, time):
        return at.time() < bound
    return at < bound if isinstance(bound, datetime) else at.date() < bound


def _is_after(at: datetime, bound: Bound) -> bool:
    if isinstance(bound, time):
        return at.time() > bound
    return at > bound if isinstance(bound, datetime) else at.date() > bound


def _text(bound: Bound) -> str:
    if isinstance(bound, time):
        return f"{bound:%H:%M}"
    return f"{bound:%Y-%m-%d %H:%M}" if isinstance(bound, datetime) else bound.isoformat()
