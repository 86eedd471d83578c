"""Every format from one spool, beside pandas' writers doing the same from a DataFrame.

`python -m benchmarks.renderers [ROWS] [FORMAT …]` makes a spool of 13 columns of mixed types, runs each
contender in a process of its own and prints CPU seconds, peak memory and ratios. Both start from the spool;
pandas gets its rows as the objects that `read_sql` gives (Decimal, date), which is what it writes in real
life. It fails when a goal is missed. Our process runs as it is installed, without pandas.

The rivals: `to_csv`, `to_excel(engine="openpyxl")`, `to_json(orient="records")`, the same with `lines=True`,
`to_parquet`, `to_html`. A pdf has no rival: its goals are its own. 50,000 rows are what a person waits for
in Excel's rival; xlsx of more rows is measured without it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.contenders import WithoutPandas
from benchmarks.measure import Usage, measured, report

MODULE = "benchmarks.renderers"
ROWS = 1_000_000
_BATCH = 16_384
_MOST_EXCEL_ROWS = 50_000


@dataclass(frozen=True)
class Goal:
    """What a format has to reach.

    Attributes:
        most_rows: Rows that the format is measured with at most.
        ratio: Times less CPU than the rival; 0 without one.
        cpu, rss: Most seconds, most MB (10^6 bytes).
    """

    most_rows: int
    ratio: float
    cpu: float
    rss: float


GOALS = {
    "csv": Goal(1_000_000, 2, 10, 200),
    "xlsx": Goal(_MOST_EXCEL_ROWS, 12, 15, 220),
    "json": Goal(1_000_000, 1, 10, 220),
    "jsonl": Goal(1_000_000, 1, 10, 220),
    "parquet": Goal(1_000_000, 1, 10, 250),
    "html": Goal(10_000, 1, 5, 200),
    "pdf": Goal(20_000, 0, 15, 200),
}


def main(rows: int, formats: list[str]) -> int:
    """Measure and print; returns 1 when a goal is missed."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    print(f"{'':10}{'rows':>10}{'CPU s':>8}{'peak MB':>9}{'pandas':>9}{'MB':>7}{'ratio':>8}  goal")
    try:
        holds = [_measure(home, kind, rows) for kind in formats]
        if "xlsx" in formats and rows > _MOST_EXCEL_ROWS:
            holds.append(_measure_alone(home, "xlsx", rows, Goal(rows, 0, 15, 220)))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0 if all(holds) else 1


def _measure(home: Path, kind: str, rows: int) -> bool:
    goal = GOALS[kind]
    rows = min(rows, goal.most_rows)
    if not goal.ratio:
        return _measure_alone(home, kind, rows, goal)
    spool = _spool(home, rows)
    ours, rival = _run("ours", kind, spool), _run("pandas", kind, spool)
    ratio = rival.cpu / ours.cpu
    holds = ratio >= goal.ratio and _within(ours, goal)
    print(
        _line(kind, rows, ours) + f"{rival.cpu:9.2f}{rival.rss:7.0f}{ratio:7.1f}x{_verdict(holds)}",
        flush=True,
    )
    return holds


def _measure_alone(home: Path, kind: str, rows: int, goal: Goal) -> bool:
    ours = _run("ours", kind, _spool(home, rows))
    holds = _within(ours, goal)
    print(_line(kind, rows, ours) + " " * 24 + _verdict(holds), flush=True)
    return holds


def _within(ours: Usage, goal: Goal) -> bool:
    return ours.cpu <= goal.cpu and ours.rss <= goal.rss


def _run(contender: str, kind: str, spool: Path) -> Usage:
    return measured(MODULE, contender, kind, str(spool))


def _line(kind: str, rows: int, ours: Usage) -> str:
    return f"{kind:10}{rows:10,}{ours.cpu:8.2f}{ours.rss:9.0f}"


def _verdict(holds: bool) -> str:
    return "  holds" if holds else "  MISSED"


