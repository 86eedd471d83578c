"""From "run this" to "it ran": CPU seconds of a run, beside Dagster's own launchers and a plain Celery task.

`python -m benchmarks.dispatch [RUNS [BURST [SLOTS]]]` starts a private MariaDB and Redis. Each contender
runs the same report, 100 rows to csv into a folder, in its own kind of worker with one process, ours with two
as well; what is counted is the CPU of that worker and of all its children, after a warm-up, and the time from
the first launch to the last end. The default launcher runs a twentieth of RUNS. Then, through daemon, code
server and a worker with two processes: BURST schedules that are due in one minute, and SLOTS slots of a
schedule of every minute (from due to started).

Rivals: Dagster's default launcher (a process a run); dagster-celery's `CeleryRunLauncher` and task as
shipped; the replaced design, a Celery task doing the same with pandas, without window, claim, lease, receipts
or log.
Fails when a run of ours needs more than 0.25 s or more than a twelfth of the default launcher's, or when two
processes end fewer than 250 a minute; that one holds on two cores that do nothing else.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.launcher import LaunchRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from benchmarks.dispatch_tasks import plain_app
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import binary, free_port, stop, wait_until
from reporthub_dagster_tests.servers.smtp import MailServer
from reporthub_dagster_tests.worker.site import ROOT, Site

RUNS, BURST, SLOTS = 100, 1_000, 10
MOST_CPU, LEAST_RATIO, LEAST_PER_MINUTE = 0.25, 12.0, 250
OURS, OURS_TWICE = "reporthub worker", "reporthub worker, two processes"
DEFAULT = "default launcher"
WARM = 10
FAILED, SUCCESS = [dg.DagsterRunStatus.FAILURE], [dg.DagsterRunStatus.SUCCESS]
SOURCE = """
CREATE TABLE src AS SELECT seq id, seq * 1.37 amount, CONCAT('Customer ', seq) name FROM seq_1_to_100"""
DONE = "SELECT COUNT(*) AS n FROM report_executions WHERE schedule_id >= 1000 AND completed_at IS NOT NULL"
TWICE = """
SELECT COUNT(*) - COUNT(DISTINCT schedule_id) AS n FROM report_executions WHERE schedule_id >= 1000"""
SENT = "SELECT COUNT(*) AS n FROM report_delivery_logs WHERE schedule_id >= 1000"
STOCK_STORAGE = "storage:\n  mysql:\n    mysql_url: {env: DAGSTER_MYSQL_URL}\n"
SHIPPED_LAUNCHER = """run_launcher:
  module: dagster_celery.launcher
  class: CeleryRunLauncher
  config: {broker: {env: REPORTHUB_BROKER_URL}, backend: {env: REPORTHUB_BROKER_URL}}
"""
QUIET = """telemetry: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


@dataclass(frozen=True)
class Cost:
    """What a contender used for one run.

    Attributes:
        cpu: Seconds, of its worker and all its children.
        per_minute: Runs a minute, by the wall clock of a machine that may be shared.
    """

    cpu: float
    per_minute: float


