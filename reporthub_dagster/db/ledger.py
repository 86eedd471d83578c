"""The tables of ReportHub's own, all named `reporthub_…`: who works on an execution."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from reporthub_dagster.db.models import Base
from reporthub_dagster.db.types import WallTime


class Lease(Base):
    """The one Dagster run that may work on an execution and write its outcome.

    `token` grows with every claim and is the fence: a run that has lost its claim holds an old one.
    """

    __tablename__ = "reporthub_leases"

    execution_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(36))
    token: Mapped[int]
    claimed_at: Mapped[datetime] = mapped_column(WallTime)
