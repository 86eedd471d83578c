"""Dagster's storage in MySQL on one connection pool a process, for `dagster.yaml`.

dagster-mysql connects anew for every statement, which costs a run more CPU than its own work. Here the run,
event log and schedule storage share one pool. It survives a fork (a child opens connections of its own), a
connection that the server has closed (each is asked before it is lent) and a restart of the server (a new
connection is waited for). Processes that start at once on an empty database make its tables in turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self

from dagster_mysql import DagsterMySQLStorage
from dagster_mysql.utils import mysql_url_from_config
from sqlalchemy import Engine, event

from reporthub_dagster import stopping
from reporthub_dagster.dagster_internals import ConfigurableClassData, ask_for_tables_once, share_engine
from reporthub_dagster.db.engine import pooled_engine

RESTART_SECONDS = 30.0
"""How long a connection is waited for while the server is away and the process need not stop.

dagster-mysql tries six times for a statement.
"""
TABLES_SECONDS = 60.0
"""How long a process waits for another one that makes Dagster's tables; it takes a few seconds."""
_AGAIN_SECONDS = 0.5
_KEPT, _MORE = 4, 28
"""Connections that stay open, and how many more a moment may need: Dagster's daemon works in threads."""
_GONE = {2002, 2003, 2006, 2013, 2055, 1040, 1053}
"""MySQL's errors of a server that is away, starts or stops, or is full for the moment."""

_engines: dict[str, Engine] = {}
_lock = Lock()


class PooledMySQLStorage(DagsterMySQLStorage):
    """As `DagsterMySQLStorage`, on the process's pool.

    Dagster's webserver replaces the pool by small ones of its own, which is as good.
    """

    def __init__(self, mysql_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        engine = process_engine(mysql_url)
        with _alone_with_its_tables(engine):
            super().__init__(mysql_url, inst_data)
        share_engine(self, engine)
        ask_for_tables_once(self)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """What Dagster calls with the storage's part of `dagster.yaml`."""
        return cls(mysql_url_from_config(config_value), inst_data)  # type: ignore[arg-type]


def process_engine(url: str) -> Engine:
    """The one engine of this process on a database."""
    with _lock:
        if url not in _engines:
            _engines[url] = _pooled_engine(url)
        return _engines[url]


@contextmanager
def _alone_with_its_tables(engine: Engine) -> Iterator[None]:
    """Keep other processes from looking for Dagster's tables while this one may be creating them.

    dagster-mysql creates what it does not find, and MySQL's `CREATE TABLE` belongs to no transaction: of two
    that start at once one would fail, or take half of the tables for all.

    Raises:
        TimeoutError: Another process has had the lock for `TABLES_SECONDS`.
    """
    # Locks are the server's, not the database's; a name may have 64 characters, and not every MySQL has MD5.
    name = "CONCAT('dagster tables ', LEFT(SHA2(DATABASE(), 256), 40))"
    with engine.connect() as connection:
        connection.detach()  # it is closed with the block, whatever happens in it, and the lock with it
        if connection.exec_driver_sql(f"SELECT GET_LOCK({name}, {TABLES_SECONDS})").scalar() != 1:
            raise TimeoutError(
                f"another process has been making Dagster's tables for {TABLES_SECONDS:g} s: look at its log"
            )
        yield


def _pooled_engine(url: str) -> Engine:
    engine = pooled_engine(
        url,
        isolation_level="REPEATABLE READ",  # as dagster-mysql
        pool_size=_KEPT,
        max_overflow=_MORE,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        end = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.Error as error:
                if _number_of(error) not in _GONE:
                    raise
                if stopping.is_stopping():
                    # No error of a database: dagster-mysql would try six times for each statement.
                    raise stopping.StoppingError("this process must stop") from error
                if time.monotonic() >= end:
                    raise
            time.sleep(_AGAIN_SECONDS)

    return engine


def _number_of(error: Any) -> object:
    """MySQL's number of an error, as either driver has it."""
    return getattr(error, "errno", None) or next(iter(error.args), None)


def _in_forked_child() -> None:
    """Forget the parent's connections without closing them: they are still its own."""
    for engine in _engines.values():
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_in_forked_child)
