"""What only webhooks do: signatures, templates, answers, chats, and what a lost connection means."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.json_template import fill_json
from reporthub_dagster.destinations.webhook import WebhookDestination
from reporthub_dagster.destinations.webhook_errors import retry_after
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.records import DeliveryReceipt
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all
from reporthub_dagster_tests.servers.web import Answer, Cut, WebServer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
OPEN = EgressPolicy.parse("default", "127.0.0.1, localhost")


def hook(
    server: WebServer, *recipients: str, timeout: float = 5, egress: EgressPolicy = OPEN, **options: Any
) -> WebhookDestination:
    row = delivery("webhook", {"url": server.url, **options}, *recipients)
    return WebhookDestination(row, DestinationSettings(timeout_seconds=timeout, egress=egress))


def sent(destination: WebhookDestination, folder: Path, **variables: str) -> DeliveryReceipt:
    """The one receipt of a delivery with one file."""
    (receipt,) = send_all(destination, parcel(rendered(folder), **variables))
    return receipt


@pytest.mark.parametrize("options", [{}, {"send_file": True}, {"payload_template": {"a": "ü 😀"}}])
def test_the_signature_is_the_standard_one_and_the_id_survives_attempts(
    web_server: WebServer, tmp_path: Path, options: dict[str, Any]
) -> None:
    destination = hook(web_server, secret=SECRET, **options)
    for _ in range(2):
        assert sent(destination, tmp_path).state == "sent"
    first, second = web_server.requests
    Webhook(SECRET).verify(first.body, first.headers, json_parse=False)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_ids_differ_by_execution_delivery_and_recipient(web_server: WebServer, tmp_path: Path) -> None:
    send_all(hook(web_server, "ana", "bo"), parcel(rendered(tmp_path)))
    send_all(hook(web_server, "ana"), parcel(rendered(tmp_path), execution_id="e-2"))
    assert len({request.headers["webhook-id"] for request in web_server.requests}) == 3


def test_the_default_document_says_what_was_made(web_server: WebServer, tmp_path: Path) -> None:
    sent(hook(web_server, link="https://files.test/r"), tmp_path)
    (request,) = web_server.requests
    assert request.headers["content-type"] == "application/json"
    data = request.document["data"]
    assert (data["report_name"], data["row_count"], data["recipient"]) == (
        "Flights & <Delays>",
        1234,
        "127.0.0.1",
    )
    assert data["window"]["start_datetime"] == "2013-01-01 00:00:00"
    assert data["files"][0]["sha256"] == rendered(tmp_path).sha256
    assert data["link"] == "https://files.test/r/e-1/flights.csv"


TEMPLATES = [
    {"text": "{{report_name}} has {row_count} rows", "n": "{{row_count}}"},
    '{"text": "{{report_name}} has {row_count} rows", "n": "{{row_count}}"}',
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_an_object_or_its_text(web_server: WebServer, tmp_path: Path, template: Any) -> None:
    sent(hook(web_server, payload_template=template), tmp_path, report_name='a"b\\c\nd')
    assert web_server.requests[0].document == {"text": 'a"b\\c\nd has 1234 rows', "n": "1234"}


def test_a_value_on_its_own_is_a_number_or_a_string(web_server: WebServer, tmp_path: Path) -> None:
    template = '{"rows": {{row_count}}, "id": {{id}}, "name": {{ report_name }}}'
    sent(hook(web_server, payload_template=template), tmp_path, id="007")
    assert web_server.requests[0].document == {"rows": 1234, "id": "007", "name": "Flights & <Delays>"}


@given(st.text(), st.text())
def test_no_value_breaks_out_of_its_string(first: str, second: str) -> None:
    template = '{"a": "<{{x}}|{y}>", "b": {{x}}, "{{y}}k": [1, "{{x}}"]}'
    found = json.loads(fill_json(template, {"x": first, "y": f"!{second}"}))
    assert list(found)[:2] == ["a", "b"]
    assert len(found) == 3
    assert found["a"] == f"<{first}|!{second}>"
    assert found[f"!{second}k"] == [1, first]


def test_another_media_type_is_filled_as_it_needs(web_server: WebServer, tmp_path: Path) -> None:
    xml = {"Content-Type": "application/xml"}
    sent(hook(web_server, headers=xml, payload_template="<r>{{report_name}}</r>"), tmp_path)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    sent(hook(web_server, headers=form, payload_template="name={{report_name}}"), tmp_path)
    bodies = [request.body for request in web_server.requests]
    assert bodies == [b"<r>Flights &amp; &lt;Delays&gt;</r>", b"name=Flights%20%26%20%3CDelays%3E"]


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "basic", "username": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"username": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"type": "bearer", "token": "t"}, "authorization", "Bearer t"),
        ({"token": "t"}, "authorization", "Bearer t"),
        ("t0ken", "authorization", "Bearer t0ken"),
        ({"type": "api_key", "header": "X-Key", "value": "k"}, "x-key", "k"),
    ],
)
def test_credentials_travel_in_their_header(
    web_server: WebServer, tmp_path: Path, auth: Any, header: str, value: str
) -> None:
    assert sent(hook(web_server, auth=auth), tmp_path).state == "sent"
    assert web_server.requests[0].headers[header] == value


def test_variables_in_url_and_headers_stay_where_they_are(web_server: WebServer, tmp_path: Path) -> None:
    url = web_server.url + "/{{report_name}}?d={start_date}"
    evil = "x\r\nInjected: 1 /../?"
    sent(hook(web_server, url=url, headers={"X-Report": "{{report_name}}"}), tmp_path, report_name=evil)
    (request,) = web_server.requests
    assert request.path == "/hook/x%0D%0AInjected%3A%201%20%2F..%2F%3F?d=2013-01-01"
    assert request.headers["x-report"] == "x Injected: 1 /../?"
    assert "injected" not in request.headers


@pytest.mark.parametrize(
    ("answer", "state", "needs_person", "wait"),
    [
        (Answer(200), "sent", False, None),
        (Answer(204), "sent", False, None),
        (Answer(429, {"Retry-After": "120"}), "retry", False, 120.0),
        (Answer(503, {"Retry-After": "soon"}), "retry", False, None),
        (Answer(500), "retry", False, None),
        (Answer(408), "retry", False, None),
        (Answer(302, {"Location": "http://169.254.169.254/"}), "refused", True, None),
        (Answer(308, {"Location": "/elsewhere"}), "refused", True, None),
        (Answer(400), "refused", False, None),
        (Answer(401), "refused", True, None),
        (Answer(404), "refused", True, None),
        (Answer(413), "refused", False, None),
    ],
    ids=lambda value: str(getattr(value, "code", "")),
)
def test_what_an_answer_means(
    web_server: WebServer, tmp_path: Path, answer: Answer, state: str, needs_person: bool, wait: float | None
) -> None:
    web_server.answer(
        "*", Answer(answer.code, answer.headers, body="<secret diary>" if answer.code != 204 else "")
    )
    receipt = sent(hook(web_server), tmp_path)
    assert (receipt.state, receipt.needs_person, receipt.retry_after) == (state, needs_person, wait)
    assert f"answered {answer.code}" in receipt.detail
    assert "diary" not in receipt.detail


def test_retry_after_may_be_a_date() -> None:
    assert retry_after("Wed, 01 Jan 2025 12:01:30 GMT", NOW) == 90
    assert retry_after("Wed, 01 Jan 2020 12:00:00 GMT", NOW) == 0
    assert retry_after("99999999", NOW) == 86_400


@pytest.mark.parametrize(
    ("cut", "options", "state"),
    [
        ("during", {"send_file": True}, "retry"),
        ("after", {}, "unknown"),
        ("after", {"secret": SECRET}, "retry"),
        ("after", {"repeatable": True}, "retry"),
        ("after", {"secret": SECRET, "repeatable": False}, "unknown"),
        ("hang", {}, "unknown"),
        ("hang", {"secret": SECRET}, "retry"),
    ],
)
def test_a_lost_connection(
    web_server: WebServer, tmp_path: Path, cut: Cut, options: dict[str, Any], state: str
) -> None:
    web_server.cuts.append(cut)
    destination = hook(web_server, timeout=1, **options)
    big = rendered(tmp_path, content=b"x" * 20_000_000) if cut == "during" else rendered(tmp_path)
    first, again = (send_all(destination, parcel(big))[0] for _ in range(2))
    assert (first.state, again.state) == (state, "sent")
    assert ("fell silent" if cut == "hang" else "hung up") in first.detail
    assert destination.repeatable == (state == "retry" and cut != "during")


def test_a_certificate_is_verified(
    start_web_server: Callable[..., WebServer], smtp_tls: ssl.SSLContext, smtp_ca_file: Path, tmp_path: Path
) -> None:
    server = start_web_server(tls=smtp_tls)
    refused = sent(hook(server), tmp_path)
    assert (refused.state, refused.needs_person) == ("refused", True)
    assert "tls_ca_file" in refused.detail
    with pytest.raises(ConfigurationError, match="certificate that is not trusted"):
        hook(server).check()
    trusting = hook(server, tls_ca_file=str(smtp_ca_file))
    assert sent(trusting, tmp_path).state == "sent"
    assert "TLS" in trusting.check()
    careless = hook(server, tls_verify=False)
    assert sent(careless, tmp_path).state == "sent"
    assert "tls_verify is false" in careless.warnings[0]


def test_this_machine_is_not_reached_unless_an_operator_opens_it(
    web_server: WebServer, tmp_path: Path
) -> None:
    guarded = hook(web_server, egress=EgressPolicy())
    receipt = sent(guarded, tmp_path)
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert "REPORTHUB_EGRESS_ALLOW" in receipt.detail
    with pytest.raises(ConfigurationError, match="REPORTHUB_EGRESS_ALLOW"):
        guarded.check()
    assert web_server.connections == 0


def test_a_row_may_have_a_url_of_its_own_which_is_not_shown(web_server: WebServer, tmp_path: Path) -> None:
    destination = hook(web_server, f"{web_server.url}/s3cret-path", url="https://unused.test/x")
    receipt = sent(destination, tmp_path)
    assert (receipt.state, receipt.recipient) == ("sent", "127.0.0.1 (recipient 100)")
    assert web_server.requests[0].path == "/hook/s3cret-path"
    assert "s3cret" not in repr(receipt) + repr(destination.recipients())


@pytest.mark.parametrize("preset", ["slack", "teams", "google_chat"])
def test_chats_get_a_message_with_report_window_rows_and_link(
    web_server: WebServer, tmp_path: Path, preset: str
) -> None:
    sent(hook(web_server, preset=preset), tmp_path, link="https://files.test/{{execution_id}}")
    told = json.dumps(web_server.requests[0].document)
    for word in ("Flights", "2013-01-01 00:00:00 to 2013-01-02 00:00:00", "1234", "https://files.test/e-1"):
        assert word in told
    assert ("<Delays>" in told) == (preset in {"teams", "google_chat"})


def test_check_posts_nothing(web_server: WebServer) -> None:
    assert "nothing was posted" in hook(web_server).check()
    assert web_server.requests == []
    with pytest.raises(TransientError, match="cannot be reached"):
        hook(web_server, url="http://127.0.0.1:1/x").check()


def test_one_connection_serves_many_recipients(web_server: WebServer, tmp_path: Path) -> None:
    send_all(hook(web_server, *(f"r{n}" for n in range(20))), parcel(rendered(tmp_path)))
    assert len(web_server.requests) == 20
    assert web_server.connections == 1


def test_http_with_credentials_is_a_warning(web_server: WebServer) -> None:
    assert "unencrypted" in hook(web_server, auth={"token": "t"}).warnings[0]