def _spool(home: Path, rows: int) -> Path:
    """The spool of so many rows, made by a process of its own: its objects are not ours to carry."""
    path = home / f"{rows}.arrow"
    if not path.exists():
        measured(MODULE, "fill", str(rows), str(path))
    return path


def fill(rows: int, path: Path) -> None:
    """Write the spool."""
    import pyarrow as pa  # noqa: PLC0415 - each contender imports what it measures

    from reporthub_dagster.storage.spool import new_spool  # noqa: PLC0415

    types = {
        "id": pa.uint64(),
        "customer": pa.int32(),
        "quantity": pa.int16(),
        "amount": pa.decimal128(14, 2),
    }
    types |= {"rate": pa.float64(), "day": pa.date32(), "created_at": pa.timestamp("us"), "paid": pa.bool_()}
    types |= dict.fromkeys(("status", "code", "name", "note", "region"), pa.utf8())
    schema = pa.schema(list(types.items()))
    with new_spool(path, schema) as writer:
        for start in range(0, rows, _BATCH):
            numbers = range(start, min(start + _BATCH, rows))
            columns = zip(*map(_row, numbers), strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write(pa.record_batch(arrays, schema=schema))


def _row(number: int) -> tuple[Any, ...]:
    moment = datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(
        seconds=31 * number % 31_536_000
    )
    return (
        number,
        number % 50_000,
        number % 300,
        Decimal(number * 137 % 10_000_000) / 100,
        number / 7,
        date(2025, 1, 1) + timedelta(number % 365),
        moment,
        bool(number % 2),
        ("PAID", "SETTLED", "FAILED")[number % 3],
        f"{number:08X}",
        f"Customer {number % 50_000} Łódź",
        f'order {number}, "quoted"',
        ("EU", "US", "APAC", None)[number % 4],
    )


def render(kind: str, path: Path) -> None:
    """Our writer."""
    sys.meta_path.insert(0, WithoutPandas())
    from reporthub_dagster.renderers.base import RenderRequest, Section  # noqa: PLC0415
    from reporthub_dagster.renderers.registry import RENDERERS  # noqa: PLC0415
    from reporthub_dagster.storage.spool import Spool  # noqa: PLC0415
    from reporthub_dagster_tests.renderers.spools import WINDOW  # noqa: PLC0415

    spool = Spool.open(path)
    sections = (Section("", spool, tuple(spool.schema.names)),)
    RENDERERS.get(kind)().render(RenderRequest("Benchmark", WINDOW, sections), path.with_suffix(f".{kind}"))


def pandas_writes(kind: str, path: Path) -> None:
    """Pandas' writer."""
    import pandas as pd  # noqa: PLC0415

    from reporthub_dagster.storage.spool import Spool  # noqa: PLC0415

    spool = Spool.open(path)
    frame = pd.DataFrame(list(_rows(spool)), columns=spool.schema.names)
    target = path.with_suffix(f".pandas.{kind}")
    if kind == "csv":
        frame.to_csv(target, index=False)
    elif kind == "xlsx":
        frame.to_excel(target, index=False, engine="openpyxl")
    elif kind in ("json", "jsonl"):
        frame.to_json(target, orient="records", lines=kind == "jsonl", date_format="iso")
    elif kind == "parquet":
        frame.to_parquet(target, compression="zstd")
    else:
        frame.to_html(target)


def _rows(spool: Any) -> Iterator[tuple[Any, ...]]:
    for batch in spool.batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", rows, path]:
            report(lambda: fill(int(rows), Path(path)))
        case ["ours", kind, path]:
            report(lambda: render(kind, Path(path)))
        case ["pandas", kind, path]:
            report(lambda: pandas_writes(kind, Path(path)))
        case [rows, *kinds]:
            sys.exit(main(int(rows), kinds or list(GOALS)))
        case _:
            sys.exit(main(ROWS, list(GOALS)))
