"""The tables of our own, all named `reporthub_…`.

Who works on an execution, what became of a slot, who got what.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, text
from sqlalchemy.orm import Mapped, mapped_column

from reporthub_dagster.db.clock import UTC_MOMENT
from reporthub_dagster.db.models import Base, Json, LongText
from reporthub_dagster.db.types import UtcTime, WallTime, exact_text
from reporthub_dagster.reporting.identity import IDENTITY_LENGTH

SERVER_LENGTH = 300


class Lease(Base):
    """The one Dagster run that may work on an execution and write its outcome.

    `token` grows with every claim and is the fence: a run that has lost its claim holds an old one.

    Attributes:
        run_id: Empty when the reaper has taken it from a run that died and nobody has claimed it since;
            `waiting` while no run is needed before a retry is due.
        heartbeat_at: When the run last said that it lives, in UTC by the database's clock.
        attempts: How often a run that held it has died; a person who starts anew starts at zero.
    """

    __tablename__ = "reporthub_leases"

    execution_id: Mapped[str] = mapped_column(exact_text(36), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(36))
    token: Mapped[int]
    claimed_at: Mapped[datetime] = mapped_column(WallTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT, index=True)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))


class Slot(Base):
    """What became of one due moment of a schedule; its primary key is why no slot is launched twice.

    `slot` is in UTC. `state` is launched, coalesced or skipped.
    """

    __tablename__ = "reporthub_slots"

    schedule_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slot: Mapped[datetime] = mapped_column(UtcTime, primary_key=True, index=True)
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[LongText | None]
    execution_id: Mapped[str | None] = mapped_column(exact_text(36), index=True)
    decided_at: Mapped[datetime] = mapped_column(UtcTime)


class ScheduleState(Base):
    """What the schedulers have seen of an active schedule; an inactive one has no row.

    Every slot up to `decided_through` has its fate. `due_at` is when the next one will need it; NULL while
    the schedule has a `problem`. Times are in UTC.
    """

    __tablename__ = "reporthub_schedules"

    schedule_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cron_expression: Mapped[str] = mapped_column(exact_text(100))
    timezone: Mapped[str] = mapped_column(exact_text(50))
    decided_through: Mapped[datetime] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    problem: Mapped[LongText | None]


class Launch(Base):
    """A run that a scheduler asked for; its primary key is why no other scheduler asks for the same."""

    __tablename__ = "reporthub_launches"

    execution_id: Mapped[str] = mapped_column(exact_text(36), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    requested_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class SchedulerTick(Base):
    """The last tick of one sensor of one scheduler: how a monitor sees that they live.

    Attributes:
        scheduler: `REPORTHUB_SCHEDULER_NAME`, else the name of its machine.
        ticked_at: In UTC by the database's clock.
    """

    __tablename__ = "reporthub_schedulers"

    scheduler: Mapped[str] = mapped_column(exact_text(100), primary_key=True)
    sensor: Mapped[str] = mapped_column(exact_text(50), primary_key=True)
    ticked_at: Mapped[datetime] = mapped_column(UTC_MOMENT)
    message: Mapped[LongText | None]


class LedgerEntry(Base):
    """What became of one recipient of one delivery of one execution; see `deliveries.DeliveryLedger`.

    Times are in UTC by the database's clock.

    Attributes:
        identity: Digest of execution, delivery and recipient, since MySQL takes no key of 500 characters;
            message ids are made of it.
        state: pending, sending, sent, refused, retry or unknown.
        token: Of the claim that last sent, or else found it.
        sent_at: When its first byte was about to leave, the last time.
        waits_for: Server that was away when its turn came: see `Circuit`.
        waits_since: When it was first put off since it was tried last.
    """

    __tablename__ = "reporthub_deliveries"

    identity: Mapped[str] = mapped_column(exact_text(IDENTITY_LENGTH), primary_key=True)
    execution_id: Mapped[str] = mapped_column(exact_text(36), index=True)
    delivery_id: Mapped[int]
    recipient: Mapped[LongText]
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    token: Mapped[int]
    detail: Mapped[LongText | None]
    sent_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT)
    answered_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT, index=True)
    waits_for: Mapped[str | None] = mapped_column(exact_text(SERVER_LENGTH))
    waits_since: Mapped[datetime | None] = mapped_column(UTC_MOMENT)


class Circuit(Base):
    """A server of deliveries that has failed, until it answers again; see `circuits.Circuits`.

    Times are in UTC by the database's clock.

    Attributes:
        server: As `Destination.server_of` has it.
        failures: One after the other, the first `since` then.
        probe_at: When one delivery may try it; NULL while it does not count as away.
        probes: How many of them have failed.
    """

    __tablename__ = "reporthub_circuits"

    server: Mapped[str] = mapped_column(exact_text(SERVER_LENGTH), primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime] = mapped_column(UTC_MOMENT)
    failed_at: Mapped[datetime] = mapped_column(UTC_MOMENT)
    probe_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT)
    probes: Mapped[int]
    problem: Mapped[LongText | None]


class Notice(Base):
    """When people were last told that a report fails or is late; `is_failing` until its recovery is told."""

    __tablename__ = "reporthub_notices"

    config_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    told_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT)
    is_failing: Mapped[bool]


class LateNotice(Base):
    """An open execution that people were told is late, or that nobody is to be told of."""

    __tablename__ = "reporthub_late"

    execution_id: Mapped[str] = mapped_column(exact_text(36), primary_key=True)


class DeliveredDigest(Base):
    """Digest of the rows of a report that everybody got last."""

    __tablename__ = "reporthub_digests"

    config_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(64))
    delivered_at: Mapped[datetime | None] = mapped_column(UTC_MOMENT)


class PinnedHostKey(Base):
    """The key that a machine showed when it was first connected to; it is recognised by it from then on."""

    __tablename__ = "reporthub_host_keys"

    host: Mapped[str] = mapped_column(exact_text(255), primary_key=True)
    port: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host_key: Mapped[LongText]
    pinned_at: Mapped[datetime] = mapped_column(UtcTime)


class Backfill(Base):
    """An execution of a backfill of slots; its primary key is why no window of one is queued twice.

    `slot` is when the window would have been due, in UTC.
    """

    __tablename__ = "reporthub_backfills"

    backfill_id: Mapped[str] = mapped_column(exact_text(36), primary_key=True)
    execution_id: Mapped[str] = mapped_column(exact_text(36), primary_key=True, index=True)
    config_id: Mapped[int] = mapped_column(index=True)
    slot: Mapped[datetime] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class CatalogEntry(Base):
    """A report in Dagster's catalog.

    Attributes:
        asset_key: The report's own part of it; it stays when the report gets another name.
        row_counts: `[[execution id, rows], …]` of what was made last, the newest first.
    """

    __tablename__ = "reporthub_catalog"

    config_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    asset_key: Mapped[str] = mapped_column(exact_text(60))
    row_counts: Mapped[Json | None]
