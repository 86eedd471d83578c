"""Rows as PostgreSQL sends them, in pieces of every size, come back as they were."""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reporthub_dagster.connectors.postgresql_cells import Layout, MalformedRowError
from reporthub_dagster.connectors.postgresql_glance import Glance
from reporthub_dagster.connectors.postgresql_messages import Block, MalformedMessageError, MessageReader
from reporthub_dagster.connectors.postgresql_socket import PlainSocket

Row = Sequence[bytes | None]

STORED = ["u1", ">i4", None, ">i8", None]
COMPLETE = (b"C", b"SELECT 1\0")
NOTICE = b"N\0\0\0\x06SX"
SILENCE = b""
SEEMING = b"D\0\0\0\x14\0\5 seems"
"""Within a row of five cells it looks like one."""
CHAIN = 50 * b"D\0\0\0\x0c\0\5 chain"
"""And so do these, each of which ends where the next one begins."""


class Trickle:
    """A connection that gives out a few bytes at a time, and is silent in between."""

    def __init__(self, sent: bytes, at_once: int) -> None:
        self._rest = sent
        self._at_once = at_once
        self._silent = False

    def receive(self, room: memoryview) -> int:
        self._silent = not self._silent
        if self._silent:
            return 0
        got = self._rest[: min(self._at_once, len(room))]
        room[: len(got)] = got
        self._rest = self._rest[len(got) :]
        return len(got)

    def wait_to_receive(self, seconds: float) -> bool:
        if not self._rest:
            if math.isinf(seconds):
                raise psycopg.OperationalError("the connection ended")
            return False
        return True


def number(width: int) -> st.SearchStrategy[bytes | None]:
    return st.one_of(st.none(), st.binary(min_size=width, max_size=width))


TEXTS = st.one_of(
    st.none(), st.binary(max_size=30), st.sampled_from([300, 5000]).map(bytes), st.just(b"D\0\0\0\5")
)
ROWS = st.lists(
    st.tuples(number(1), number(4), TEXTS, number(8), TEXTS)
    | st.tuples(st.just(b"\1"), st.just(b"1234"), TEXTS, st.just(b"12345678"), TEXTS),
    max_size=15,
)


@settings(deadline=None)
@given(ROWS, st.integers(32, 600), st.integers(1, 5), st.integers(1, 3000), st.sets(st.integers(0, 15)))
def test_rows_of_any_size_come_back(
    rows: list[Row], block_bytes: int, at_most: int, at_once: int, noticed: set[int]
) -> None:
    sent = [message(row) if place not in noticed else NOTICE + message(row) for place, row in enumerate(rows)]
    source = Trickle(b"".join(sent) + framed(*COMPLETE) + b"Z\0\0\0\x05T", at_once)

    batches = list(batches_of(MessageReader(source, block_bytes), at_most))

    assert [row for batch in batches for row in batch] == rows
    assert all(len(batch) <= at_most for batch in batches)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([SEEMING, CHAIN, bytes(70_000)]) | st.binary(max_size=20), max_size=30),
    st.integers(50, 2000),
    st.sampled_from([5000, 40_000, 10**6]),
    st.sets(st.integers(0, 2000)),
)
def test_rows_are_found_at_a_glance_whatever_is_in_them(
    cells: list[bytes], at_most: int, at_once: int, noticed: set[int]
) -> None:
    rows: list[Row] = [(b"D", b"1234", cell, None, b"b" * (n % 300)) for n in range(40) for cell in cells]
    sent = [message(row) if place not in noticed else NOTICE + message(row) for place, row in enumerate(rows)]
    source = Trickle(b"".join(sent) + framed(*COMPLETE) + b"Z\0\0\0\x05T", at_once)

    batches = list(batches_of(MessageReader(source), at_most))

    assert [row for batch in batches for row in batch] == rows
    assert all(len(batch) <= at_most for batch in batches)


def test_a_glance_finds_the_rows_that_are_here_and_no_more() -> None:
    row = message([b"x" * 50])
    here = np.frombuffer(row * 1000 + row[:-1], np.uint8)
    whole = list(range(len(row), 1001 * len(row), len(row)))

    assert Glance().ends(here, 5000).tolist() == whole
    assert Glance().ends(here, 10).tolist() == whole[:10]


