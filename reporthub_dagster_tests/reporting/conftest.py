"""Fixtures of the domain's tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from reporthub_dagster_tests.reporting.orders import SCHEMA


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    yield connection
    connection.close()
