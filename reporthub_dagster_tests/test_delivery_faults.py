"""Every fault of a mail server, and a process that is killed, against the ledger: nobody gets it twice."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import event

from reporthub_dagster_tests.delivery_process import MOMENTS, run_and_die
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.prepared import Prepared, mail_to
from reporthub_dagster_tests.servers.smtp import DROP

on_mariadb = pytest.mark.parametrize("world", ["mariadb"], indirect=True)

MATRIX = {
    # recipient: phase, what the server does, state after the first attempt, mails in the end; between two
    # connections that are lost one answers, or the rest would be left for later
    "ok": ("RCPT", (), "sent", 1),
    "cut": ("RCPT", (DROP,), "retry", 1),
    "grey": ("RCPT", ("450 4.2.0 greylisted",) * 2, "retry", 1),
    "before": ("DATA", (DROP,), "retry", 1),
    "busy": ("RCPT", ("451 4.3.0 try later",), "retry", 1),
    "full": ("ANSWER", ("452 4.3.1 disk full",), "retry", 1),
    "gone": ("RCPT", ("550 5.1.1 no such user",), "refused", 0),
    "after": ("ANSWER", (DROP,), "unknown", 1),
    "quota": ("RCPT", ("552 5.2.2 mailbox full",), "refused", 0),
    "spam": ("ANSWER", ("554 5.7.1 spam",), "refused", 0),
    "last": ("RCPT", (), "sent", 1),
}


def state_of(world: World) -> dict[str, str]:
    return {name.split("@")[0]: state for name, state in world.ledger().items()}


def mails(world: World) -> Counter[str]:
    return Counter(mail.recipient.split("@")[0] for mail in world.mail.mails)


def test_every_fault_has_its_state_and_nobody_gets_it_twice(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET retry_interval_minutes = 0")
    mail_to(world, [f"{name}@x.test" for name in MATRIX])
    for name, (phase, actions, _, _) in MATRIX.items():
        world.mail.script(f"{name}@x.test", phase, *actions)  # type: ignore[arg-type]
    first = Prepared(world.home)
    first.deliver()
    first.hub.close()
    assert state_of(world) == {name: state for name, (*_, state, _) in MATRIX.items()}
    for _ in range(4):
        heir = Prepared(world.home)
        heir.deliver()
        heir.hub.close()
    waited = {name for name, (*_, state, _) in MATRIX.items() if state == "retry"}
    assert state_of(world) == {
        name: "sent" if name in waited else state for name, (*_, state, _) in MATRIX.items()
    }
    assert mails(world) == Counter({name: count for name, (*_, count) in MATRIX.items() if count})
    logs = world.go.rows("SELECT recipient_count FROM report_delivery_logs ORDER BY id")
    assert [log["recipient_count"] for log in logs] == [len(MATRIX), len(waited), 1]
    ids = [mail.message["Message-ID"] for mail in world.mail.mails]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_server_without_its_starttls_gets_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_USE_TLS", "true")
    stripped = Prepared(world.home)
    outcome = stripped.deliver()
    stripped.hub.close()
    assert world.mail.mails == []
    assert set(world.ledger().values()) == {"refused"}
    assert "does not offer STARTTLS" in str(outcome.failure())


@on_mariadb
def test_a_thousand_recipients_cost_two_statements_each(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET retry_interval_minutes = 0")
    names = [f"p{number}@x.test" for number in range(1000)]
    mail_to(world, names)
    deferred, refused = names[::20], names[7::20]
    for name in deferred:
        world.mail.script(name, "RCPT", "451 4.3.0 try later")
    for name in refused:
        world.mail.script(name, "RCPT", "550 5.1.1 no such user")
    first = Prepared(world.home)
    statements: list[str] = []
    event.listen(first.hub.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    first.deliver()
    first.hub.close()
    assert Counter(world.ledger().values()) == {"sent": 900, "retry": 50, "refused": 50}
    assert len(statements) < 2 * len(names) + 40
    again = Prepared(world.home)
    outcome = again.deliver()
    again.hub.close()
    assert Counter(world.ledger().values()) == {"sent": 950, "refused": 50}
    assert len(outcome.already) == 900
    assert max(Counter(mail.recipient for mail in world.mail.mails).values()) == 1
    assert {mail.recipient for mail in world.mail.mails} == set(names) - set(refused)


@on_mariadb
def test_killed_between_any_two_recipients_nobody_gets_it_twice(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET retry_interval_minutes = 0")
    victims = {f"{moment}@x.test": moment for moment in MOMENTS}
    names = ["ok", *MATRIX, "last"]
    faults = {f"{name}-{place}@x.test": MATRIX[name] for place, name in enumerate(names)}
    shares = [list(faults)[place :: len(victims)] for place in range(len(victims))]
    recipients = [name for victim, share in zip(victims, shares, strict=True) for name in (*share, victim)]
    mail_to(world, recipients)
    for name, (phase, actions, _, _) in faults.items():
        world.mail.script(name, phase, *actions)  # type: ignore[arg-type]
    for victim, moment in victims.items():
        assert run_and_die(world.home, moment, victim) == -9
    for _ in range(4):
        heir = Prepared(world.home)
        heir.deliver()
        heir.hub.close()
    lost = {name for name, moment in victims.items() if moment in {"begun", "sent"}}
    assert world.ledger() == {
        **{name: "unknown" if name in lost else "sent" for name in victims},
        **{name: "sent" if state == "retry" else state for name, (*_, state, _) in faults.items()},
    }
    arrived = {name: count for name, (*_, count) in faults.items()}
    arrived |= {name: moment != "begun" for name, moment in victims.items()}
    assert Counter(mail.recipient for mail in world.mail.mails) == +Counter(arrived)
    logs = world.go.rows("SELECT status FROM report_delivery_logs ORDER BY id")
    assert [log["status"] for log in logs[: len(victims)]] == ["failed"] * len(victims)