def test_a_glance_sees_through_what_only_looks_like_rows() -> None:
    row = message([SEEMING * 40, None, b"", None, b"x"])
    sent = np.frombuffer(row * 100 + NOTICE + row * 100, np.uint8)

    assert Glance().ends(sent, 5000).tolist() == list(range(len(row), 101 * len(row), len(row)))


def test_a_glance_takes_no_row_that_is_within_another() -> None:
    row = message([CHAIN, None, b"", None, b"x"])

    assert Glance().ends(np.frombuffer(row * 100, np.uint8), 5000).tolist() == [len(row)]


def test_a_glance_is_not_for_a_little_nor_for_other_messages() -> None:
    row = message([b"x"])

    assert not Glance().ends(np.frombuffer(row * 10, np.uint8), 5000).size
    assert not Glance().ends(np.frombuffer(NOTICE + row * 5000, np.uint8), 5000).size


def test_notices_between_rows_do_not_part_them() -> None:
    sent = b"".join(NOTICE + message([b"a"]) for _ in range(20)) + framed(*COMPLETE)
    reader = MessageReader(Trickle(sent, 10_000))

    assert len(reader.rows(100, 60).ends) == 20
    assert reader.message() == COMPLETE


def test_rows_that_are_here_are_not_held_back_by_a_silent_server() -> None:
    reader = MessageReader(Trickle(message([b"a"]) + b"D\0\0", 100))

    assert len(reader.rows(10, seconds=0).ends) == 1


@pytest.mark.parametrize("cut", [1, 4, 6, 20_000])
def test_a_connection_that_ends_in_the_middle_is_told(cut: int) -> None:
    reader = MessageReader(Trickle(message([bytes(30_000)])[:-cut], 1000), 4096)

    with pytest.raises(psycopg.OperationalError):
        reader.rows(10, 60)


def test_a_server_that_is_silent_for_all_of_the_time_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        reader = MessageReader(PlainSocket(ours.fileno(), seconds=0))
        ours.setblocking(False)

        with pytest.raises(psycopg.OperationalError, match="silent"):
            reader.rows(10, 60)


@pytest.mark.parametrize("length", [0, 3, 2**30 + 1, 2**32 - 1])
def test_a_length_that_no_message_has_is_refused(length: int) -> None:
    reader = MessageReader(Trickle(b"C" + struct.pack(">I", length) + bytes(10), 100), 4096)

    with pytest.raises(MalformedMessageError):
        reader.message()


@pytest.mark.parametrize(
    "bad",
    [
        [b"1234"],
        [b"1234", b"a", b"b"],
        [b"12345678", b"a"],
        [None, b"a", b"b"],
        [b"123456", None],
        [],
    ],
    ids=["a cell too few", "a cell too many", "a wide number", "one too many", "an odd number", "nothing"],
)
def test_what_is_no_row_of_these_columns_is_refused(bad: Row) -> None:
    sent = message([b"1234", b"fine"]) + message(bad)
    ends = np.array([len(message([b"1234", b"fine"])), len(sent)], np.int64)
    starts = np.array([0, ends[0]], np.int64)

    with pytest.raises(MalformedRowError):
        Layout([">i4", None]).cells_of(Block(np.frombuffer(sent, np.uint8), starts, ends))


def batches_of(reader: MessageReader, at_most: int) -> Iterator[list[Row]]:
    layout = Layout(STORED)
    while True:
        block = reader.rows(at_most, 60)
        if not len(block.ends):
            kind = reader.message()
            if kind[0] == b"D":
                continue
            assert kind == COMPLETE
            return
        cells = [
            array.to_pylist() if stored is None else as_sent(array.to_pylist(), stored)
            for array, stored in zip(layout.cells_of(block), STORED, strict=True)
        ]
        yield list(zip(*cells, strict=True))


def as_sent(values: list[int | None], stored: str) -> list[bytes | None]:
    return [None if value is None else np.array(value, stored).tobytes() for value in values]


def message(row: Row) -> bytes:
    cells = [struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for cell in row]
    return framed(b"D", struct.pack(">h", len(row)) + b"".join(cells))


def framed(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack(">I", 4 + len(payload)) + payload
