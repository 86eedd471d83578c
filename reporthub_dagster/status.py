"""What `reporthub status` says: whether schedulers live and reports are on time, for people and monitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from reporthub_dagster.db.circuits import Away, Circuits
from reporthub_dagster.db.schedulers import LastTick, Schedulers
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.watch import LateExecution, LateSchedule, Watch
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy

SCHEDULE_SENSOR = "report_schedule_sensor"
REAPER_SENSOR = "execution_reaper_sensor"
DAY = timedelta(days=1)
_LEAST_PATIENCE = timedelta(seconds=60)
_MISSED_TICKS = 3
_SHOWN = 10

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as late, and as dead.

    Attributes:
        late: How long after it was wanted an execution may be without an outcome.
        interval: Between two ticks of the scheduler.
    """

    late: timedelta
    interval: timedelta

    @property
    def silence(self) -> timedelta:
        """A sensor that has not ticked for so long is dead: three ticks, a minute at the least."""
        return max(self.interval * _MISSED_TICKS, _LEAST_PATIENCE)


def status_document(hub: Hub, limits: Limits) -> Document:
    """The state of the installation; `problems` is empty when all is well.

    Raises:
        ConfigurationError, TransientError: The shared database does not do its work.
    """
    now, watch = hub.now(), Watch(hub)
    before = now - limits.late
    ticks = Schedulers(hub).last_ticks()
    executions, schedules = watch.late_executions(before), watch.late_schedules(before)
    away = Circuits(hub, BreakerPolicy()).away()
    problems = [
        *_silence(ticks, SCHEDULE_SENSOR, now, limits),
        *_silence(ticks, REAPER_SENSOR, now, limits),
        *(_late_schedule_text(late, now) for late in schedules),
        *(_late_execution_text(late, now) for late in executions),
        *(f"{server}; executions that wait for it: {server.waiting:,}" for server in away if server.waiting),
    ]
    return {
        "ok": not problems,
        "at": now.isoformat(),
        "problems": problems,
        "schedulers": [_tick(tick, now, limits) for tick in ticks],
        "slots_last_24_h": _slots(watch, now),
        "late_after_minutes": _minutes(limits.late),
        "late_executions": [_late_execution(late, now) for late in executions],
        "late_schedules": [
            {"schedule_id": late.schedule_id, "due_at": late.due_at.isoformat()} for late in schedules
        ],
        "retries_due": watch.retries_due(),
        "leases_lost": watch.leases_lost(),
        "servers_away": [_away_server(server) for server in away],
    }


def print_status(document: Mapping[str, Any]) -> None:
    """The state for a person."""
    for tick in document["schedulers"]:
        life = "alive" if tick["alive"] else "silent"
        click.echo(f"{tick['sensor']} on {tick['scheduler']}: {life}, {tick['seconds_ago']:,} s ago")
        click.echo(f"  {tick['message']}")
    slots = document["slots_last_24_h"]
    click.echo("slots of the last 24 h: " + ", ".join(f"{count:,} {word}" for word, count in slots.items()))
    click.echo(f"retries due: {document['retries_due']:,}; leases lost: {document['leases_lost']:,}")
    for server in document["servers_away"]:
        click.echo(f"away: {server['server']} since {server['since']}, next try at {server['next_try_at']}")
    problems = document["problems"]
    for problem in problems[:_SHOWN]:
        click.echo(f"problem: {problem}")
    if len(problems) > _SHOWN:
        click.echo(f"… and {len(problems) - _SHOWN:,} more; --json names them")
    if not problems:
        click.echo("everything is on time")


def _silence(ticks: list[LastTick], sensor: str, now: datetime, limits: Limits) -> list[str]:
    """The problem that no scheduler runs a sensor; one that does is enough."""
    last = max((tick.at for tick in ticks if tick.sensor == sensor), default=None)
    if last is None:
        return [f"{sensor} has never ticked: start Dagster's daemon, and the sensor in its UI"]
    if now - last <= limits.silence:
        return []
    return [f"{sensor} lives nowhere: its last tick was {_minutes(now - last)} min ago, {_text(last)}"]


def _slots(watch: Watch, now: datetime) -> Document:
    """Slots of the last day by what became of them; `due` is their sum."""
    found: Counter[str] = Counter()
    for counted in watch.slots_since(now - DAY):
        found["due"] += counted.slots
        found[_fate(counted.state, counted.status)] += counted.slots
    words = ("due", "completed", "failed", "cancelled", "queued", "running", "coalesced", "skipped", "gone")
    return {word: found[word] for word in words}


def _fate(state: str, status: str | None) -> str:
    return state if state != "launched" else status or "gone"


def _tick(tick: LastTick, now: datetime, limits: Limits) -> Document:
    return {
        "scheduler": tick.scheduler,
        "sensor": tick.sensor,
        "last_tick": tick.at.isoformat(),
        "seconds_ago": max(int((now - tick.at).total_seconds()), 0),
        "alive": now - tick.at <= limits.silence,
        "message": tick.message,
    }


def _late_execution(late: LateExecution, now: datetime) -> Document:
    return {
        "execution_id": late.id,
        "config_id": late.config_id,
        "schedule_id": late.schedule_id,
        "slot": late.slot.isoformat() if late.slot else None,
        "status": late.status,
        "wanted_at": late.wanted_at.isoformat(),
        "minutes": _minutes(now - late.wanted_at),
    }


def _away_server(server: Away) -> Document:
    return {
        "server": server.server,
        "since": server.since.isoformat(),
        "failures": server.failures,
        "next_try_at": server.probe_at.isoformat(),
        "waiting": server.waiting,
        "problem": server.problem,
    }


def _late_execution_text(late: LateExecution, now: datetime) -> str:
    if late.slot is not None:
        what = f"schedule {late.schedule_id}, slot {_text(late.slot)}"
    else:
        what = f"report_configs {late.config_id}, asked for at {_text(late.wanted_at)}"
    minutes = _minutes(now - late.wanted_at)
    return f"{what}: still {late.status} after {minutes} min (execution {late.id})"


def _late_schedule_text(late: LateSchedule, now: datetime) -> str:
    return (
        f"schedule {late.schedule_id}, slot {_text(late.due_at)}: "
        f"not decided for {_minutes(now - late.due_at)} min"
    )


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
