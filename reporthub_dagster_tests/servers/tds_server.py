"""A stand-in for SQL Server in a process of its own: real TDS 7.4 on the wire, DuckDB's SQL behind it.

What it is not: T-SQL, SQL Server's optimizer, locks and accounts. It understands the calls that drivers wrap
a query in, and answers what a test has put there under a name (`SELECT * FROM name`) in any of SQL Server's
own types.
"""

from __future__ import annotations

import re
import select
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Listener
from typing import Any

import duckdb
import pyarrow as pa

from reporthub_dagster_tests.servers import tds_wire as wire
from reporthub_dagster_tests.servers.tds_types import TDSType

KEY = b"stand-in"
READER = "reader"
_ROWS = 500
_EXECUTE = re.compile(
    r"EXEC sp_executesql (?P<given>[^()]*?)(?: WITH RESULT SETS \(\((?P<sets>.*)\)\))?", re.DOTALL
)
_DESCRIBE = "sys.dm_exec_describe_first_result_set("
_SET_TYPE = re.compile(r"\[c\d+\] ([a-z0-9_]+(?:\([^)]*\))?)")
_NAME = re.compile(r"SELECT \* FROM (\w+)\b(?: /\*.*)?", re.DOTALL)
_SESSION = re.compile(r"(?:IF @@TRANCOUNT\D*0 )?(SET|BEGIN|COMMIT|ROLLBACK)\b", re.IGNORECASE)
_PLACE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|@(\w+)")
_DESCRIBED = (
    ("name", "nvarchar(128)"),
    ("system_type_name", "nvarchar(256)"),
    ("collation_name", "nvarchar(128)"),
    ("error_message", "nvarchar(4000)"),
)
_NUMBERS = {"Catalog": 208, "Binder": 207, "Parser": 102}
_WORDS = {102: "Incorrect syntax: ", 208: "Invalid object name: ", 207: "Invalid column name: "}

Columns = list[tuple[str, TDSType]]


@dataclass
class _Known:
    """What all sessions share."""

    users: Mapping[str, str]
    database: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    named: dict[str, tuple[Columns, list[tuple[Any, ...]]]] = field(default_factory=dict)
    running: dict[int, str] = field(default_factory=dict)
    logins: list[wire.Login] = field(default_factory=list)


