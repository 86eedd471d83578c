"""The machines of a data source: found by name and held against the egress policy before we connect."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from reporthub_dagster.connectors.source_url import TABLE
from reporthub_dagster.network.egress import EgressError, EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A machine that a connector connects to.

    Attributes:
        host: A name or an address.
        port: TCP port; 0 where the driver knows it.
        column: Of the row, where the host stands.
        ruled: True where the egress policy decides; a database's driver connects by itself.
        guarded: The host comes from a URL that this machine's own services must be safe from.
    """

    host: str
    port: int = 0
    column: str = "connection_url"
    ruled: bool = False
    guarded: bool = False


def resolved(endpoints: Iterable[Endpoint], policy: EgressPolicy, row: int) -> str:
    """The address of each machine, for people.

    Args:
        endpoints: They need not be reachable; nothing connects.
        policy: Decides where an endpoint is ruled by it.
        row: Of `report_datasources`, for messages.

    Raises:
        ConfigurationError: There is no such host, or the policy does not allow its address.
        TransientError: Nobody can say now where it is.
    """
    told = [_told(endpoint, policy, row) for endpoint in endpoints]
    return "; ".join(told) or "it is on this machine: there is no name to resolve"


def _told(endpoint: Endpoint, policy: EgressPolicy, row: int) -> str:
    host, port = endpoint.host, endpoint.port
    try:
        if endpoint.ruled:
            found = policy.addresses(host, port, guarded=endpoint.guarded)
        else:
            found = policy.resolver(host, port)
    except EgressError as error:
        raise error.located(table=TABLE, row=row, column=endpoint.column) from None
    except (OSError, UnicodeError) as error:
        passing = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        words = getattr(error, "strerror", None) or "not a host name"
    else:
        addresses = ", ".join(dict.fromkeys(str(address[0]) for _, address in found))
        allowed = ", which REPORTHUB_EGRESS allows" if endpoint.ruled else ""
        return f"{host} is {addresses}{allowed}"
    if passing:
        raise TransientError(f"{host} cannot be resolved now: {words}")
    raise ConfigurationError(
        f"unknown host: {words}",
        table=TABLE,
        row=row,
        column=endpoint.column,
        value=host,
        valid="correct the host name",
    )
