"""Scripts behind the kernel's bars beside plain pandas in the same process.

    python -m benchmarks.scripts

Both read the same spool, run the same script and write its result to a spool. CPU seconds are those of every
process that has a part in it, the fork server's start left out as is the import of pandas for the rival; both
are what a warm worker does not pay.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.measure import Usage, measured
from reporthub_dagster.sandbox.local import LOCAL
from reporthub_dagster.sandbox.protocol import Job
from reporthub_dagster.sandbox.results import spool_result
from reporthub_dagster.sandbox.running import require_done
from reporthub_dagster.storage.spool import new_spool

SCRIPTS = {
    "a column more": "data['gross'] = data['price'] * 1.19\nresult = data",
    "sums by group": "result = data.groupby(['shop', 'day'], as_index=False)[['price', 'quantity']].sum()",
}
ROUNDS = 5
_AT_ONCE = 20
"""Small scripts are run so often in a round: the kernel counts CPU time in hundredths of a second."""
_SMALL = 10_000


def main() -> None:
    for rows in (100, 1_000_000):
        for name in SCRIPTS:
            ours, plain = (measured(__spec__.name, who, name, str(rows)) for who in ("sandbox", "pandas"))
            print(
                f"{rows:>9,} rows, {name}: sandbox {ours.cpu:.3f} s CPU, {ours.wall:.2f} s a script; "
                f"pandas alone {plain.cpu:.3f} s CPU: {ours.cpu / plain.cpu:.1f} times",
                flush=True,
            )


def contend(who: str, name: str, rows: int) -> None:
    """Run a script `ROUNDS` times when everything is warm, and print the median of each number."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.arrow", Path(folder) / "out.arrow"
        write(source, table(rows))
        work = {"sandbox": sandboxed, "pandas": plain}[who]
        work(SCRIPTS[name], source, target)
        times = _AT_ONCE if rows < _SMALL else 1
        usages = [used(lambda: work(SCRIPTS[name], source, target), times) for _ in range(ROUNDS)]
        LOCAL.close()
    medians = (
        statistics.median(getattr(usage, field) for usage in usages) for field in ("cpu", "rss", "wall")
    )
    print(json.dumps(dict(zip(("cpu", "rss", "wall"), medians, strict=True))))


def sandboxed(script: str, source: Path, target: Path) -> None:
    job = Job(script, ("",), {}, 300, 4 << 30)
    with tempfile.TemporaryFile(dir=source.parent) as result:
        require_done(LOCAL.start(job, [source], result).wait(), job)
        result.seek(0)
        spool_result(result, target, max_rows=10_000_000)


def plain(script: str, source: Path, target: Path) -> None:
    with pa.OSFile(str(source), "rb") as file:
        names = {"data": pa.ipc.open_file(file).read_all().to_pandas()}
    exec(script, names)  # the rival: no sandbox at all
    write(target, pa.Table.from_pandas(names["result"], preserve_index=False))


def table(rows: int) -> pa.Table:
    chance = np.random.default_rng(1)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    instants = np.datetime64(first.replace(tzinfo=None), "us") + chance.integers(0, 10**12, rows)
    days = [(first + timedelta(days=number)).date() for number in range(365)]
    texts = [f"customer {number}" for number in range(5_000)]
    return pa.table(
        {
            "id": pa.array(np.arange(rows)),
            "shop": pa.array(chance.integers(0, 200, rows)),
            "quantity": pa.array(chance.integers(1, 9, rows)),
            "price": pa.array(chance.random(rows) * 100),
            "weight": pa.array(chance.random(rows)),
            "customer": pa.array(texts).take(pa.array(chance.integers(0, 5_000, rows))),
            "status": pa.array(["paid", "open", "sent"]).take(pa.array(chance.integers(0, 3, rows))),
            "at": pa.array(instants, pa.timestamp("us", "UTC")),
            "day": pa.array(days).take(pa.array(chance.integers(0, 365, rows))),
            "gift": pa.array(chance.random(rows) < 0.1),
        }
    )


def write(target: Path, rows: pa.Table) -> None:
    with new_spool(target, rows.schema) as spool:
        for batch in rows.to_batches(65_536):
            spool.write(batch)


def used(work: Callable[[], None], times: int) -> Usage:
    """What this process, its fork server and the scripts use for a piece of work, done so many times."""
    before, started = cpu(), time.monotonic()
    for _ in range(times):
        work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return Usage((cpu() - before) / times, peak, (time.monotonic() - started) / times)


def cpu() -> float:
    family = [psutil.Process(), *psutil.Process().children()]
    return sum(sum(process.cpu_times()[:4]) for process in family)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        contend(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
