"""What tests of scripts share: the rows that they get, and a way to run one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from reporthub_dagster.sandbox.protocol import Job
from reporthub_dagster.sandbox.results import spool_result
from reporthub_dagster.sandbox.running import Runner, require_done
from reporthub_dagster.storage.spool import Spool, new_spool, text_field

PARAMS = {"start_date": "2026-01-01", "end_date": "2026-01-31"}
SMALL = 256 << 20


def table(rows: int = 60) -> pa.Table:
    """Rows with a column of every type that connectors produce."""
    numbers = range(rows)
    zone = pa.timestamp("us", "UTC")
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "n": (pa.int64(), [None if i % 7 == 3 else 2**53 + i for i in numbers]),
        "category": (pa.utf8(), ["abc"[i % 3] for i in numbers]),
        "name": (pa.utf8(), [("Ann", "Bo ✈", "Alan")[i % 3] for i in numbers]),
        "price": (pa.float64(), [i * 1.5 for i in numbers]),
        "amount": (
            pa.decimal128(20, 2),
            [None if i % 5 == 4 else Decimal(i) + Decimal("0.25") for i in numbers],
        ),
        "at": (zone, [datetime(2026, 3, 28, tzinfo=UTC) + timedelta(hours=i) for i in numbers]),
        "day": (pa.date32(), [date(2026, 1, 1) + timedelta(days=i) for i in numbers]),
        "text": (pa.utf8(), [f"k{i}-v{i}" for i in numbers]),
        "flag": (pa.bool_(), [None if i % 4 == 0 else i % 2 == 0 for i in numbers]),
        "small": (pa.uint8(), [i % 200 for i in numbers]),
        "clock": (pa.time64("us"), [time(i % 24, 5) for i in numbers]),
        "took": (pa.duration("us"), [timedelta(hours=30 + i) for i in numbers]),
        "raw": (pa.binary(), [bytes([i % 256]) for i in numbers]),
    }
    fields = [pa.field(name, kind) for name, (kind, _) in columns.items()]
    arrays = [pa.array(values, kind) for kind, values in columns.values()]
    texts = [None if i % 6 == 5 else f'{{"k": {i}}}' for i in numbers]
    exact = [None if i % 6 == 5 else f"{i}.0000000000000000000000000000000001" for i in numbers]
    fields += [text_field("doc", "json"), text_field("exact", "decimal")]
    return pa.Table.from_arrays([*arrays, pa.array(texts), pa.array(exact)], schema=pa.schema(fields))


def write_spool(rows: pa.Table, path: Path) -> Path:
    with new_spool(path, rows.schema) as spool:
        for batch in rows.to_batches():
            spool.write(batch)
    return path


@dataclass
class Given:
    """What a script gave."""

    tables: list[pa.Table]
    printed: str
    more: bool


class Scripts:
    """Runs scripts over a table, or over one for each name."""

    def __init__(self, runner: Runner, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.spool = write_spool(table(), folder / "spool.arrow")

    def run(
        self,
        script: str,
        rows: pa.Table | Mapping[str, pa.Table] | None = None,
        *,
        params: Mapping[str, Any] = PARAMS,
        seconds: float = 30,
        memory: int = SMALL,
        max_rows: int = 1_000_000,
    ) -> Given:
        """Run a script to its end.

        Raises:
            ScriptError: It gives no result.
        """
        inputs: Sequence[Path] = [self.spool]
        names: tuple[str, ...] = ("",)
        if isinstance(rows, pa.Table):
            inputs = [write_spool(rows, self.folder / "other.arrow")]
        elif rows is not None:
            inputs = [write_spool(one, self.folder / f"{name}.arrow") for name, one in rows.items()]
            names = tuple(rows)
        job = Job(script, names, params, seconds, memory)
        with tempfile.TemporaryFile(dir=self.folder) as result:
            ended = self.runner.start(job, inputs, result).wait()
            outcome = require_done(ended, job)
            result.seek(0)
            tables, more = [], False
            for number, _ in enumerate(outcome.results):
                target = self.folder / f"result-{number}.arrow"
                more = spool_result(result, target, max_rows=max_rows)[2] or more
                tables.append(Spool.open(target).head(1_000_000))
            return Given(tables, ended.printed, more)
