"""Which addresses may be reached, however they are written, and that the checked one is connected to."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence

import httpx
import pytest

from reporthub_dagster.network.egress import EgressError, EgressPolicy, Resolver, SockAddress
from reporthub_dagster.network.http_client import http_client

OWN = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:a9:fe:a9fe:808:808",
    "64:ff9b:1:0:7f:0:108:808",
    "::ffff:0:127.0.0.1",
    "2002:7f00:1::",
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "fd00:42::42",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
]
PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "fd12::1",
    "::ffff:10.0.0.1",
    "fec0::1",
]
PUBLIC = [
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:93.184.216.34",
    "64:ff9b::5db8:d822",
    "64:ff9b:1::5db8:d822",
]


class Listener:
    """A server of this machine that keeps what it was asked."""

    def __init__(self) -> None:
        heard: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.headers["host"])
                self.send_response(302 if self.path == "/away" else 200)
                self.send_header("Location", "http://169.254.169.254/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.heard = heard
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever)
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


def answering(answers: Mapping[str, Sequence[Sequence[str]]]) -> tuple[Resolver, list[str]]:
    """A resolver that gives a name its next answer each time, and the names it was asked for."""
    asked: list[str] = []

    def resolver(host: str, port: int) -> Sequence[tuple[int, SockAddress]]:
        turns = answers[host]
        turn = turns[min(asked.count(host), len(turns) - 1)]
        asked.append(host)
        return [
            (socket.AF_INET6, (ip, port, 0, 0)) if ":" in ip else (socket.AF_INET, (ip, port)) for ip in turn
        ]

    return resolver, asked


@pytest.mark.parametrize("host", OWN)
def test_urls_never_reach_this_machine_or_a_metadata_service(host: str) -> None:
    with pytest.raises(EgressError, match="REPORTHUB_EGRESS_ALLOW"):
        EgressPolicy().addresses(host, 80, guarded=True)


def test_this_machine_is_not_reached_by_its_other_addresses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own loopback")
        own = probe.getsockname()[0]

    with pytest.raises(EgressError, match="URLs may not reach this machine"):
        EgressPolicy().addresses(own, 80, guarded=True)
    assert EgressPolicy().addresses(own, 22, guarded=False)
    assert EgressPolicy.parse("default", own).addresses(own, 80, guarded=True)


@pytest.mark.parametrize("host", [*OWN, *PRIVATE])
def test_strict_refuses_whatever_is_not_public_for_every_protocol(host: str) -> None:
    with pytest.raises(EgressError, match="strict"):
        EgressPolicy.parse("strict").addresses(host, 22, guarded=False)


@pytest.mark.parametrize("host", PRIVATE)
def test_by_default_a_private_network_may_be_reached(host: str) -> None:
    assert EgressPolicy().addresses(host, 80, guarded=True)


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_may_be_reached_under_strict(host: str) -> None:
    assert EgressPolicy.parse("strict").addresses(host, 443, guarded=True)


def test_by_default_other_protocols_reach_this_machine() -> None:
    assert EgressPolicy().addresses("127.0.0.1", 22, guarded=False)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("127.0.0.0/8", "127.0.0.1"),
        ("10.0.0.0/8, [::1]", "::1"),
        ("localhost", "LocalHost"),
        (".corp.example", "hooks.corp.example"),
    ],
)
def test_an_operator_opens_networks_and_names(allowed: str, host: str) -> None:
    resolver, _ = answering({"hooks.corp.example": [["127.0.0.1"]]})
    policy = EgressPolicy.parse("strict", allowed)
    if host == "hooks.corp.example":
        policy = EgressPolicy(strict=True, hosts=policy.hosts, resolver=resolver)
    assert policy.addresses(host, 80, guarded=True)


def test_a_name_below_is_not_a_name_beside() -> None:
    resolver, _ = answering({"evilcorp.example": [["127.0.0.1"]]})
    policy = EgressPolicy(hosts=EgressPolicy.parse("default", ".corp.example").hosts, resolver=resolver)
    with pytest.raises(EgressError):
        policy.addresses("evilcorp.example", 80, guarded=True)


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        EgressPolicy.parse("default", "10.0.0.0/99")


def test_one_bad_answer_condemns_the_name() -> None:
    resolver, _ = answering({"mixed.test": [["93.184.216.34", "127.0.0.1"]]})
    with pytest.raises(EgressError, match=r"mixed\.test leads to 127\.0\.0\.1"):
        EgressPolicy(resolver=resolver).addresses("mixed.test", 80, guarded=True)


def test_of_very_many_addresses_few_are_tried_and_all_are_checked() -> None:
    many = [f"93.184.216.{n}" for n in range(200)]
    resolver, _ = answering({"many.test": [many], "mixed.test": [[*many, "127.0.0.1"]]})
    policy = EgressPolicy(resolver=resolver)

    assert len(policy.addresses("many.test", 80, guarded=True)) == 8
    with pytest.raises(EgressError, match=r"127\.0\.0\.1"):
        policy.addresses("mixed.test", 80, guarded=True)


def test_a_name_that_changes_its_answer_is_connected_to_where_it_was_checked(listener: Listener) -> None:
    resolver, asked = answering({"rebound.test": [["127.0.0.1"], ["169.254.169.254"]]})
    policy = EgressPolicy(networks=EgressPolicy.parse("default", "127.0.0.1").networks, resolver=resolver)
    with http_client(policy, 5) as client:
        assert client.get(f"http://rebound.test:{listener.port}/").status_code == 200
    assert asked == ["rebound.test"]
    assert listener.heard == [f"rebound.test:{listener.port}"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "user@127.0.0.1", "127.0.0.1."]
)
def test_the_client_reaches_nothing_that_is_not_allowed(listener: Listener, host: str) -> None:
    with (
        http_client(EgressPolicy(), 5) as client,
        pytest.raises((EgressError, httpx.ConnectError, httpx.InvalidURL)),
    ):
        client.get(f"http://{host}:{listener.port}/")
    assert listener.heard == []


def test_redirects_are_not_followed_and_would_be_checked(listener: Listener) -> None:
    policy = EgressPolicy.parse("default", "127.0.0.1")
    with http_client(policy, 5) as client:
        assert client.get(f"http://127.0.0.1:{listener.port}/away").status_code == 302
        with pytest.raises(EgressError):
            client.get(f"http://127.0.0.1:{listener.port}/away", follow_redirects=True)


def test_a_proxy_of_the_environment_is_not_used(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{listener.port}")
    with http_client(EgressPolicy(), 5) as client, pytest.raises(EgressError):
        client.get("http://169.254.169.254/")
    assert listener.heard == []


def test_the_next_address_is_tried_when_one_does_not_answer(listener: Listener) -> None:
    resolver, _ = answering({"two.test": [["127.0.0.2", "127.0.0.1"]]})
    policy = EgressPolicy(resolver=resolver)
    policy.connect("two.test", listener.port, 5).close()
    with http_client(policy, 5, guarded=False) as client:
        assert client.get(f"http://two.test:{listener.port}/").status_code == 200
    with pytest.raises(OSError, match="refused"):
        EgressPolicy(resolver=answering({"one.test": [["127.0.0.2"]]})[0]).connect(
            "one.test", listener.port, 5
        )
