"""`parameters.schedule`: what people write, what it means, and what a wrong value says."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy, parse_policy

DEFAULTS = SchedulePolicy(catch_up="skip", misfire_grace_minutes=5)


def parse(**schedule: Any) -> SchedulePolicy:
    return parse_policy(7, {"schedule": schedule}, DEFAULTS)


@pytest.mark.parametrize("parameters", [None, {}, {"schedule": None}, {"schedule": {}}])
def test_who_says_nothing_gets_the_defaults(parameters: object) -> None:
    assert parse_policy(7, parameters, DEFAULTS) == DEFAULTS


def test_what_is_said_comes_before_the_defaults() -> None:
    policy = parse(catch_up="all", overlap=None)
    assert (policy.catch_up, policy.overlap, policy.misfire_grace_minutes) == ("all", "queue", 5)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        pytest.param("08:30", time(8, 30), id="time-of-day"),
        pytest.param("2025-01-31", date(2025, 1, 31), id="day"),
        pytest.param("2025-01-31 08:30", datetime(2025, 1, 31, 8, 30), id="moment"),  # noqa: DTZ001 - wall time
        pytest.param("2025-01-31T08:30", datetime(2025, 1, 31, 8, 30), id="iso-moment"),  # noqa: DTZ001 - as above
    ],
)
def test_bounds_are_times_days_or_moments(text: str, bound: object) -> None:
    assert parse(not_before=text).not_before == bound


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        pytest.param({"catch_up": "last"}, r"catch_up: not valid \(value 'last'\); .*'latest'", id="word"),
        pytest.param({"misfire_grace_minutes": -1}, r"misfire_grace_minutes: .*\(value -1\)", id="low"),
        pytest.param({"jitter_seconds": 9999}, r"jitter_seconds: .*3600", id="high"),
        pytest.param({"not_after": "tomorrow"}, r"not_after: .*'tomorrow'.*08:30", id="no-moment"),
        pytest.param({"not_after": "2025-01-31 08:00+07:00"}, r"not_after: ", id="another-zone"),
        pytest.param({"not_before": 8}, r"not_before: .*\(value 8\)", id="number"),
        pytest.param({"catchup": "all"}, r"catchup: there is no such key; valid: catch_up", id="typo"),
    ],
)
def test_a_wrong_value_names_its_row_and_key(schedule: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^report_configs 7, column parameters.schedule.{words}"):
        parse(**schedule)


@pytest.mark.parametrize("parameters", [[], "x", {"schedule": "daily"}])
def test_what_is_no_object_is_refused(parameters: object) -> None:
    with pytest.raises(ConfigurationError, match=r"report_configs 7, column parameters.*not a JSON object"):
        parse_policy(7, parameters, DEFAULTS)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        pytest.param({"not_before": "08:00"}, ["08:00", "23:59"], ["07:59"], id="from-a-time"),
        pytest.param(
            {"not_before": "08:00", "not_after": "18:00"}, ["08:00", "18:00"], ["07:59", "18:01"], id="day"
        ),
        pytest.param(
            {"not_before": "22:00", "not_after": "06:00"}, ["22:00", "00:00", "06:00"], ["06:01"], id="night"
        ),
        pytest.param({"not_after": "2025-01-31"}, ["23:59"], [], id="the-last-day-is-whole"),
        pytest.param({"not_after": "2025-01-30"}, [], ["00:00"], id="after-the-last-day"),
        pytest.param({"not_before": "2025-02-01"}, [], ["23:59"], id="before-the-first-day"),
        pytest.param({"not_before": "2025-01-31 12:00"}, ["12:00"], ["11:59"], id="from-a-moment"),
        pytest.param({"not_after": "2025-01-31 12:00"}, ["12:00"], ["12:01"], id="until-a-moment"),
    ],
)
def test_slots_outside_the_bounds_have_a_reason(
    bounds: dict[str, str], inside: list[str], outside: list[str]
) -> None:
    policy = parse(**bounds)

    def reason(text: str) -> str | None:
        return policy.reason_outside(datetime.fromisoformat(f"2025-01-31 {text}"))

    assert [text for text in inside if reason(text)] == []
    assert [text for text in outside if not reason(text)] == []
