"""Circuit breakers of the servers that deliveries go to, kept in the shared database for all workers.

A server that did not answer several times one after the other is away: nobody tries it, recipients are put
off, and now and then one delivery is let through as a probe. Its success, like any other answer, closes the
circuit, and whoever was put off is due at once.

Every change locks the circuit's row before rows of the ledger.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, delete, exists, func, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.claims import NOT_WAITING, Claim, require_claim
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import chunks, insert_new
from reporthub_dagster.db.ledger import Circuit, LedgerEntry
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.reporting.identity import delivery_identity

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Away:
    """A server that deliveries leave alone.

    Attributes:
        since: Of its first failure.
        failures: One after the other.
        probe_at: When one delivery may try it, or by when the one that does has its answer.
        problem: The last failure, in one redacted line.
        waiting: Executions that wait for it.
    """

    server: str
    since: datetime
    failures: int
    probe_at: datetime
    problem: str
    waiting: int = 0

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.server} has been away since {self.since:%Y-%m-%d %H:%M} UTC, "
            f"{self.failures:,} failures in a row, the last: {self.problem}"
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a delivery may try a server.

    Attributes:
        away: Why it may not; None when it may.
        is_probe: It is the one that may, of a server that is away.
        is_known: The server has failed lately: an answer is news.
    """

    server: str
    away: Away | None = None
    is_probe: bool = False
    is_known: bool = False


