"""What every destination does, whatever its kind: one suite over the registry, a case for each method."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster_tests.contracts.destination_cases import CANARY, CASES, MB, Case, able
from reporthub_dagster_tests.destinations.parcels import parcel, rendered, send_all, states
from reporthub_dagster_tests.servers.cutting import Moment, StartCutting


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path, request)


def test_every_method_has_a_case() -> None:
    assert tuple(dict.fromkeys(case.method for case in CASES.values())) == DESTINATIONS.kinds()


def test_everybody_gets_the_file_and_a_receipt(case: Case, tmp_path: Path) -> None:
    destination = case.destination()
    file = rendered(tmp_path)
    receipts = send_all(destination, parcel(file))
    assert destination.recipients() == case.people
    assert [receipt.recipient for receipt in receipts] == list(case.people)
    assert {receipt.state for receipt in receipts} == {"sent"}
    assert all(receipt.delivery_id == 7 and receipt.detail and receipt.at.tzinfo for receipt in receipts)
    assert all(case.arrived(person) == {file.name: file.path.read_bytes()} for person in case.people)
    assert destination.problems() == ()


def test_only_who_is_asked_for_is_reached(case: Case, tmp_path: Path) -> None:
    receipts = list(case.destination().send(parcel(rendered(tmp_path)), case.people[1:2]))
    assert states(receipts) == {case.people[1]: "sent"}
    assert [bool(case.arrived(person)) for person in case.people] == [False, True, False]


def test_nothing_leaves_for_a_recipient_before_its_receipt_is_asked_for(case: Case, tmp_path: Path) -> None:
    sending = case.destination().send(parcel(rendered(tmp_path)), case.people)
    assert not any(case.arrived(person) for person in case.people)
    next(sending)
    assert [bool(case.arrived(person)) for person in case.people] == [True, False, False]
    sending.close()
    case.settle()
    assert [bool(case.arrived(person)) for person in case.people] == [True, False, False]


def test_somebody_who_is_not_a_recipient_is_refused(case: Case, tmp_path: Path) -> None:
    receipts = list(case.destination().send(parcel(rendered(tmp_path)), ["mallory@x.test"]))
    assert states(receipts) == {"mallory@x.test": "refused"}
    assert not case.arrived("mallory@x.test")


def test_one_who_is_refused_does_not_stop_the_others(case: Case, tmp_path: Path) -> None:
    case.refuse(case.people[1])
    receipts = send_all(case.destination(), parcel(rendered(tmp_path)))
    assert [receipt.state for receipt in receipts] == ["sent", "refused", "sent"]
    assert not any(receipt.unreachable for receipt in receipts)


def test_what_may_pass_is_retried_by_the_next_attempt(case: Case, tmp_path: Path) -> None:
    case.fail_for_now(case.people[1])
    destination, what = case.destination(), parcel(rendered(tmp_path))
    first = send_all(destination, what)
    assert [receipt.state for receipt in first] == ["sent", "retry", "sent"]
    assert not case.arrived(case.people[1])
    again = list(destination.send(what, [r.recipient for r in first if r.state == "retry"]))
    assert states(again) == {case.people[1]: "sent"}
    assert all(case.arrived(person) for person in case.people)


def test_where_nothing_is_there_everybody_has_a_receipt_that_says_so(case: Case, tmp_path: Path) -> None:
    destination = case.unreachable()
    receipts = send_all(destination, parcel(rendered(tmp_path)))
    assert states(receipts) == dict.fromkeys(destination.recipients(), case.unreachable_state)
    assert {receipt.unreachable for receipt in receipts} == {case.has_server}
    assert all((destination.server_of(name) is not None) == case.has_server for name in case.people)
    with pytest.raises(ReportHubError):
        destination.check()


def test_a_wrong_row_is_named_with_table_row_and_column(case: Case) -> None:
    for options, recipients, column in case.broken:
        with pytest.raises(ConfigurationError) as caught:
            case.build(options, *recipients)
        assert (caught.value.table, caught.value.row, caught.value.column) == ("report_deliveries", 7, column)
        assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_a_warning(case: Case) -> None:
    assert "colour" in " ".join(case.build({**case.options(), "colour": "red"}, *case.people).warnings)
    assert "colour" not in " ".join(case.destination().warnings)


def test_sending_again_replaces_what_was_there(case: Case, tmp_path: Path) -> None:
    for content in (b"old", b"new and longer"):
        send_all(case.destination(), parcel(rendered(tmp_path, "same.csv", content)))
    assert case.arrived(case.people[0])["same.csv"] == b"new and longer"


def test_a_big_file_arrives_whole_and_is_never_seen_in_part(case: Case, tmp_path: Path) -> None:
    content = os.urandom(MB) * (case.big // MB)
    file = rendered(tmp_path, "big.bin", content)
    with watched(case, case.people[0]) as seen:
        receipts = list(case.destination().send(parcel(file), case.people[:1]))
    assert [receipt.state for receipt in receipts] == ["sent"]
    assert sha256(case.arrived(case.people[0])["big.bin"]).hexdigest() == file.sha256
    assert seen <= {len(content)}


@pytest.mark.parametrize(
    "name",
    [
        "Umsätze März.xlsx",
        "売上 報告 2025.csv",
        "a'b, c;d=e%20(1).csv",
        "😀" * 40 + ".csv",
        "x" * 190 + ".json",
    ],
)
def test_file_names_arrive_as_they_are(case: Case, tmp_path: Path, name: str) -> None:
    file = rendered(tmp_path, name, "Grüße 😀\n".encode())
    receipts = list(case.destination().send(parcel(file), case.people[:1]))
    assert [receipt.state for receipt in receipts] == ["sent"]
    assert case.arrived(case.people[0]) == {name: file.path.read_bytes()}


def test_several_files_arrive_together(case: Case, tmp_path: Path) -> None:
    files = [rendered(tmp_path, name, name.encode()) for name in ("a.csv", "b.pdf")]
    send_all(case.destination(), parcel(*files))
    assert case.arrived(case.people[2]) == {"a.csv": b"a.csv", "b.pdf": b"b.pdf"}


def test_a_file_that_changed_or_went_away_is_not_delivered(case: Case, tmp_path: Path) -> None:
    changed, gone = rendered(tmp_path, "changed.csv"), rendered(tmp_path, "gone.csv")
    changed.path.write_bytes(b"something else")
    gone.path.unlink()
    for file in (changed, gone):
        receipts = send_all(case.destination(), parcel(file))
        assert {receipt.state for receipt in receipts} == {"refused"}
        assert file.name in receipts[0].detail
    assert not any(case.arrived(person) for person in case.people)


@pytest.mark.parametrize("case", able("wrong_password"), indirect=True)
def test_a_wrong_password_needs_a_person(case: Case, tmp_path: Path) -> None:
    destination = case.wrong_password()
    receipts = send_all(destination, parcel(rendered(tmp_path)))
    assert {(receipt.state, receipt.needs_person) for receipt in receipts} == {("refused", True)}
    assert "delivery_config." in receipts[0].detail
    assert not any(case.arrived(person) for person in case.people)


@pytest.mark.parametrize("case", able("stranger"), indirect=True)
def test_who_cannot_prove_who_it_is_gets_nothing_and_a_person_is_told_the_cure(
    case: Case, tmp_path: Path
) -> None:
    destination = case.stranger()
    receipts = send_all(destination, parcel(rendered(tmp_path)))
    assert {(receipt.state, receipt.needs_person) for receipt in receipts} == {("refused", True)}
    assert f"delivery_config.{case.identity}" in receipts[0].detail
    with pytest.raises(ConfigurationError):
        destination.check()
    assert not any(case.arrived(person) for person in case.people)


@pytest.mark.parametrize("case", able("at"), indirect=True)
def test_a_silent_server_is_tried_again_within_its_time(case: Case, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = case.at(silent.getsockname()[1], seconds=0.5)
        (receipt,) = destination.send(parcel(rendered(tmp_path)), case.people[:1])
    assert (receipt.state, receipt.unreachable) == ("retry", True), receipt


@pytest.mark.parametrize("case", able("full"), indirect=True)
def test_where_there_is_no_room_it_is_tried_again_and_nothing_is_left(case: Case, tmp_path: Path) -> None:
    destination = case.full()
    receipts = send_all(destination, parcel(rendered(tmp_path, content=b"x" * 5 * MB)))
    assert {receipt.state for receipt in receipts} == {"retry"}, receipts
    assert not any(case.arrived(person) for person in destination.recipients())


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@pytest.mark.parametrize("case", able("at"), indirect=True)
def test_a_cut_connection_leaves_no_part_of_a_file_and_the_next_attempt_all_of_it(
    case: Case, moment: Moment, tmp_path: Path, start_cutting: StartCutting
) -> None:
    file = rendered(tmp_path, "big.bin", os.urandom(4 * MB))
    person = case.people[0]
    cut = case.at(start_cutting(case.port, moment, file.size))
    (receipt,) = cut.send(parcel(file), [person])
    assert receipt.state == (case.lost_state if moment == "after" else "retry"), receipt
    assert case.keeps_parts or {len(data) for data in case.arrived(person).values()} <= {file.size}
    (again,) = case.destination().send(parcel(file), [person])
    assert again.state == "sent"
    assert case.arrived(person) == {file.name: file.path.read_bytes()}


def test_check_says_what_answered_and_leaves_nothing(case: Case) -> None:
    assert case.destination().check()
    assert not any(case.arrived(person) for person in case.people)


def test_the_password_is_nowhere(case: Case, tmp_path: Path) -> None:
    destination = case.destination()
    case.refuse(case.people[0])
    case.fail_for_now(case.people[1])
    shown = [repr(destination), repr(vars(destination))]
    shown += [str(destination.server_of(person)) for person in case.people]
    for each in (destination, case.unreachable()):
        shown += [repr(receipt) for receipt in send_all(each, parcel(rendered(tmp_path)))]
        shown += each.warnings
        try:
            each.check()
        except ReportHubError:
            shown.append(traceback.format_exc())
    for options in (
        {**case.options(), "smtp_port": CANARY, "overwrite": CANARY},
        {**case.options(), "cc": 3.5},
    ):
        try:
            case.build(options, *case.people)
        except ConfigurationError:
            shown.append(traceback.format_exc())
    assert not [text for text in shown if CANARY in text]


@contextmanager
def watched(case: Case, person: str) -> Iterator[set[int]]:
    """Poll what a recipient has, all the time; the sizes that were seen."""
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.update(case.seen(person))
            done.wait(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
