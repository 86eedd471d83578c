"""The rivals of `benchmarks.sources`: each vendor's own client into pandas, as its documentation shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import make_url

ENDLESS_SECONDS = 3600


def postgresql(url: str, query: str) -> object:
    """What pandas reads through SQLAlchemy and psycopg."""
    import pandas as pd  # noqa: PLC0415 - in the measured process alone
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    with create_engine(url).connect() as connection:
        return pd.read_sql(text(query), connection)


def clickhouse(url: str, query: str) -> object:
    """clickhouse-connect's own frame."""
    import clickhouse_connect  # noqa: PLC0415 - in the measured process alone

    parts = make_url(url)
    client = clickhouse_connect.get_client(
        host=parts.host,
        port=parts.port,
        username=parts.username,
        password=str(parts.password),
        database=parts.database,
    )
    return client.query_df(query)


def mongodb(url: str, query: str) -> object:
    """PyMongo's documents, flattened by pandas."""
    import pandas as pd  # noqa: PLC0415
    import pymongo  # noqa: PLC0415

    asked = json.loads(query)
    found = (
        pymongo.MongoClient[dict[str, object]](url)
        .get_default_database()[asked["collection"]]
        .find(asked["filter"])
    )
    return pd.json_normalize(list(found))


def sqlserver(url: str, query: str) -> object:
    """The rows of mssql-python's cursor."""
    import mssql_python  # noqa: PLC0415

    parts = make_url(url)
    connection = mssql_python.connect(
        f"Server={parts.host},{parts.port};Database={parts.database};UID={parts.username};"
        f"PWD={{{parts.password}}};Encrypt=no"
    )
    return _frame(connection.cursor().execute(query))


def sqlserver_arrow(url: str, query: str) -> object:
    """mssql-python's Arrow table, which it gives where pyarrow is installed."""
    import mssql_python  # noqa: PLC0415

    parts = make_url(url)
    connection = mssql_python.connect(
        f"Server={parts.host},{parts.port};Database={parts.database};UID={parts.username};"
        f"PWD={{{parts.password}}};Encrypt=no"
    )
    return connection.cursor().execute(query).arrow().to_pandas()


def trino(url: str, query: str) -> object:
    """The rows of the official client's cursor."""
    import requests  # noqa: PLC0415
    import trino.dbapi  # noqa: PLC0415

    parts = make_url(url)
    session = requests.Session()
    session.trust_env = False  # a REQUESTS_CA_BUNDLE would replace what is next
    session.verify = str(parts.query["ssl_ca"])
    catalog, _, schema = str(parts.database).partition("/")
    connection = trino.dbapi.connect(  # type: ignore[no-untyped-call]
        host=parts.host,
        port=parts.port,
        user=parts.username,
        auth=trino.auth.BasicAuthentication(str(parts.username), str(parts.password)),
        catalog=catalog,
        schema=schema,
        http_scheme="https",
        http_session=session,
        session_properties={"query_max_run_time": f"{ENDLESS_SECONDS}s"},
    )
    return _frame(connection.cursor().execute(query))


def bigquery(url: str, query: str) -> object:
    """google-cloud-bigquery's own frame, without the Storage API, as the emulator has it."""
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud.bigquery import Client  # noqa: PLC0415

    parts = make_url(url)
    client = Client(
        project=parts.host,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": str(parts.query["endpoint"])},
    )
    return client.query(query).to_dataframe(create_bqstorage_client=False)


def snowflake(url: str, query: str) -> object:
    """The driver's own frame."""
    import snowflake.connector  # noqa: PLC0415

    parts = make_url(url)
    database, _, schema = str(parts.database).partition("/")
    with snowflake.connector.connect(
        account=parts.host,
        user=parts.username,
        password=str(parts.password),
        database=database,
        schema=schema,
        host=parts.query["host"],
        port=int(str(parts.query["port"])),
        protocol=parts.query["protocol"],
        enable_server_session_keep_alive_auto_detection=True,  # as it is unless said, with a warning
    ) as connection:
        return connection.cursor().execute(query).fetch_pandas_all()


def _frame(cursor: Any) -> object:
    import pandas as pd  # noqa: PLC0415

    rows = cursor.fetchall()
    return pd.DataFrame.from_records(rows, columns=[column[0] for column in cursor.description])


RIVALS: dict[str, Callable[[str, str], object]] = {
    "postgresql": postgresql,
    "clickhouse": clickhouse,
    "mongodb": mongodb,
    "sqlserver": sqlserver,
    "sqlserver, arrow": sqlserver_arrow,
    "trino": trino,
    "bigquery": bigquery,
    "snowflake": snowflake,
}
