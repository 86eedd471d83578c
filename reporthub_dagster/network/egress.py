"""Where this process may connect to: one policy that resolves a name once and connects to what it checked.

By default people's URLs may not reach the machine itself or a cloud's metadata service, and everything else
may be reached; `strict` leaves only the public internet. Networks and host names that an operator names are
open.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Literal, Self

from reporthub_dagster.reporting.errors import ConfigurationError

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
SockAddress = tuple[Any, ...]
Resolver = Callable[[str, int], Sequence[tuple[int, SockAddress]]]
"""Host and port → (address family, socket address) of each answer; raises OSError."""
Mode = Literal["default", "strict"]

_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))  # NAT64: RFC 6052, RFC 8215
_STATELESS = ip_network("::ffff:0:0:0/96")  # SIIT: RFC 2765
_OWN = (ip_network("0.0.0.0/8"), ip_network("::/128"))
_METADATA = (
    ip_network("100.100.100.200/32"),
    ip_network("168.63.129.16/32"),
    ip_network("192.0.0.192/32"),
    ip_network("fd00:ec2::/64"),
    ip_network("fd20:ce::254/128"),
    ip_network("fd00:42::42/128"),
)
"""Services of clouds that hand out credentials, beside the link-local one that most of them use."""
_LOW_BITS = 0xFFFF_FFFF
_MOST_TRIED = 8
"""A name may have thousands of addresses, each of which takes its time not to answer."""


class EgressError(ConfigurationError):
    """A connection that the policy does not allow."""


def resolve(host: str, port: int) -> Sequence[tuple[int, SockAddress]]:
    """The system's resolver: names, and every spelling of an address that the system's calls take."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in answers]


@dataclass(frozen=True)
class EgressPolicy:
    """Decides every outgoing connection of destinations.

    Attributes:
        strict: Only public addresses may be reached, by whatever protocol.
        networks: Open all the same.
        hosts: Names that are open wherever they lead, in small letters; `.example.com` is all below it.
        resolver: What finds the addresses of a name.
    """

    strict: bool = False
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    resolver: Resolver = resolve

    @classmethod
    def parse(cls, mode: Mode, allowed: str = "") -> Self:
        """From what an operator writes: `strict`, and `10.1.0.0/16, files.example.com, .corp.example`.

        Raises:
            ValueError: A network is not valid; says which.
        """
        networks, hosts = [], set()
        for word in allowed.replace(",", " ").split():
            try:
                networks.append(ip_network(word.strip("[]"), strict=False))
            except ValueError:
                if "/" in word or ":" in word:
                    raise ValueError(f"{word} is neither a network such as 10.0.0.0/8 nor a host") from None
                hosts.add(_plain(word))
        return cls(strict=mode == "strict", networks=tuple(networks), hosts=frozenset(hosts))

    def addresses(self, host: str, port: int, *, guarded: bool) -> Sequence[tuple[int, SockAddress]]:
        """Where to connect for `host`: resolved now, every answer allowed; never empty, a few at the most.

        Args:
            host: A name or an address, as people wrote it.
            port: TCP port.
            guarded: The host comes from a URL that this machine's own services must be safe from.

        Raises:
            EgressError: One of its addresses is not allowed: one bad answer condemns the name.
            OSError: The name does not resolve.
        """
        try:
            found = self.resolver(host, port)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        if not self._is_open(host):
            for _, address in found:
                self._require(host, ip_address(str(address[0]).partition("%")[0]), guarded=guarded)
        return found[:_MOST_TRIED]

    def connect(self, host: str, port: int, timeout: float, *, guarded: bool = False) -> socket.socket:
        """A TCP connection to an address that was checked; each is tried, `timeout` seconds at most.

        Raises:
            EgressError: As `addresses`.
            OSError: Nobody answers, or the name does not resolve.
        """
        failure: OSError | None = None
        for family, address in self.addresses(host, port, guarded=guarded):
            with contextlib.ExitStack() as opened:
                try:
                    connection = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    connection.settimeout(timeout)
                    connection.connect(address)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError as error:
                    failure = error
                    continue
                opened.pop_all()
                return connection
        assert failure is not None  # noqa: S101 - for mypy: there is at least one address
        raise failure

    def _is_open(self, host: str) -> bool:
        name = _plain(host)
        return name in self.hosts or any(
            entry.startswith(".") and name.endswith(entry) for entry in self.hosts
        )

    def _require(self, host: str, ip: Ip, *, guarded: bool) -> None:
        if any(ip in network for network in self.networks if network.version == ip.version):
            return
        meant = list(_meanings(ip))
        if self.strict and not all(_is_public(each) for each in meant):
            raise _refused(host, ip, "REPORTHUB_EGRESS=strict allows public addresses only")
        if guarded and any(_is_own(each) for each in meant):
            raise _refused(host, ip, "URLs may not reach this machine or a metadata service")


def _refused(host: str, ip: Ip, why: str) -> EgressError:
    return EgressError(
        f"{host} leads to {ip}: {why}",
        valid="an operator may open the address or the host name in REPORTHUB_EGRESS_ALLOW",
    )


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _meanings(ip: Ip) -> Iterator[Ip]:
    """The address and the IPv4 addresses inside it: mapped, 6to4, Teredo, NAT64, SIIT or compatible."""
    yield ip
    if isinstance(ip, IPv4Address):
        return
    teredo = ip.teredo
    for inner in (ip.ipv4_mapped, ip.sixtofour, teredo[1] if teredo else None):
        if inner is not None:
            yield inner
    compatible = int(ip) >> 32 == 0 and int(ip) > 1
    if compatible or ip in _STATELESS or any(ip in network for network in _TRANSLATED):
        yield IPv4Address(int(ip) & _LOW_BITS)
    if ip in _TRANSLATED[1]:
        yield from _by_shorter_prefixes(int(ip))


def _by_shorter_prefixes(bits: int) -> Iterator[Ip]:
    """What an address of RFC 8215 means where the network's prefix is shorter (RFC 6052, 2.2)."""
    without_octet = bits >> 64 << 56 | bits & (1 << 56) - 1
    for length in (48, 56, 64):
        inner = IPv4Address(without_octet >> 88 - length & _LOW_BITS)
        if inner not in _OWN[0]:  # the zeros around an address of another length
            yield inner


def _is_own(ip: Ip) -> bool:
    """This machine, its link, or what answers as a cloud's metadata service."""
    listed = any(ip in network for network in (*_OWN, *_METADATA) if network.version == ip.version)
    special = ip.is_loopback or ip.is_link_local or ip.is_multicast or ip == IPv4Address(_LOW_BITS)
    return listed or special or _is_of_this_machine(ip)


def _is_of_this_machine(ip: Ip) -> bool:
    """Whether we would speak to it from itself; nothing is sent."""
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), 9))
            return ip_address(str(probe.getsockname()[0]).partition("%")[0]) == ip
    except OSError:
        return False


def _is_public(ip: Ip) -> bool:
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped or any(ip in network for network in _TRANSLATED)):
        return True  # what it stands for decides
    local = isinstance(ip, IPv6Address) and ip.is_site_local
    return ip.is_global and not (
        local or ip.is_multicast or ip.is_reserved or ip.is_unspecified or _is_own(ip)
    )
