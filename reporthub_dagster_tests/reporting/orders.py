"""A small database of orders, and the way of a query with conditions through it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.filters import apply_conditions
from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.reporting.sql_gate import require_one_select
from reporthub_dagster.reporting.sql_template import bind_template
from reporthub_dagster_tests.reporting.builders import window

SCHEMA = """
CREATE TABLE orders (
  id INTEGER, merchant_id TEXT, status TEXT, amount REAL, created_at TEXT, "order" INTEGER
);
INSERT INTO orders VALUES
  (1, 'M-77', 'PAID',    10, '2025-01-29 23:59:59', 1),
  (2, 'M-77', 'PAID',    20, '2025-01-30 00:00:00', 2),
  (3, 'M-77', 'FAILED',  30, '2025-01-30 12:00:00', 3),
  (4, 'M-88', 'SETTLED', 40, '2025-01-30 23:59:59', 4),
  (5, 'M-77', 'PAID',    50, '2025-01-31 00:00:00', 5),
  (6, NULL,   NULL,      60, '2025-01-30 06:00:00', 6);
CREATE TABLE refunds (id INTEGER, order_id INTEGER, created_at TEXT);
INSERT INTO refunds VALUES (91, 2, '2025-01-30 10:00:00'), (92, 3, '2025-01-31 10:00:00');
"""


def applied(
    sql: str,
    *,
    date_field: str | None = None,
    filters: Sequence[Mapping[str, Any]] = (),
    values: Mapping[str, Any] | None = None,
    of: TimeWindow | None = None,
    dialect: str = "sqlite",
) -> BoundQuery:
    query = bind_template(sql, values or {}, dialect)
    found = apply_conditions(
        query,
        dialect=dialect,
        window=of or window(),
        date_field=date_field,
        filters=filters,
        values=values or {},
    )
    require_one_select(found.text("named"), dialect)
    return found


def ids(database: sqlite3.Connection, query: BoundQuery) -> set[Any]:
    rows = database.execute(query.text("qmark"), query.sequence()).fetchall()
    assert rows == database.execute(query.text("named"), query.values).fetchall()
    return {row[0] for row in rows}