class Circuits:
    """The circuit breakers of the shared database."""

    def __init__(self, hub: Hub, policy: BreakerPolicy) -> None:
        self._hub = hub
        self.policy = policy

    def admit(self, server: str, *, insists: bool = False) -> Admission:
        """Whether the caller may try a server now; of many who ask when a probe is due, one may.

        Args:
            server: As `Destination.server_of` has it.
            insists: A person asks for it.
        """
        if not self.policy.failures:
            return Admission(server)
        with self._hub.begin() as connection:
            found = _of(connection, server)
        if found is None or found["probe_at"] is None or insists:
            return Admission(server, is_known=found is not None)
        if found["is_due"] and self._takes_probe(server):
            return Admission(server, is_probe=True, is_known=True)
        return Admission(server, _away(found), is_known=True)

    def failed(self, admission: Admission, problem: str) -> Away | None:
        """The server was away or silent; how it stands when that makes it count as away."""
        if not self.policy.failures:
            return None
        server = admission.server
        first = {"server": server, "failures": 0, "since": utc_ago(), "failed_at": utc_ago(), "probes": 0}
        with self._hub.begin() as connection:
            insert_new(connection, Circuit, first)
        with self._hub.begin() as connection:
            self._count(connection, server, problem)
            found = _of(connection, server)
            if found is None or found["failures"] < self.policy.failures:
                return None
            if found["probe_at"] is None or admission.is_probe:
                probes = found["probes"] + 1 if found["probe_at"] is not None else 0
                values = {"probes": probes, "probe_at": utc_ago(-self.policy.pause(probes))}
                connection.execute(update(Circuit).where(Circuit.server == server).values(values))
                found = _of(connection, server) or found
                _make_due(connection, server, found["probe_at"])
            return _away(found)

    def answered(self, server: str) -> int:
        """The server is there: nothing is held against it, and whoever was put off is due now; how many."""
        with self._hub.begin() as connection:
            connection.execute(delete(Circuit).where(Circuit.server == server))
            return _make_due(connection, server, utc_ago())

    def put_off(
        self, claim: Claim, delivery_id: int, recipients: Collection[str], away: Away, detail: str
    ) -> None:
        """Let recipients wait for the next probe; no attempt is counted.

        Who has waited for too long is given up: `refused`, with the reason.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        table, hours = LedgerEntry, self.policy.most_hours
        given_up = f"given up after {hours:g} h: {away}"
        with self._hub.begin() as connection:
            _lock(connection, away.server)
            require_claim(connection, claim)
            found = _of(connection, away.server)
            # It may have answered meanwhile: then they are due.
            probe_at = found["probe_at"] if found is not None else None
            wait: dict[str, Any] = {
                "waits_for": away.server,
                "waits_since": func.coalesce(table.waits_since, utc_ago()),
                "next_attempt_at": probe_at if probe_at is not None else utc_ago(),
            }
            common = {"answered_at": utc_ago(), "token": claim.token}
            for portion in chunks(
                [delivery_identity(claim.execution_id, delivery_id, r) for r in recipients]
            ):
                mine = (table.identity.in_(portion), table.state.in_(("pending", "retry")))
                end = {"state": "refused", "detail": given_up, **NOT_WAITING, **common}
                connection.execute(update(table).where(*mine, waits_too_long(self.policy)).values(end))
                connection.execute(
                    update(table).where(*mine).values({"state": "retry", "detail": detail, **wait, **common})
                )

    def moved(self, server: str, delivery_id: int) -> None:
        """A delivery goes to another server by now: whoever waited for this one is due."""
        with self._hub.begin() as connection:
            _lock(connection, server)
            _make_due(connection, server, utc_ago(), LedgerEntry.delivery_id == delivery_id, waits_for=None)

    def away(self) -> list[Away]:
        """Every server that is away, the one that has been for longest first."""
        waiting = (
            select(func.count(LedgerEntry.execution_id.distinct()))
            .where(LedgerEntry.waits_for == Circuit.server, LedgerEntry.next_attempt_at.is_not(None))
            .scalar_subquery()
        )
        query: Any = select(*_columns(), waiting.label("waiting")).where(Circuit.probe_at.is_not(None))
        with self._hub.begin() as connection:
            found = connection.execute(query.order_by(Circuit.since, Circuit.server)).mappings().all()
        return [_away(row) for row in found]

    def _takes_probe(self, server: str) -> bool:
        due = (Circuit.server == server, Circuit.probe_at <= utc_ago())
        values = {"probe_at": utc_ago(-self.policy.probe_seconds)}
        with self._hub.begin() as connection:
            return connection.execute(update(Circuit).where(*due).values(values)).rowcount == 1

    def _count(self, connection: Connection, server: str, problem: str) -> None:
        """One failure more, or a first one again; MySQL evaluates the assignments in this order."""
        is_stale = and_(Circuit.probe_at.is_(None), Circuit.failed_at < utc_ago(self.policy.within_seconds))
        statement = update(Circuit).where(Circuit.server == server)
        connection.execute(
            statement.ordered_values(
                (Circuit.since, case((is_stale, utc_ago()), else_=Circuit.since)),
                (Circuit.failures, case((is_stale, 1), else_=Circuit.failures + 1)),
                (Circuit.failed_at, utc_ago()),
                (Circuit.problem, problem),
            )
        )


def held_back() -> ColumnElement[bool]:
    """Whether an entry of the ledger waits for a server that is away."""
    is_away = exists().where(Circuit.server == LedgerEntry.waits_for, Circuit.probe_at.is_not(None))
    return and_(LedgerEntry.waits_for.is_not(None), is_away)


def waits_too_long(policy: BreakerPolicy) -> ColumnElement[bool]:
    """Whether an entry has been put off for as long as it may be."""
    return LedgerEntry.waits_since <= utc_ago(policy.most_hours * _HOUR)


def _make_due(connection: Connection, server: str, moment: Any, *which: Any, **values: Any) -> int:
    """Move those who wait for a server; by key, so that no range of the index is locked."""
    waits = (LedgerEntry.waits_for == server, LedgerEntry.next_attempt_at.is_not(None), *which)
    found = connection.scalars(select(LedgerEntry.identity).where(*waits)).all()
    for portion in chunks(found):
        mine = (LedgerEntry.identity.in_(portion), *waits)
        connection.execute(update(LedgerEntry).where(*mine).values(next_attempt_at=moment, **values))
    return len(found)


def _lock(connection: Connection, server: str) -> None:
    """Take the row of a circuit for the rest of the transaction, on every database."""
    same = update(Circuit).where(Circuit.server == server)
    connection.execute(same.values(failures=Circuit.failures))


def _columns() -> tuple[Any, ...]:
    is_due = case((Circuit.probe_at <= utc_ago(), 1), else_=0).label("is_due")
    columns = (Circuit.server, Circuit.since, Circuit.failures, Circuit.probe_at, Circuit.probes)
    return (*columns, Circuit.problem, is_due)


def _of(connection: Connection, server: str) -> RowMapping | None:
    query = select(*_columns()).where(Circuit.server == server)
    return connection.execute(query).mappings().one_or_none()


def _away(row: RowMapping) -> Away:
    since, probe_at = rows.from_utc(row["since"]), rows.from_utc(row["probe_at"])
    assert since is not None  # noqa: S101 - for mypy: neither is NULL of a server that is away
    assert probe_at is not None  # noqa: S101
    problem, waiting = row["problem"] or "", row.get("waiting", 0)
    return Away(row["server"], since, row["failures"], probe_at, problem, waiting)
