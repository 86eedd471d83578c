"""Oracle without an Oracle server, which is not to be had: its driver's own objects, and failing connections.

What an answer of a server becomes is shown with columns as the driver describes them, its data frames, and a
connection that answers as `_Server` says. Nothing here proves what Oracle itself makes of a statement.
"""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import oracledb
import pyarrow as pa
import pytest
from oracledb.errors import _Error

from reporthub_dagster.connectors.oracle import OracleConnector
from reporthub_dagster.connectors.oracle_columns import arrays_of, batch_of, column_of, wrapped
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, read, types
from reporthub_dagster_tests.servers.process import wait_until

_at = datetime.fromisoformat
_MOST = "1234567890123456789012345678.9012345678"
_LAST = _at("9999-12-31T23:59:59.999999")
_URL = "oracle://scott:t1ger@127.0.0.1:1521/?service_name=shop"


def connector_of(url: str = _URL, **options: Any) -> OracleConnector:
    return OracleConnector(DataSource(7, "shop", "oracle", url, options))


def _described(name: str, kind: str, precision: int = 0, scale: int = 0, *, is_json: bool = False) -> Any:
    """A column as the driver describes it, made by the driver's own class."""
    known = {"dbtype": getattr(oracledb, f"DB_TYPE_{kind}"), "precision": precision, "scale": scale}
    info: Any = oracledb.FetchInfo
    return info._from_impl(SimpleNamespace(name=name, is_json=is_json, **known))  # noqa: SLF001


