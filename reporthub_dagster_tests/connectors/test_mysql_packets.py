"""Rows as a MySQL server frames them, in pieces of every size, come back as they were."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reporthub_dagster.connectors import mysql_packets
from reporthub_dagster.connectors.cell_bytes import Places
from reporthub_dagster.connectors.mysql_cells import MalformedRowError, cells_of
from reporthub_dagster.connectors.mysql_packets import Block, ConnectionEndedError, PacketReader
from reporthub_dagster.connectors.mysql_wire import reading_ahead

Row = list[bytes | None]

EOF = b"\xfe\0\0\x22\0"
ERROR = b"\xff\x28\x04#42000no"
COLUMNS = 3

CELLS = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from([0, 1, 249, 250, 251, 252, 65_534, 65_535, 65_536]).map(bytes),
    st.sampled_from([b"\xff", b"\xfe", b"\xfb", b"\0", "😀".encode()]),
    # What looks like packets, of the numbers that the first ones have.
    st.integers(0, 4).map(lambda at: b"".join(bytes([1, 0, 0, at + step, 7]) for step in range(4))),
)


class Trickle(io.RawIOBase):
    """A connection that gives out a few bytes at a time."""

    def __init__(self, sent: bytes, at_once: int) -> None:
        self._rest = io.BytesIO(sent)
        self._at_once = at_once

    def readable(self) -> bool:
        return True

    def readinto(self, target: object) -> int:
        view = memoryview(cast("bytearray", target))
        return self._rest.readinto(view[: self._at_once])


def reader_of(sent: bytes, *, at_once: int = 1 << 20, block_bytes: int = 4096) -> PacketReader:
    return PacketReader(io.BufferedReader(Trickle(sent, at_once), 64), block_bytes)


@settings(deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=COLUMNS, max_size=COLUMNS), max_size=12),
    st.integers(16, 400),
    st.integers(1, 5),
    st.integers(1, 100),
    st.sampled_from([1, 1 << 20]),
)
def test_rows_of_any_size_come_back(
    rows: list[Row], block_bytes: int, at_most: int, at_once: int, scan_bytes: int
) -> None:
    sent = numbered([*map(payload, rows), EOF])
    reader = reader_of(sent, at_once=at_once * 97, block_bytes=block_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql_packets, "_SCAN_BYTES", scan_bytes)
        batches = list(batches_of(reader, at_most))

    assert [row for batch in batches for row in batch] == rows
    assert all(len(batch) <= at_most for batch in batches)


def test_rows_are_found_without_a_step_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [[str(number).encode(), None, bytes(number % 300)] for number in range(5000)]
    steps: list[int] = []
    step = PacketReader._step  # noqa: SLF001 - the way that takes longer

    def counted(reader: PacketReader, most: int) -> Places:
        ends = step(reader, most)
        steps.append(len(ends))
        return ends

    monkeypatch.setattr(PacketReader, "_step", counted)
    reader = reader_of(numbered([*map(payload, rows), EOF]), block_bytes=1 << 20)

    assert [row for batch in batches_of(reader, 2000) for row in batch] == rows
    assert sum(steps) < 500


def test_what_comes_in_time_is_looked_at_together() -> None:
    rows: list[Row] = [[b"a", None, bytes(90)]] * 3000
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs), ours.makefile("rb") as stream:
        ours.settimeout(10)
        sending = Thread(target=theirs.sendall, args=(numbered([*map(payload, rows), EOF]),))
        sending.start()
        came: list[int] = []
        ahead = reading_ahead(ours)

        def counted(room: memoryview, seconds: float) -> int:
            came.append(ahead(room, seconds))
            return came[-1]

        reader = PacketReader(stream, 1 << 20, counted)
        found = [row for batch in batches_of(reader, 1000) for row in batch]
        sending.join()

        assert found == rows
        assert sum(came) > 0
        assert ours.gettimeout() == 10


@pytest.mark.parametrize("length", [2**24 - 5, 2**24 - 1, 2**24, 2 * (2**24 - 1) - 5, 2**25 + 3])
def test_a_row_may_go_on_in_further_packets(length: int) -> None:
    rows: list[Row] = [[b"before", None, b""], [bytes(length), b"x", None], [None, None, b"after"]]
    reader = reader_of(b"".join(framed(payload(row)) for row in rows) + framed(EOF))

    assert [row for batch in batches_of(reader, 10) for row in batch] == rows


def test_an_error_after_rows_is_not_taken_for_one() -> None:
    sent = framed(payload([b"a", None, b"c"])) + framed(ERROR)

    rows, last = reader_of(sent).read(10, 60).rows()

    assert len(rows.ends) == 1
    assert last == ERROR


@pytest.mark.parametrize("scan_bytes", [1, 1 << 20])
def test_what_follows_the_end_of_a_result_is_left_out(
    monkeypatch: pytest.MonkeyPatch, scan_bytes: int
) -> None:
    monkeypatch.setattr(mysql_packets, "_SCAN_BYTES", scan_bytes)
    row = payload([b"a", None, b"c"])

    rows, last = reader_of(numbered([row, EOF, b"\x01", row, row])).read(10, 60).rows()

    assert (len(rows.ends), last) == (1, EOF)


@pytest.mark.parametrize("cut", [1, 4, 7, 20_000])
def test_a_connection_that_ends_in_the_middle_is_told(cut: int) -> None:
    reader = reader_of(framed(payload([bytes(30_000), b"b", None]))[:-cut])

    with pytest.raises(ConnectionEndedError):
        reader.read(10, 60)


def test_rows_that_are_here_are_not_held_back_by_a_silent_server() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs), ours.makefile("rb") as stream:
        ours.settimeout(10)
        theirs.sendall(framed(payload([b"a", None, b"c"])) + b"\x09")

        assert len(PacketReader(stream).read(10, seconds=0).ends) == 1


@pytest.mark.parametrize(
    "row",
    [
        b"\x01a\x01b",
        b"\x01a\x01b\x01c\x01d",
        b"\x01a\x01b\xfcc",
        b"\x01a\x01b\xfe" + b"\xff" * 8,
        b"\x01a\xfe" + b"\xff" * 8 + b"\x01c",
        b"\xfa",
    ],
)
def test_lengths_that_lead_out_of_a_row_are_refused(row: bytes) -> None:
    data = np.frombuffer(row, np.uint8)

    with pytest.raises(MalformedRowError):
        cells_of(Block(data, np.zeros(1, np.int64), np.array([len(row)], np.int64)), COLUMNS)


def batches_of(reader: PacketReader, at_most: int) -> Iterator[list[Row]]:
    last: bytes | None = None
    while last is None:
        block, last = reader.read(at_most, 60).rows()
        cells = cells_of(block, COLUMNS)
        assert all(array.type == pa.binary() for array in cells)
        yield [list(row) for row in zip(*(array.to_pylist() for array in cells), strict=True)]


def framed(sent: bytes, number: int = 0) -> bytes:
    """A payload as packets from this number on: full ones until the last, which may be empty."""
    frames = [sent[at : at + 0xFFFFFF] for at in range(0, len(sent) + 1, 0xFFFFFF)]
    return b"".join(
        len(frame).to_bytes(3, "little") + bytes([at % 256]) + frame
        for at, frame in enumerate(frames, start=number)
    )


def numbered(payloads: list[bytes]) -> bytes:
    """Payloads that one packet holds each, as a server numbers them."""
    return b"".join(framed(sent, number) for number, sent in enumerate(payloads))


def payload(row: Row) -> bytes:
    return b"".join(b"\xfb" if cell is None else length_of(cell) + cell for cell in row)


def length_of(cell: bytes) -> bytes:
    if len(cell) < 251:
        return bytes([len(cell)])
    mark, width = next(found for found in ((0xFC, 2), (0xFD, 3), (0xFE, 8)) if len(cell) < 1 << 8 * found[1])
    return bytes([mark]) + len(cell).to_bytes(width, "little")
