"""What is not delivered at once: retries that the sensor starts, and what a person asks for again."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from reporthub_dagster.db.circuits import Admission, Circuits
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.retry_sensor import delivery_retry_sensor
from reporthub_dagster.run_config import RETRY_TAG, redelivery_config_of
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.smtp import DROP

LATER = "450 4.2.0 later"
ANA, BUDI = "ana@finance.test", "budi@finance.test"
on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


def retries(world: World) -> list[dg.RunRequest]:
    """What one tick of the retry sensor asks for."""
    with dg.build_sensor_context(instance=world.instance, resources={"hub": HubDatabase()}) as context:
        result = delivery_retry_sensor(context)
    assert isinstance(result, dg.SensorResult)
    requests = list(result.run_requests or ())
    assert f"runs asked for: {len(requests)}" in str(context.cursor), "shown on the sensor's page"
    return requests


def reap(world: World) -> dg.SensorResult:
    with dg.build_sensor_context(instance=world.instance, resources={"hub": HubDatabase()}) as context:
        result = execution_reaper_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def launch(world: World, request: dg.RunRequest) -> Any:
    return world.redeliver(request.run_config, tags=request.tags)


def no_waiting(world: World, **more: Any) -> None:
    """Retries are due as soon as they are written down."""
    values = {"retry_interval_minutes": 0, **more}
    setters = ", ".join(f"{name} = {value}" for name, value in values.items())
    world.go.execute(f"UPDATE report_deliveries SET {setters}")


def test_a_retry_is_another_run_and_reaches_only_who_waits(world: World) -> None:
    no_waiting(world)
    world.mail.script(ANA, "RCPT", LATER)
    first = world.run(config_id=1)
    assert first.success
    row = world.execution(first.run_id)
    assert (row["status"], row["completed_at"], row["error_message"]) == ("running", None, None)
    assert world.ledger()[ANA] == "retry"
    assert reap(world).run_requests == [], "waiting is not dying"
    world.drop_source()
    (request,) = retries(world)
    assert retries(world) == [request], "asking twice is asking once"
    assert request.tags["reporthub/execution_id"] == first.run_id
    assert launch(world, request).success
    assert world.execution(first.run_id)["status"] == "completed"
    assert sorted(mail.recipient for mail in world.mail.mails) == [ANA, BUDI]
    contents = {tuple(mail.attachments.values()) for mail in world.mail.mails}
    assert len(contents) == 1, "identical bytes"
    assert set(world.ledger().values()) == {"sent"}
    assert retries(world) == []
    logs = world.go.rows(
        "SELECT status, recipient_count, retry_count FROM report_delivery_logs "
        "WHERE delivery_id = 1 ORDER BY id"
    )
    assert [tuple(log.values()) for log in logs] == [("retry", 2, 0), ("success", 1, 1)]


@on_sqlite
def test_what_is_not_due_is_left_alone(world: World) -> None:
    world.mail.script(ANA, "RCPT", LATER)
    execution_id = world.run(config_id=1).run_id
    assert retries(world) == []
    world.redeliver(redelivery_config_of({"execution_id": execution_id}), tags={RETRY_TAG: "due"})
    assert world.execution(execution_id)["status"] == "running"
    assert len(world.mail.mails) == 1


@on_sqlite
def test_when_all_retries_are_used_up_the_execution_fails_with_its_reasons(world: World) -> None:
    no_waiting(world, max_retry=2)
    world.mail.script(ANA, "RCPT", *[LATER] * 9)
    execution_id = world.run(config_id=1).run_id
    keys = []
    for _ in range(2):
        (request,) = retries(world)
        keys.append(request.run_key)
        launch(world, request)
    assert retries(world) == []
    assert len(set(keys)) == 2
    row = world.execution(execution_id)
    assert row["status"] == "failed"
    assert f"email delivery 1 (Finance): {ANA}: 450 4.2.0 later (after 2 retries)" in row["error_message"]
    counted = world.go.row("SELECT attempts FROM reporthub_deliveries WHERE recipient = :name", name=ANA)
    assert counted == {"attempts": 3}
    assert len(world.go.rows("SELECT id FROM report_delivery_logs WHERE delivery_id = 1")) == 3


@on_sqlite
def test_a_refusal_is_never_retried(world: World) -> None:
    no_waiting(world)
    assert reap(world).skip_reason == dg.SkipReason("0 executions settled")
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    world.run(config_id=1)
    assert world.ledger()[ANA] == "refused"
    assert retries(world) == []


@pytest.mark.parametrize("fails_first", [True, False])
@on_sqlite
def test_one_delivery_fails_while_another_waits(world: World, fails_first: bool) -> None:
    no_waiting(world)
    world.mail.script(ANA, "RCPT", LATER)
    row = 1 if fails_first else 9
    if fails_first:
        world.go.execute(
            "UPDATE report_delivery_recipients SET delivery_id = 2 WHERE recipient_value LIKE '%@%'"
        )
        world.go.execute("UPDATE report_deliveries SET method = 'email', delivery_config = '{}' WHERE id = 2")
        world.go.execute("UPDATE report_deliveries SET method = 's3' WHERE id = 1")
    else:
        world.go.insert(
            "report_deliveries", id=9, config_id=1, delivery_name="Bucket", method="s3", delivery_config={}
        )
    first = world.run(config_id=1)
    assert not first.success
    open_ = world.execution(first.run_id)
    assert open_["status"] == "running", "a retry is still due"
    assert retries(world) == [], "the run that failed still holds it"
    reap(world)
    assert world.execution(first.run_id)["error_message"] == open_["error_message"]
    (request,) = retries(world)
    assert not launch(world, request).success
    closed = world.execution(first.run_id)
    assert closed["status"] == "failed"
    assert f"report_deliveries {row}, column delivery_config.bucket" in closed["error_message"]
    assert ANA not in closed["error_message"]
    assert sorted(mail.recipient for mail in world.mail.mails) == [ANA, BUDI]


@on_sqlite
def test_an_execution_that_a_person_cancels_is_not_retried(world: World) -> None:
    no_waiting(world)
    world.mail.script(ANA, "RCPT", LATER)
    world.run(config_id=1)
    world.go.execute("UPDATE report_executions SET status = 'cancelled'")
    assert retries(world) == []


@on_sqlite
def test_a_person_asks_again_for_those_who_have_not_got_it(world: World) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    world.mail.script(BUDI, "ANSWER", DROP)
    execution_id = world.run(config_id=1).run_id
    assert world.ledger()[BUDI] == "unknown"
    again = world.ask_again(execution_id)
    assert not again.success, "budi may have it: only a person can say that he has not"
    assert [mail.recipient for mail in world.mail.mails] == [BUDI, ANA]
    assert BUDI in world.execution(execution_id)["error_message"]
    assert world.ask_again(execution_id, include_unknown=True, recipient=BUDI.upper()).success
    assert [mail.recipient for mail in world.mail.mails] == [BUDI, ANA, BUDI]
    assert world.execution(execution_id)["status"] == "completed"
    first, _, last = (mail.message["Message-ID"] for mail in world.mail.mails)
    assert first == last


@on_sqlite
def test_a_re_execution_by_a_person_tries_who_refused_while_another_waits(world: World) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    world.mail.script(BUDI, "RCPT", LATER)
    first = world.run(config_id=1)
    assert world.ledger()[BUDI] == "retry"
    reap(world)
    assert world.execution(first.run_id)["status"] == "running"
    assert world.retry_from_failure(first.run_id).success
    assert sorted(mail.recipient for mail in world.mail.mails) == [ANA, BUDI]
    assert world.execution(first.run_id)["status"] == "completed"


@on_sqlite
def test_only_the_delivery_that_is_asked_for_is_sent(world: World) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    world.share.rmdir()
    execution_id = world.run(config_id=1).run_id
    world.share.mkdir()
    assert not world.ask_again(execution_id, delivery_id=2).success
    assert len(list(world.share.iterdir())) == 1
    assert len(world.mail.mails) == 1
    assert world.execution(execution_id)["error_message"].count("550 5.1.1") == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"recipient": BUDI}, "recipient: has got it already"),
        ({"recipient": "x@else.test"}, "no active delivery of report_configs 1 has this recipient"),
        ({"delivery_id": 7}, "delivery_id: the report has no active delivery of this id"),
    ],
    ids=["has it", "nobody", "no delivery"],
)
@on_sqlite
def test_what_cannot_be_asked_for_is_told(world: World, config: dict[str, Any], words: str) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    execution_id = world.run(config_id=1).run_id
    (failure,) = world.ask_again(execution_id, **config).get_step_failure_events()
    assert words in str(failure.step_failure_data.user_failure_data)
    assert len(world.mail.mails) == 1


@on_sqlite
def test_who_is_a_recipient_of_an_unusable_delivery_hears_why_it_is(world: World) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    execution_id = world.run(config_id=1).run_id
    world.go.execute('UPDATE report_deliveries SET delivery_config = \'{"smtp_port": "x"}\' WHERE id = 1')
    (failure,) = world.ask_again(execution_id, recipient=ANA).get_step_failure_events()
    assert "cannot be used: report_deliveries 1, column delivery_config.smtp_port" in str(
        failure.step_failure_data.user_failure_data
    )


@pytest.mark.parametrize("how", ["gone", "changed", "purged"])
@on_sqlite
def test_an_archive_that_is_not_what_was_rendered_is_refused(world: World, how: str) -> None:
    world.mail.script(ANA, "RCPT", "550 5.1.1 no such user")
    execution_id = world.run(config_id=1).run_id
    (file,) = world.files()
    if how == "changed":
        file.write_bytes(b"x")
    else:
        file.unlink()
    if how == "purged":
        (world.home / "output" / execution_id / "manifest.json").unlink()
    (failure,) = world.ask_again(execution_id).get_step_failure_events()
    assert "run the report again: reporthub run 1" in str(failure.step_failure_data.user_failure_data)
    assert len(world.mail.mails) == 1


@on_sqlite
def test_a_retry_whose_archive_is_gone_ends_failed(world: World) -> None:
    no_waiting(world)
    world.mail.script(ANA, "RCPT", LATER)
    execution_id = world.run(config_id=1).run_id
    world.files()[0].unlink()
    launch(world, retries(world)[0])
    row = world.execution(execution_id)
    reap(world)
    assert "is gone: run the report again" in row["error_message"]
    assert (row["status"], retries(world)) == ("failed", [])


@on_sqlite
def test_while_a_server_is_away_one_run_probes_it_and_all_who_waited_follow(world: World) -> None:
    port = world.mail.port
    server = f"smtp://{world.mail.host}:{port}"
    with closing(Hub(f"sqlite:///{world.home / 'reporthub.db'}", ZoneInfo("UTC"))) as hub:
        circuits = Circuits(hub, BreakerPolicy())
        for _ in range(3):
            circuits.failed(Admission(server), "no answer")
    ids = [world.run(config_id=1).run_id for _ in range(3)]
    assert world.mail.mails == []
    assert {world.execution(each)["status"] for each in ids} == {"running"}
    assert len(world.files()) == len(list(world.share.iterdir())) * 3, "the folder has got them all"
    assert world.ask_again(ids[2]).success, "a person insists, and it answers"
    assert world.execution(ids[2])["status"] == "completed"
    asked = retries(world)
    assert {request.tags["reporthub/execution_id"] for request in asked} == set(ids[:2])
    for request in asked:
        assert launch(world, request).success
    assert {world.execution(each)["status"] for each in ids} == {"completed"}
    assert len(world.mail.mails) == 6