class _Server:
    """A connection of the driver whose answers are known.

    Attributes:
        asked: What was executed or fetched, in order.
    """

    version = "23.4.0.24.5"
    call_timeout = 0

    def __init__(self, described: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
        self.description, self.rows = list(described), list(rows)
        self.asked: list[Any] = []
        self.closed = False
        self.bound: Any = None
        self.outputtypehandler: Any = None

    def cursor(self) -> Any:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def parse(self, sql: str) -> None:
        self.asked.append(("parse", sql))

    def execute(self, sql: str, binds: Any = None, **given: Any) -> _Server:
        self.asked.append((sql, binds, given))
        return self

    def var(self, kind: Any, **_: Any) -> Any:
        return SimpleNamespace(kind=kind, setvalue=lambda _, value: setattr(self, "bound", (kind, value)))

    def fetchmany(self, size: int) -> list[Sequence[Any]]:
        taken, self.rows = self.rows[:size], self.rows[size:]
        return taken

    def fetch_df_batches(
        self, sql: str, binds: Any, *, size: int, requested_schema: pa.Schema
    ) -> Iterator[Any]:
        self.asked.append((sql, binds, requested_schema))
        while taken := self.fetchmany(size):
            columns = zip(zip(*taken, strict=True), requested_schema.types, strict=True)
            arrays = [pa.array(cells, kind) for cells, kind in columns]
            yield oracledb.from_arrow(pa.table(arrays, schema=requested_schema))

    def close(self) -> None:
        self.closed = True


def _answering(monkeypatch: pytest.MonkeyPatch, described: Sequence[Any], *rows: Sequence[Any]) -> _Server:
    server = _Server(described, rows)
    monkeypatch.setattr(oracledb, "connect", lambda **_: server)
    return server


# column → description, what the driver gives (of a NUMBER its digits), type of the column, value
EXACT: dict[str, tuple[Any, Any, str, Any]] = {
    "I": (("NUMBER", 18, 0), "-999999999999999999", "int64", -(10**18) + 1),
    "D": (("NUMBER", 38, 10), _MOST, "decimal128(38, 10)", Decimal(_MOST)),
    "N": (("NUMBER", 0, -127), "0.1000000000000000000000000000000000000001", "decimal", f"0.1{'0' * 38}1"),
    "F": (("NUMBER", 126, -127), "1" + "0" * 125, "decimal", "1" + "0" * 125),
    "NEG": (("NUMBER", 5, -2), "1234500", "decimal", "1234500"),
    "BF": (("BINARY_FLOAT",), 0.10000000149011612, "double", 0.1),
    "BD": (("BINARY_DOUBLE",), 5e-324, "double", 5e-324),
    "V": (("VARCHAR",), "😀 é", "string", "😀 é"),
    "NC": (("NCHAR",), "é  ", "string", "é  "),
    "C": (("CLOB",), "x" * 100_000, "string", "x" * 100_000),
    "RW": (("RAW",), b"\0\xff", "binary", b"\0\xff"),
    "B": (("BLOB",), b"\0" * 100_000, "binary", b"\0" * 100_000),
    "DAY": (("DATE",), _at("2024-02-29T23:59:59"), "timestamp[us]", _at("2024-02-29T23:59:59")),
    "T6": (("TIMESTAMP", 0, 6), _LAST, "timestamp[us]", _LAST),
    "T9": (("TIMESTAMP", 0, 9), " 9999-12-31 23:59:59.999999000", "timestamp[us]", _LAST),
    "TZ": (
        ("TIMESTAMP_TZ", 0, 6),
        " 2024-02-29 05:00:00.123456000",
        "timestamp[us, tz=UTC]",
        datetime(2024, 2, 29, 5, 0, 0, 123456, UTC),
    ),
    "DS": (("INTERVAL_DS", 2, 6), "-01 10:00:00.000001", "string", "-01 10:00:00.000001"),
    "YM": (("INTERVAL_YM", 2), "+01-02", "string", "+01-02"),
    "J": (("JSON",), '{"a":1.10}', "json", '{"a":1.10}'),
    "E": (("VECTOR",), "[1.0E+000,2.0E+000]", "json", "[1.0E+000,2.0E+000]"),
    "X": (("XMLTYPE",), "<a/>", "string", "<a/>"),
    "OK": (("BOOLEAN",), True, "bool", True),
    "RID": (("ROWID",), "AAAB0oAAEAAAAAXAAA", "string", "AAAB0oAAEAAAAAXAAA"),
}


def test_driver_objects_every_type_is_read_exactly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    described = [_described(name, *made[0]) for name, made in EXACT.items()]
    server = _answering(monkeypatch, described, [made[1] for made in EXACT.values()], [None] * len(EXACT))

    result, rows = read(connector_of(), "SELECT * FROM t", tmp_path)

    assert types(result) == {name: made[2] for name, made in EXACT.items()}
    assert rows == [{name: made[3] for name, made in EXACT.items()}, dict.fromkeys(EXACT)]
    sql, _, given = server.asked[-1]
    assert given == {"fetch_lobs": False}
    assert 'SELECT "I", "D"' in sql
    assert 'TO_CHAR(SYS_EXTRACT_UTC("TZ"), \'SYYYY-MM-DD HH24:MI:SS.FF9\') AS "TZ"' in sql
    assert server.outputtypehandler(server, described[0]).kind is str
    assert server.outputtypehandler(server, described[5]) is None


def test_driver_objects_frames_are_asked_for_where_every_column_is_exact_in_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    described = [
        _described("N", "NUMBER", 38, 10),
        _described("F", "BINARY_FLOAT"),
        _described("N", "TIMESTAMP", 0, 6),
    ]
    row = (Decimal(_MOST), 0.1, _at("2024-02-29T12:00:00.123456"))
    server = _answering(monkeypatch, described, *[row] * 12_000)

    result, rows = read(connector_of(), "SELECT n, f, n FROM t", tmp_path)

    assert types(result) == {"N": "decimal128(38, 10)", "F": "double", "N_2": "timestamp[us]"}
    assert len(rows) == 12_000
    assert list(rows[-1].values()) == list(row)
    assert server.asked[-1][0] == "SELECT n, f, n FROM t"
    assert server.asked[-1][2].types == [pa.decimal128(38, 10), pa.float32(), pa.timestamp("us")]
    assert server.closed


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_TZ"])
@pytest.mark.parametrize("value", ["2024-02-29 12:00:00.123456789", "-4712-01-01 00:00:00.000000000"])
def test_driver_objects_a_moment_that_no_column_holds_stays_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, value: str
) -> None:
    server = _answering(monkeypatch, [_described("AT", kind, 0, 9)])
    answers = iter([[(value,)], [(value,)], []])
    monkeypatch.setattr(server, "fetchmany", lambda _: next(answers))

    result, rows = read(connector_of(), "SELECT at FROM t", tmp_path)

    assert (types(result), rows) == ({"AT": "string"}, [{"AT": value}])
    assert "column 'AT' is text" in result.warnings[0]