def main(runs: int, burst: int, slots: int) -> int:
    """Measure and print; returns 1 when a goal is missed."""
    with installation() as site:
        contenders: dict[str, Callable[[], Cost]] = {
            OURS: lambda: ours(site, runs, processes=1),
            OURS_TWICE: lambda: ours(site, runs, processes=2),
            DEFAULT: lambda: default_launcher(site, max(2, runs // 20)),
            "Celery launcher as shipped": lambda: shipped(site, runs),
            "plain Celery task": lambda: plain(site, runs),
        }
        code = _compared(runs, contenders)
        if burst or slots:
            production(site, burst, slots)
    return code


def default_launcher(site: Site, runs: int) -> Cost:
    """A process for every run, started by the code server."""
    write_instance(site, STOCK_STORAGE + QUIET)
    site.start_code_server()
    target = GrpcServerTarget("127.0.0.1", site.port, None, "reporthub")
    server = psutil.Process(site.processes["code-server"].pid)
    wait_until(lambda: _listens(site.port), "the code server", 120)
    with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as context:
        workspace = context.create_request_context()
        repository = workspace.get_code_location("reporthub").get_repository("__repository__")
        job = repository.get_full_job("execute_report")

        def launch(run: dg.DagsterRun) -> None:
            instance.run_launcher.launch_run(LaunchRunContext(run, workspace))

        cost = dagster_cost(instance, launch, server, runs, warm=1, origin=job.get_remote_origin())
    stop(site.processes.pop("code-server"))
    return cost


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def shipped(site: Site, runs: int) -> Cost:
    """dagster-celery and dagster-mysql as they come."""
    write_instance(site, STOCK_STORAGE + SHIPPED_LAUNCHER + QUIET)
    return celery_cost(site, runs, *_celery("shipped", "dagster"))


def ours(site: Site, runs: int, processes: int) -> Cost:
    """`reporthub worker` on the instance of `deploy/dagster.yaml`."""
    shutil.copy(ROOT / "deploy" / "dagster.yaml", site.home)
    return celery_cost(site, runs, "reporthub_dagster.cli", "worker", "--concurrency", str(processes))


def plain(site: Site, runs: int) -> Cost:
    """The replaced design."""
    worker = psutil.Process(site.start("plain", *_celery("plain", "plain")).pid)
    task = plain_app(site.environment["REPORTHUB_BROKER_URL"]).tasks["plain.report"]

    def run(asked: list[str]) -> None:
        for execution_id in asked:
            task.delay(execution_id)
        wait_until(lambda: unfinished(site) == 0, "the plain task", 600)

    run([ask(site) for _ in range(WARM)])
    asked = [ask(site) for _ in range(runs)]
    cost = cost_of(lambda: run(asked), worker, runs)
    stop(site.processes.pop("plain"), 30)
    return cost


def celery_cost(site: Site, runs: int, *worker: str) -> Cost:
    """Runs launched by the instance's launcher to a worker that is started for them."""
    process = psutil.Process(site.start("worker", *worker).pid)
    with dg.DagsterInstance.get() as instance:

        def launch(run: dg.DagsterRun) -> None:
            instance.run_launcher.launch_run(LaunchRunContext(run, None))

        cost = dagster_cost(instance, launch, process, runs, warm=WARM)
    stop(site.processes.pop("worker"), 30)
    return cost


def dagster_cost(
    instance: dg.DagsterInstance,
    launch: Callable[[dg.DagsterRun], None],
    worker: psutil.Process,
    runs: int,
    *,
    warm: int,
    origin: object = None,
) -> Cost:
    """Launch so many runs and wait for their end."""
    from reporthub_dagster.instance import report_job  # noqa: PLC0415 - after the environment is set

    job = dg.reconstructable(report_job)
    config = {"ops": {"compute_time_range": {"config": {"config_id": 1}}}}

    def created(count: int) -> list[dg.DagsterRun]:
        return [
            instance.create_run_for_job(
                job.get_definition(),
                run_config=config,
                job_code_origin=job.get_python_origin(),
                remote_job_origin=origin,  # type: ignore[arg-type]
            )
            for _ in range(count)
        ]

    def run(asked: list[dg.DagsterRun]) -> None:
        for one in asked:
            launch(one)
        ids = [one.run_id for one in asked]

        def ended() -> bool:
            time.sleep(0.2)  # looking takes a core from those who work
            assert not instance.get_runs_count(dg.RunsFilter(ids, statuses=FAILED)), "a run failed"
            return instance.get_runs_count(dg.RunsFilter(ids, statuses=SUCCESS)) == len(ids)

        wait_until(ended, "the runs", 900)

    # Whichever of its processes gets them: each has run one before it counts.
    run(created(warm))
    asked = created(runs)
    return cost_of(lambda: run(asked), worker, runs)


def cost_of(work: Callable[[], None], worker: psutil.Process, runs: int) -> Cost:
    """CPU and time of some runs in a worker."""
    before, started = cpu_of(worker), time.monotonic()
    work()
    wall = time.monotonic() - started
    return Cost((cpu_of(worker) - before) / runs, 60 * runs / wall)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process, the children that it has and those that have ended."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(member.cpu_times()[:4]) for member in family)


def production(site: Site, burst: int, slots: int) -> None:
    """Through the whole installation: schedules that come due, by the daemon."""
    shutil.copy(ROOT / "deploy" / "dagster.yaml", site.home)
    site.start_code_server()
    site.start_daemon()
    two = ("--concurrency", "2", "--max-runs", "100000", "--max-memory", "4000")
    worker = psutil.Process(site.start("worker", "reporthub_dagster.cli", "worker", *two).pid)
    wait_for_a_run(site)
    with dg.DagsterInstance.get() as instance:
        if burst:
            _burst(site, instance, worker, burst)
        if slots:
            _latency(site, instance, slots)


def _burst(site: Site, instance: dg.DagsterInstance, worker: psutil.Process, burst: int) -> None:
    due = int(time.time() // 60 + 2) * 60
    cron = time.strftime("%M %H * * *", time.gmtime(due))
    for row in range(1000, 1000 + burst):
        site.go.insert("report_schedules", id=row, config_id=1, cron_expression=cron, is_active=1)
    memory: list[float] = []
    done = 0
    while done < burst:
        time.sleep(1)
        done = count(site, DONE)
        if done >= len(memory) * 100 and done:
            memory.append(sum(child.memory_info().rss for child in worker.children()) / 1e6)
    records = instance.get_run_records(dg.RunsFilter(tags={"reporthub/config_id": "1"}, created_after=None))
    starts = sorted(r.start_time - due for r in records if r.start_time and r.start_time >= due)
    ends = [r.end_time - due for r in records if r.end_time and r.end_time >= due]
    print(f"\n{burst:,} schedules due in one minute, a worker with two processes")
    first, median, last = starts[0], statistics.median(starts), max(ends)
    print(f"  first start {first:.1f} s, median start {median:.1f} s, last end {last:.1f} s after the slot")
    print(f"  completed {done:,}, twice {count(site, TWICE)}, deliveries {count(site, SENT):,}")
    print(
        f"  memory of the two processes, first 100 runs {memory[0]:.0f} MB, last {memory[-1]:.0f} MB",
        flush=True,
    )
    site.go.execute("UPDATE report_schedules SET is_active = 0")


def _latency(site: Site, instance: dg.DagsterInstance, slots: int) -> None:
    site.go.insert("report_schedules", id=1, config_id=1, cron_expression="* * * * *", is_active=1)
    enough = "SELECT COUNT(*) AS n FROM report_executions WHERE schedule_id = 1 AND status = 'completed'"
    wait_until(lambda: count(site, enough) >= slots, "the slots", 60.0 * (slots + 2))
    site.go.execute("UPDATE report_schedules SET is_active = 0")
    records = instance.get_run_records(dg.RunsFilter(tags={"reporthub/schedule_id": "1"}))
    seconds = [record.start_time % 60 for record in records if record.start_time]
    median = statistics.median(seconds)
    print(f"\nfrom due to started, {len(seconds)} slots, a tick every 5 s: median {median:.1f} s")


def wait_for_a_run(site: Site) -> None:
    """The installation works when a queued row has run."""
    execution_id = ask(site)
    site.wait_for(execution_id, "completed", 180)


def ask(site: Site) -> str:
    """A queued row."""
    return site.ask_for_a_report()


def unfinished(site: Site) -> int:
    """Executions that wait or run."""
    time.sleep(0.2)
    return count(site, "SELECT COUNT(*) AS n FROM report_executions WHERE status IN ('queued', 'running')")


def count(site: Site, query: str) -> int:
    """The number that a query finds."""
    return int(site.go.row(query)["n"])


def write_instance(site: Site, text: str) -> None:
    """Another `dagster.yaml`."""
    (site.home / "dagster.yaml").write_text(text)


@contextmanager
def installation() -> Iterator[Site]:
    """MariaDB, Redis, and a report of 100 rows that goes to a folder."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    server, port = MariaDBServer(home, free_port()), free_port()
    redis = subprocess.Popen(
        [binary("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        server.create()
        server.execute("CREATE DATABASE hub CHARACTER SET utf8mb4", "CREATE DATABASE dagster")
        os.environ.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # who starts a process a run would compile anew each time
        os.environ |= {
            "DAGSTER_HOME": str(home),
            "REPORTHUB_HOME": str(home),
            "REPORTHUB_DATABASE_URL": server.url("hub"),
            "DAGSTER_MYSQL_URL": server.url("dagster"),
            "REPORTHUB_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "MAX_CONCURRENT_EXECUTIONS": "10",
            "SCHEDULER_CHECK_INTERVAL_SECONDS": "5",
            "PYTHONPATH": str(ROOT),
        }
        with dg.DagsterInstance.ephemeral() as nothing:
            site = Site(home, _rows(server, home), MailServer(), dict(os.environ), nothing)
            site.definitions, site.daemon = "reporthub_dagster.definitions", "dagster._daemon"
            try:
                yield site
            finally:
                for process in site.processes.values():
                    stop(process, 30)
                site.go.close()
    finally:
        stop(redis)
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _rows(server: MariaDBServer, home: Path) -> GoApi:
    from reporthub_dagster_tests.installation import create_tables  # noqa: PLC0415

    go = GoApi(server.url("hub"))
    go.create_tables()
    create_tables()
    go.execute(SOURCE)
    (home / "share").mkdir()
    go.insert(
        "report_datasources",
        id=1,
        name="s",
        connection_url=server.url("hub", scheme="mysql"),
        db_type="mysql",
    )
    go.insert(
        "report_configs",
        id=1,
        report_name="R",
        report_query="SELECT * FROM src",
        datasource_id=1,
        file_name="{{execution_id}}",
    )
    go.insert(
        "report_deliveries",
        id=1,
        config_id=1,
        delivery_name="F",
        method="file_share",
        delivery_config={"path": str(home / "share")},
    )
    return go


def _celery(app: str, queue: str) -> tuple[str, ...]:
    options = ("--concurrency", "1", "--prefetch-multiplier", "1", "--loglevel", "WARNING", "-Q", queue)
    return ("celery", "-A", f"benchmarks.dispatch_tasks:{app}", "worker", *options)


def _compared(runs: int, contenders: dict[str, Callable[[], Cost]]) -> int:
    """Measure each, ours first; returns 1 when a goal is missed."""
    print(f"a report of 100 rows to csv into a folder, {runs} runs, one process unless it says two\n")
    print(f"{'':32}{'CPU s a run':>12}{'runs/min':>10}{'x ours':>8}", flush=True)
    costs: dict[str, Cost] = {}
    for name, measure in contenders.items():
        costs[name] = cost = measure()
        times = cost.cpu / costs[OURS].cpu
        print(f"{name:32}{cost.cpu:12.3f}{cost.per_minute:10.0f}{times:8.2f}", flush=True)
    mine = costs[OURS]
    ratio, rate = costs[DEFAULT].cpu / mine.cpu, costs[OURS_TWICE].per_minute
    goals = {
        f"at most {MOST_CPU} s a run": (mine.cpu <= MOST_CPU, f"{mine.cpu:.3f} s"),
        f"{LEAST_RATIO:.0f}x less than the default launcher": (ratio >= LEAST_RATIO, f"{ratio:.1f}x"),
        f"{LEAST_PER_MINUTE} a minute with two processes": (rate >= LEAST_PER_MINUTE, f"{rate:.0f}"),
    }
    print()
    for goal, (holds, measured) in goals.items():
        print(f"{goal}: {'holds' if holds else 'MISSED'} ({measured})", flush=True)
    return 0 if all(holds for holds, _ in goals.values()) else 1


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*[*given, *(RUNS, BURST, SLOTS)[len(given) :]]))
