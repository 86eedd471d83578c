"""Instants as wall-clock time: the same as Python's own conversion, for every zone and date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.renderers.zones import floor_divide, offset_texts, wall_clock

ZONES = ["UTC", "Asia/Jakarta", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
within = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC))  # noqa: DTZ001

of_one_year = st.datetimes(datetime(2025, 1, 1), datetime(2025, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
some = st.lists(st.none() | within, min_size=1) | st.lists(st.none() | of_one_year, min_size=1)


@given(moments=some, zone=st.sampled_from(ZONES).map(ZoneInfo))
def test_local_times_are_those_of_zoneinfo(moments: list[datetime | None], zone: ZoneInfo) -> None:
    local, offsets = wall_clock(pa.array(moments, pa.timestamp("us", "UTC")), zone)

    there = [moment and moment.astimezone(zone) for moment in moments]
    assert local.to_pylist() == [moment and moment.replace(tzinfo=None) for moment in there]
    assert offsets.cast(pa.duration("us")).to_pylist() == [moment and moment.utcoffset() for moment in there]


def test_the_hour_of_a_change_is_exact_on_both_sides() -> None:
    change = datetime(2025, 10, 26, 1, tzinfo=UTC)
    moments = [change - timedelta(microseconds=1), change]

    local, offsets = wall_clock(pa.array(moments, pa.timestamp("us", "UTC")), ZoneInfo("Europe/Berlin"))

    assert [str(moment) for moment in local.to_pylist()] == [
        "2025-10-26 02:59:59.999999",
        "2025-10-26 02:00:00",
    ]
    assert offset_texts(offsets).to_pylist() == ["+02:00", "+01:00"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "+00:00"), (25_200, "+07:00"), (-16_200, "-04:30"), (25_632, "+07:07:12"), (-17_762, "-04:56:02")],
)
def test_offsets_are_written_with_their_seconds_where_they_have_any(seconds: int, text: str) -> None:
    assert offset_texts(pa.array([seconds * 1_000_000, None], pa.int64())).to_pylist() == [text, None]


@given(numbers=st.lists(st.none() | st.integers(-(2**62), 2**62)), divisor=st.integers(1, 2**40))
def test_division_rounds_down(numbers: list[int | None], divisor: int) -> None:
    quotients = floor_divide(pa.array(numbers, pa.int64()), divisor).to_pylist()

    assert quotients == [None if number is None else number // divisor for number in numbers]