def test_driver_objects_a_type_that_no_file_shows_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _answering(monkeypatch, [_described("POINT", "OBJECT")])

    with pytest.raises(ConfigurationError, match="column 'POINT' is of type OBJECT"):
        read(connector_of(), "SELECT point FROM t", tmp_path)


def test_driver_objects_double_names_beside_what_is_asked_by_name_are_refused() -> None:
    columns = [column_of(_described("A", "JSON"), name, None) for name in ("A", "A_2")]

    with pytest.raises(ConfigurationError, match="give each column a name of its own"):
        wrapped("SELECT a, a FROM t", columns, ["A", "A"])


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        (True, 1),
        (Decimal(_MOST), Decimal(_MOST)),
        (_at("2024-02-29T12:00:00"), (oracledb.DB_TYPE_DATE, _at("2024-02-29T12:00:00"))),
        (_at("2024-02-29T12:00:00.5"), (oracledb.DB_TYPE_TIMESTAMP, _at("2024-02-29T12:00:00.5"))),
        (_at("2024-02-29T12:00:00+07:00"), (oracledb.DB_TYPE_TIMESTAMP_TZ, _at("2024-02-29T05:00:00"))),
    ],
)
def test_driver_objects_values_are_bound_under_names_of_our_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: Any, bound: Any
) -> None:
    server = _answering(monkeypatch, [_described("A", "VARCHAR")], ("x",))
    query = BoundQuery.of(
        ["SELECT a FROM t WHERE d = ", Bind("date", value), " OR e = ", Bind("date", value)]
    )

    read(connector_of(), query, tmp_path)

    sql, binds, _ = server.asked[-1]
    assert sql == "SELECT a FROM t WHERE d = :b1 OR e = :b1"
    assert (server.bound if isinstance(bound, tuple) else binds["b1"]) == bound
    assert [one[0] for one in server.asked[:2]] == ["SET TRANSACTION READ ONLY", "parse"]
    assert 0 < server.call_timeout <= 60_000


def test_driver_objects_the_session_is_told_what_the_row_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = _answering(monkeypatch, [_described("A", "VARCHAR")], ("x",))

    read(connector_of(time_zone="Asia/Jakarta", nls_date_format="YYYY'D'"), "SELECT a FROM t", tmp_path)

    assert [one[0] for one in server.asked[:2]] == [
        "ALTER SESSION SET TIME_ZONE = 'Asia/Jakarta'",
        "ALTER SESSION SET NLS_DATE_FORMAT = 'YYYY''D'''",
    ]
    with pytest.raises(ConfigurationError, match="time_zone is not usable"):
        connector_of(time_zone="x' y")


@pytest.mark.parametrize("sql", ["DROP TABLE t", "/* SELECT */ TRUNCATE TABLE t", "BEGIN NULL; END;"])
def test_driver_objects_what_is_no_query_is_not_even_parsed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sql: str
) -> None:
    server = _answering(monkeypatch, [])

    with pytest.raises(ConfigurationError, match="one SELECT and nothing else"):
        read(connector_of(), sql, tmp_path)

    assert [one[0] for one in server.asked] == ["SET TRANSACTION READ ONLY"]


@pytest.mark.parametrize(
    ("told", "kind", "expected"),
    [
        ("ORA-01017: invalid username/password; logon denied", ConfigurationError, "refused the login"),
        ("ORA-28000: the account is locked", ConfigurationError, "refused the login"),
        ('DPY-6001: Service "X" is not registered', ConfigurationError, "does not know the database"),
        ("DPY-4024: call timeout of 1000 ms exceeded", PermanentError, "timeout_seconds"),
        ("ORA-00028: your session has been killed", PermanentError, "somebody stopped"),
        ("ORA-00060: deadlock detected", TransientError, "could not finish"),
        ("DPY-4011: the database closed the connection", TransientError, "was lost"),
        ("DPY-2018: wallet file ewallet.pem was not found", ConfigurationError, "wallet_location"),
        ("ORA-01031: insufficient privileges", ConfigurationError, "a right is missing"),
        ("ORA-00942: table or view does not exist", ConfigurationError, "refused the query: ORA-00942"),
        ("ORA-01456: may not perform in a READ ONLY transaction", ConfigurationError, "READ ONLY"),
    ],
)  # fmt: skip
def test_driver_objects_error_codes_say_what_to_do(
    told: str, kind: type[ReportHubError], expected: str
) -> None:
    code = int(told[4:9]) if told.startswith("ORA") else 0
    error = oracledb.DatabaseError(_Error(told, code=code))

    explained = connector_of().explain(error, LIMITS)

    assert type(explained) is kind
    assert expected in str(explained)
    assert "Help" not in str(explained)


