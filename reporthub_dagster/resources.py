"""What ops get from outside: the shared database, the output folder, the mail server.

They read the environment when a run starts, not when the definitions load, and keep no secret as resource
configuration, which Dagster would store and show.
"""

from __future__ import annotations

import dagster as dg
from pydantic import PrivateAttr

from reporthub_dagster.db.catalog import Catalog
from reporthub_dagster.db.circuits import Circuits
from reporthub_dagster.db.claims import Claim
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.delivery_logs import DeliveryLogs
from reporthub_dagster.db.digests import Digests
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.retries import Retries
from reporthub_dagster.db.session import Hub, process_hub
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder


class HubDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The shared database, on the connection pool of the process."""

    _hub: Hub | None = PrivateAttr(default=None)
    _claim: Claim | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's
        """Give the pool back."""
        if self._hub is not None:
            self._hub.release()
            self._hub = None
        self._claim = None

    def keep_claim(self, claim: Claim) -> None:
        """Remember the claim that this run has taken, for its next ops."""
        self._claim = claim

    def kept_claim(self, execution_id: str, run_id: str) -> Claim | None:
        """The claim that an earlier op of a run has taken; whether it still holds is for the fence to say."""
        claim = self._claim
        return claim if claim and (claim.execution_id, claim.run_id) == (execution_id, run_id) else None

    @property
    def hub(self) -> Hub:
        """The database itself."""
        return self._connected()

    @property
    def repository(self) -> Repository:
        """What people configured."""
        return Repository(self._connected())

    @property
    def executions(self) -> Executions:
        """What became of it."""
        return Executions(self._connected())

    @property
    def leases(self) -> Leases:
        """Who works on it."""
        return Leases(self._connected())

    @property
    def ledger(self) -> DeliveryLedger:
        """What was sent to whom."""
        return DeliveryLedger(self._connected())

    @property
    def circuits(self) -> Circuits:
        """Which servers of deliveries are away."""
        return Circuits(self._connected(), Settings.load().breaker_policy)

    @property
    def retries(self) -> Retries:
        """What is due for another attempt."""
        return Retries(self._connected(), Settings.load().breaker_policy)

    @property
    def catalog(self) -> Catalog:
        """What Dagster's catalog calls them."""
        return Catalog(self._connected())

    @property
    def digests(self) -> Digests:
        """What was delivered last."""
        return Digests(self._connected())

    @property
    def delivery_logs(self) -> DeliveryLogs:
        """What was tried when."""
        return DeliveryLogs(self._connected())

    def _connected(self) -> Hub:
        if self._hub is None:
            self._hub = kept_hub()
        return self._hub


def kept_hub() -> Hub:
    """The shared database of the environment."""
    settings = Settings.load()
    return process_hub(settings.hub_url, settings.hub_zone)


class OutputStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The output folder: one folder per execution."""

    def folder(self, execution_id: str) -> ExecutionFolder:
        """The folder of an execution."""
        return ExecutionFolder(Settings.load().output_folder / execution_id)


class Mailer(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The mail server of the environment and what else destinations do not find in their row."""

    def settings(self) -> DestinationSettings:
        """The environment's part of a delivery."""
        return destination_settings(Settings.load())