class _Session:
    """One connection."""

    def __init__(self, known: _Known, peer: socket.socket) -> None:
        self._known = known
        self._peer = peer
        self._engine = known.database.cursor()
        self._user = ""
        self._cancelled = False

    def serve(self) -> None:
        """Answer until the client goes."""
        with suppress(ConnectionError, OSError), self._peer:
            while True:
                kind, data = wire.receive(self._peer)
                if kind == wire.PRELOGIN:
                    wire.send(self._peer, wire.prelogin())
                elif kind == wire.LOGIN:
                    if not self._log_in(wire.read_login(data)):
                        return
                elif kind == wire.TRANSACTION:
                    word, changed = wire.transaction(data)
                    self._transact(word)
                    wire.send(self._peer, changed + wire.done())
                elif kind == wire.BATCH:
                    self._watch(wire.read_batch(data), {}, None)
                elif kind == wire.RPC:
                    self._call(wire.read_call(data))
                else:
                    wire.send(self._peer, wire.done(wire.ATTENTION_DONE if kind == wire.ATTENTION else 0))

    def _log_in(self, login: wire.Login) -> bool:
        self._known.logins.append(login)
        answer = wire.let_in(login)
        known = self._known.users.get(login.user) == login.password
        if not known:
            answer = wire.error(18456, f"Login failed for user '{login.user}'.", 14)
        elif not self._use(login.database or "memory"):
            known = False
            answer = wire.error(4060, f'Cannot open database "{login.database}" requested by the login.', 11)
        self._user = login.user
        wire.send(self._peer, answer)
        return known

    def _use(self, name: str) -> bool:
        with suppress(duckdb.Error):
            self._engine.execute(f'USE "{name}"')
            return True
        return False

    def _transact(self, word: str) -> None:
        with suppress(duckdb.Error):
            self._engine.execute(word)

    def _call(self, call: wire.Call) -> None:
        if call.name == "sp_prepexec":
            self._watch(call.values[2], _by_number(call.values[3:]), 1)
        elif call.name == "sp_executesql":
            self._watch(call.values[0], _by_number(call.values[2:]), 0)
        else:
            wire.send(self._peer, wire.done_call())

    def _watch(self, sql: str, values: Mapping[str, Any], handle: int | None) -> None:
        """Run a statement while looking for a word to stop."""
        self._cancelled = False
        self._known.running[id(self)] = sql + "".join(str(value) for value in values.values())
        work = threading.Thread(target=self._answer, args=(sql, values, handle))
        work.start()
        try:
            while work.is_alive():
                if not select.select([self._peer], [], [], 0.01)[0]:
                    continue
                told = self._peer.recv(1, socket.MSG_PEEK)
                if told and told[0] != wire.ATTENTION:  # the answer is there, the next question too
                    work.join()
                    break
                if told:
                    wire.receive(self._peer)
                self._cancelled = True
                while work.is_alive():
                    self._engine.interrupt()
                    work.join(0.05)
                if not told:
                    raise ConnectionError
                wire.send(self._peer, wire.done(wire.ATTENTION_DONE))
        finally:
            self._clean_up()
            del self._known.running[id(self)]

    def _clean_up(self) -> None:
        """What failed ends a transaction of DuckDB's, but none of SQL Server's."""
        try:
            self._engine.execute("SELECT 1").fetchall()
        except duckdb.Error:
            self._transact("ROLLBACK")
            self._transact("BEGIN")

    def _answer(self, sql: str, values: Mapping[str, Any], handle: int | None) -> None:
        with suppress(OSError):
            try:
                count = 0
                for columns, rows in self._results(sql, values):
                    if rows is None:
                        wire.send(self._peer, wire.described(columns), last=False)
                        continue
                    if self._cancelled:
                        return
                    count += len(rows)
                    wire.send(self._peer, wire.rows(columns, rows), last=False)
            except duckdb.Error as error:
                if not self._cancelled:
                    wire.send(self._peer, _told(error))
                return
            if not self._cancelled:
                call = handle is not None
                wire.send(
                    self._peer,
                    wire.done_call(count, handle=handle or 0) if call else wire.done(wire.COUNT, count),
                )

    def _results(
        self, sql: str, values: Mapping[str, Any]
    ) -> Iterator[tuple[Columns, Sequence[Sequence[Any]] | None]]:
        """The columns with None, then the rows in pieces; nothing of a statement without columns."""
        if _DESCRIBE in sql:
            columns = [(name, TDSType(kind)) for name, kind in _DESCRIBED]
            yield columns, None
            yield columns, self._described(values["P1"], values.get("P2") or "")
        elif call := _EXECUTE.fullmatch(sql):
            inner, inner_values = _inner(call["given"], values)
            yield from self._rows(inner, inner_values, _SET_TYPE.findall(call["sets"] or ""))
        elif word := _SESSION.match(sql.strip()):
            if "IMPLICIT_TRANSACTIONS ON" in sql:
                self._transact("BEGIN")
            elif word[1].upper() != "SET":
                self._transact(word[1])
        else:
            yield from self._rows(sql, values, [])

    def _described(self, sql: str, declared: str) -> list[tuple[str | None, ...]]:
        """What the server foresees of a query's columns: nothing of one that it cannot run."""
        named = self._named(sql)
        try:
            if named is not None:
                columns = named[0]
            else:
                statements = self._engine.extract_statements(_with_names(sql))
                if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
                    return []
                relation = self._engine.sql(_with_names(sql), params=dict.fromkeys(_names(declared)))
                columns = _columns(relation.columns, relation.types)
        except duckdb.Error as error:
            self._clean_up()
            return [(None, None, None, str(error)[:1000])]
        return [(name, kind.name, "Latin1_General_CI_AS", None) for name, kind in columns]

    def _rows(
        self, sql: str, values: Mapping[str, Any], types: Sequence[str]
    ) -> Iterator[tuple[Columns, Sequence[Sequence[Any]] | None]]:
        if (named := self._named(sql)) is not None:
            columns = _retyped(named[0], types)
            yield columns, None
            yield columns, named[1]
            return
        relation = None if _SESSION.match(sql) else self._engine.sql(_with_names(sql), params=dict(values))
        if relation is None:
            return
        columns = _retyped(_columns(relation.columns, relation.types), types)
        reader = relation.to_arrow_reader(_ROWS)
        yield columns, None
        while (batch := _next(reader)) is not None:
            yield columns, list(zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def _named(self, sql: str) -> tuple[Columns, list[tuple[Any, ...]]] | None:
        """What a test has put there; what the product asks of SQL Server's own catalog is there too."""
        if "SERVERPROPERTY" in sql:
            return [("version", TDSType("nvarchar(128)"))], [("16.0.4135.4",)]
        if "HAS_PERMS_BY_NAME" in sql:
            held = [] if self._user == READER else [("INSERT on the database",)]
            return [("held", TDSType("nvarchar(300)"))], held
        found = _NAME.fullmatch(sql.strip())
        return self._known.named.get(found[1]) if found else None


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return next(reader, None)
    except OSError as error:  # so Arrow calls what DuckDB says in the middle
        raise duckdb.Error(str(error)) from None


def _inner(given: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The statement and the values of `@P1, @P2, @P3, NULL`: the statement, its declarations, its values."""
    outer = [values.get(word.strip().lstrip("@").upper()) for word in given.split(",")]
    names = _names(str(outer[1] or "")) if len(outer) > 1 else []
    return str(outer[0]), dict(zip(names, outer[2:], strict=False))


def _names(declared: str) -> list[str]:
    return re.findall(r"@(\w+) ", declared)


def _by_number(values: Sequence[Any]) -> dict[str, Any]:
    return {f"P{number}": value for number, value in enumerate(values, start=1)}


def _with_names(sql: str) -> str:
    """`@name` as DuckDB has it."""
    return _PLACE.sub(lambda found: f"${found[1]}" if found[1] else found[0], sql)


def _columns(names: Sequence[str], kinds: Sequence[Any]) -> Columns:
    return [(name, _type_of(str(kind))) for name, kind in zip(names, kinds, strict=True)]


def _type_of(kind: str) -> TDSType:
    if kind.startswith("DECIMAL"):
        return TDSType(kind.lower())
    known = {
        "INTEGER": "int",
        "BIGINT": "bigint",
        "HUGEINT": "decimal(38,0)",
        "BOOLEAN": "bit",
        "DATE": "date",
    }
    known |= {"TIMESTAMP": "datetime2(6)", "DOUBLE": "float", "BLOB": "varbinary(8000)", "TIME": "time(6)"}
    known |= {"TIMESTAMP WITH TIME ZONE": "datetimeoffset(6)"}
    return TDSType(known.get(kind, "nvarchar(4000)"))


def _retyped(columns: Columns, types: Sequence[str]) -> Columns:
    """The columns that WITH RESULT SETS asks for."""
    if not types:
        return columns
    return [(name, TDSType(kind)) for (name, _), kind in zip(columns, types, strict=True)]


def _told(error: duckdb.Error) -> bytes:
    words = str(error)
    number = _NUMBERS.get(words.partition(" ")[0], 50000)
    return wire.error(number, _WORDS.get(number, "") + words)


def _control(known: _Known, port: int) -> None:
    """What the tests do past the wire."""
    with Listener(("127.0.0.1", port), authkey=KEY) as listener:
        while True:
            with listener.accept() as peer:
                word, given = peer.recv()
                answer: Any = None
                if word == "execute":
                    with known.database.cursor() as engine:
                        for statement in given:
                            engine.execute(statement)
                        answer = engine.fetchall()
                elif word == "name":
                    name, columns, rows = given
                    known.named[name] = ([(one, TDSType(kind)) for one, kind in columns], rows)
                elif word == "running":
                    answer = list(known.running.values())
                elif word == "logins":
                    answer = known.logins
                peer.send(answer)


def ask(port: int, word: str, given: Any = None) -> Any:
    """Tell the stand-in something, or ask it."""
    with Client(("127.0.0.1", port), authkey=KEY) as peer:
        peer.send((word, given))
        return peer.recv()


def main(port: int, control: int, user: str, password: str) -> None:
    """Serve until killed."""
    known = _Known({user: password, READER: password})
    threading.Thread(target=_control, args=(known, control), daemon=True).start()
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=_Session(known, peer).serve, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