@pytest.mark.parametrize(
    ("url", "options", "place"),
    [
        (_URL, {}, {"host": "127.0.0.1", "port": 1521, "protocol": "tcp", "service_name": "shop"}),
        ("oracle+cx_oracle://u:p@h:1522/XE", {}, {"host": "h", "port": 1522, "protocol": "tcp", "sid": "XE"}),
        ("oracle://u:p@h", {"sid": "s"}, {"host": "h", "port": 1521, "protocol": "tcp", "sid": "s"}),
        ("oracle+oracledb://u:p@sales", {"config_dir": "/etc/tns"}, {"dsn": "sales"}),
        ("oracle://u:p@", {"dsn": "tcps://h:2484/s"}, {"dsn": "tcps://h:2484/s"}),
    ],
)  # fmt: skip
def test_the_row_says_where(url: str, options: dict[str, Any], place: dict[str, Any]) -> None:
    assert connector_of(url, **options).place() == place


def test_a_row_without_a_database_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"column connection_url: the row names no database"):
        connector_of("oracle://u:p@h:1521").check(1)


@pytest.mark.parametrize(
    ("url", "options", "kind", "expected"),
    [
        ("oracle://u:t1ger@127.0.0.1:1/?service_name=x", {}, TransientError, "cannot be reached"),
        ("oracle://u:t1ger@no-such-host.invalid/x", {}, ConfigurationError, "connection_url: unknown host"),
        ("oracle://u:t1ger@alias", {}, ConfigurationError, "config_dir"),
        ("oracle://u:t1ger@h/x", {"ssl_ca": "/no.pem"}, ConfigurationError, "a file cannot be read"),
    ],
)  # fmt: skip
def test_connection_errors_name_what_to_change(
    url: str, options: dict[str, Any], kind: type[ReportHubError], expected: str
) -> None:
    with pytest.raises(kind, match=expected) as raised:
        connector_of(url, **options).check(2)

    assert "t1ger" not in str(raised.value)


@pytest.fixture
def driver_ends() -> Iterator[None]:
    """Waits for the driver's last word on a connection that failed: it leaves the socket to the collector."""
    before = threading.active_count()
    yield
    wait_until(lambda: threading.active_count() <= before, "the end of the driver's thread")
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed")
@pytest.mark.usefixtures("driver_ends")
@pytest.mark.parametrize("protocol", ["tcp", "tcps"])
def test_connection_errors_of_another_protocol_are_no_riddle(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"oracle://u:p@127.0.0.1:{listener.getsockname()[1]}/?service_name=x"
        with pytest.raises(ReportHubError, match=r"cannot be reached|no trusted TLS connection"):
            connector_of(url, protocol=protocol).check(5)
        thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed")
@pytest.mark.usefixtures("driver_ends")
def test_connection_errors_a_listener_that_says_nothing_is_left_in_time() -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"oracle://u:p@127.0.0.1:{listener.getsockname()[1]}/?service_name=x"

        with pytest.raises(TransientError, match="cannot be reached: no answer within 1 s"):
            connector_of(url, connect_timeout=1).check(60)

    assert time.monotonic() - begun < 5


def test_driver_objects_rows_and_columns_agree() -> None:
    columns = [column_of(_described("N", "NUMBER", 4, 2), "N", None)]

    batch = batch_of(columns, arrays_of([("1.5",), (None,)], columns), pa.schema([columns[0].field]))

    assert batch.to_pydict() == {"N": [Decimal("1.50"), None]}
