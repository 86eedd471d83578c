"""Reports that a person has mended after they failed, retried from failure as the UI does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reporthub_dagster_tests.installation import World

pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
ORDERS = "SELECT t.trx_id FROM trx t"
NOT_SET = {"method": "zip", "password": {"env": "NO_SUCH_VARIABLE"}}
WHOLE = {"name": "Orders", "sql": ORDERS}


def set_parameters(world: World, parameters: dict[str, Any]) -> None:
    world.go.execute("UPDATE report_configs SET parameters = :p", p=json.dumps(parameters))


def window(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.go.row("SELECT * FROM report_executions")["execution_context"]["time_range"]
    return found


def test_a_mended_query_is_asked_and_a_whole_one_is_not_asked_again(world: World) -> None:
    broken = {"name": "Totals", "sql": "SELECT count(*) AS n FROM no_such_table"}
    set_parameters(world, {"queries": [WHOLE, broken]})
    first = world.run(config_id=1, parameters={"least": 3})
    decided = window(world)
    assert not first.success
    world.drop_source()  # whoever asks for the orders again fails
    mended = {"name": "Totals", "sql": "SELECT {{least}} AS least, '{{start_datetime}}' AS since"}
    set_parameters(world, {"queries": [WHOLE, mended], "formats": ["json"]})
    again = world.retry_from_failure(first.run_id)
    row = world.execution(first.run_id)
    assert again.success, row["error_message"]
    assert (row["status"], row["rows_returned"]) == ("completed", 8)
    assert window(world) == decided
    assert "{{least}} AS least" in row["execution_context"]["original_query"]
    (path,) = world.share.iterdir()
    assert json.loads(path.read_text())["Totals"] == [{"least": 3, "since": decided["start_datetime"]}]
    assert sorted(mail.recipient for mail in world.mail.mails) == ["ana@finance.test", "budi@finance.test"]


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ({"compress": NOT_SET}, {"compress": "zip"}),
        ({"send_if": {"column": "nothing", "op": ">", "value": 1}}, {"send_if": "not_empty"}),
    ],
    ids=["the file", "the condition"],
)
def test_what_else_was_mended_counts_and_the_rows_are_not_read_again(
    world: World, broken: dict[str, Any], mended: dict[str, Any]
) -> None:
    set_parameters(world, {"queries": [WHOLE], **broken})
    first = world.run(config_id=1)
    assert not first.success
    world.drop_source()
    set_parameters(world, {"queries": [WHOLE], **mended})
    again = world.retry_from_failure(first.run_id)
    assert again.success, world.execution(first.run_id)["error_message"]
    assert len(world.mail.mails) == len(list(world.share.iterdir())) * 2 == 2


def test_a_query_that_was_changed_after_its_rows_were_read_is_asked_before_a_file_is_made(
    world: World,
) -> None:
    set_parameters(world, {"queries": [WHOLE], "compress": NOT_SET})
    first = world.run(config_id=1)
    set_parameters(world, {"queries": [{**WHOLE, "sql": f"{ORDERS} WHERE t.trx_id = 5"}]})
    assert world.retry_from_failure(first.run_id).success
    assert world.execution(first.run_id)["rows_returned"] == 1


def test_what_somebody_has_got_stays_as_it_was_made(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    first = world.run(config_id=1)
    (path,) = world.files()
    made = path.read_bytes()
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT 1 AS one', parameters = NULL")
    assert world.retry_from_failure(first.run_id).success
    attached = [part for mail in world.mail.mails for part in mail.message.iter_attachments()]
    assert [part.get_payload(decode=True) for part in attached] == [made, made]
