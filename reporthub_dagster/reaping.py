"""The reaper: closes or requeues what a dead run left open; knows runs only by what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from reporthub_dagster.db.leases import Hold, Leases, OpenExecution, Settlement

UNCLAIMED_SECONDS = 60.0
"""A run that wrote its execution's row claims it a moment later; after so long it has died in between."""

FateKind = Literal[
    "at work", "stopping", "succeeded", "failed", "cancelled", "given back", "cut off", "crashed", "unknown"
]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a run.

    Attributes:
        kind: `at work` also for a run that waits, and for one whose process was killed without a word;
            `stopping` when a person wants it to end;
            `given back` when its worker was told to stop;
            `cut off` when Dagster could not go on with it because its own database was away;
            `crashed` when somebody else noticed that its process had gone; `unknown` for a run that this
            instance does not have.
        error: Why it failed, in one redacted line.
    """

    kind: FateKind
    error: str = ""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that ended without success.

    Attributes:
        others: Runs of the same execution that wait or are at work, as far as Dagster knows.
    """

    run_id: str
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was done with an execution, and why.

    Attributes:
        died: A process died over it; such attempts are counted.
        gone_run: The run whose process is gone, which Dagster may still take for alive.
    """

    execution_id: str
    status: Settlement
    reason: str
    died: bool = False
    gone_run: str | None = None


def gone_runs(begun: Mapping[str, str], found: Mapping[str, Hold]) -> dict[str, str]:
    """Runs that Dagster takes for at work, though nobody works: run id → why.

    A process that died after its execution had an outcome, or before it had the claim, leaves its run so.

    Args:
        begun: Run ids → their executions; of runs that have been at work for longer than a lease lasts.
        found: Execution id → who holds it.
    """
    gone = {}
    for run_id, execution_id in begun.items():
        hold = found.get(execution_id)
        if hold is None:
            gone[run_id] = "the process that ran it died before it wrote its execution"
        elif hold.is_settled_for(run_id):
            gone[run_id] = f"the process that ran it died, and execution {execution_id} is {hold.status}"
    return gone


@dataclass(frozen=True, slots=True)
class Reaper:
    """Judges executions without an outcome.

    Attributes:
        crash_retries: How many more attempts there are after a run has died.
        fates: Run ids → what became of them; asked once.
    """

    leases: Leases
    crash_retries: int
    fates: Callable[[Sequence[str]], Mapping[str, Fate]]

    def reap(self, now: datetime) -> list[Verdict]:
        """Settle what a run claimed and does not hold any more."""
        found = [item for item in self.leases.open_executions() if item.status == "running"]
        held = [item.holder.claim.run_id for item in found if item.holder and not item.holder.is_nobody]
        fates = self.fates(held)
        return list(self._settled(((item, self._judge(item, fates)) for item in found), now))

    def close_unclaimed(self, ended: Mapping[str, EndedRun], now: datetime) -> list[Verdict]:
        """Settle executions whose run ended before it claimed them: nothing of ours ever ran.

        Args:
            ended: Execution id → its run.
            now: The time.
        """
        if not ended:
            return []
        found = [item for item in self.leases.open_executions(tuple(ended)) if _is_unclaimed(item, ended)]
        fates = self.fates([ended[item.id].run_id for item in found])
        judged = ((item, _judge_unclaimed(item, ended[item.id].run_id, fates)) for item in found)
        return list(self._settled(judged, now))

    def _judge(self, item: OpenExecution, fates: Mapping[str, Fate]) -> Verdict | None:
        if item.holder is None:
            return self._crash(item, 1) if item.age > timedelta(seconds=UNCLAIMED_SECONDS) else None
        if item.holder.is_nobody:
            return None
        fate = fates.get(item.holder.claim.run_id, Fate("unknown"))
        if fate.kind == "cancelled" or (fate.kind == "stopping" and item.holder.silent):
            gone = item.holder.claim.run_id
            return Verdict(item.id, "cancelled", "cancelled by a person", gone_run=gone)
        if fate.kind in {"failed", "succeeded", "given back"}:
            return _without_outcome(item, fate, item.holder.claim.run_id)
        if item.holder.silent or fate.kind in {"crashed", "cut off"}:
            return self._crash(item, item.holder.attempts + 1)
        return None

    def _crash(self, item: OpenExecution, crashes: int) -> Verdict:
        attempts = f"{crashes} attempt{'s' if crashes > 1 else ''}"
        again = crashes <= self.crash_retries
        reason = f"the process that ran it died ({attempts})"
        gone = item.holder.claim.run_id if item.holder else None
        return Verdict(item.id, "queued" if again else "failed", reason, died=True, gone_run=gone)

    def _settled(
        self, judged: Iterable[tuple[OpenExecution, Verdict | None]], now: datetime
    ) -> Iterator[Verdict]:
        for item, verdict in judged:
            if verdict is None:
                continue
            if self.leases.settle(item, verdict.status, at=now, error=verdict.reason, died=verdict.died):
                yield verdict


def _without_outcome(item: OpenExecution, fate: Fate, run_id: str) -> Verdict:
    """Of a run that has ended: one of its deliveries failed and another waits, or it was cut off."""
    if fate.kind == "given back":
        return Verdict(item.id, "queued", "its worker was told to stop")
    if item.has_retry:
        return Verdict(item.id, "running", "it waits for a retry")
    return Verdict(item.id, "failed", fate.error or f"run {run_id} ended without an outcome")


def _is_unclaimed(item: OpenExecution, ended: Mapping[str, EndedRun]) -> bool:
    """Whether nobody holds it and nobody else is to come; Dagster takes killed runs for runs at work."""
    if item.holder is not None and (item.holder.is_waiting or not item.holder.is_nobody):
        return False
    run = ended[item.id]
    return run.run_id not in item.given_up_runs and run.others <= set(item.given_up_runs)


def _judge_unclaimed(item: OpenExecution, run_id: str, fates: Mapping[str, Fate]) -> Verdict | None:
    fate = fates.get(run_id, Fate("unknown"))
    if fate.kind == "cancelled":
        return Verdict(item.id, "cancelled", "cancelled by a person")
    if fate.kind in {"given back", "cut off"}:
        return None  # it waits as it did: the scheduler asks for another run
    return Verdict(item.id, "failed", fate.error or f"run {run_id} ended before it began to work")
