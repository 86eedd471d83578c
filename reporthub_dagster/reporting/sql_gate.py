"""Lets one SELECT through and nothing else.

This is the second line only: the first is a database role that may only read, the third a read-only session
with limits on time and rows (so functions that merely wait are not refused). Reading the text catches honest
mistakes and what a read-only transaction still allows: files of the server, other servers, locks, sequences.
"""

from __future__ import annotations

import re
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.sql_lexer import for_parser, tokens

_ONE_SELECT = "write one SELECT (WITH, UNION, VALUES and parentheses are fine)"
_FIRST_WORD = re.compile(r"[\s(]*(?P<word>\w+)")
_LONGEST_WORD = 40
_FIRST_WORDS = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "FROM"})
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_FORBIDDEN = (
    exp.DML,
    exp.DDL,
    exp.Drop,
    exp.Alter,
    exp.TruncateTable,
    exp.Command,
    exp.Into,
    exp.Lock,
    exp.Set,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.NextValueFor,
)
_MYSQL_LIMIT_HINT = re.compile(r"/\*\+.*\b(?:max_execution_time|set_var)\b", re.IGNORECASE | re.DOTALL)


def _words(text: str) -> re.Pattern[str]:
    """Function names, `x*` for all that begin with x."""
    return re.compile("|".join(word.replace("*", r"\w*") for word in text.split()), re.IGNORECASE)


_DENIED = {
    "mysql": _words(
        """load_file sys_exec sys_eval sys_get sys_set get_lock release_lock release_all_locks
        master_pos_wait source_pos_wait wait_for_executed_gtid_set nextval setval"""
    ),
    "postgres": _words(
        """pg_read_* pg_ls_* pg_stat_file pg_file_* pg_logdir_ls pg_current_logfile dblink* nextval
        setval lo_import lo_export lo_get lo_put lo_open lo_creat* lo_unlink lo_from_bytea lo_truncate* loread
        lowrite query_to_xml* cursor_to_xml* table_to_xml* schema_to_xml* database_to_xml* ts_stat set_config
        pg_notify pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_promote
        pg_switch_wal pg_advisory_* pg_try_advisory_* pg_create_* pg_drop_* pg_backup_* pg_logical_*
        pg_replication_* pg_export_snapshot"""
    ),
    "sqlite": _words(
        "load_extension readfile writefile fsdir lsdir lsmode edit zipfile sqlar_* fts3_tokenizer"
    ),
    "duckdb": _words(
        """read_* glob parquet_* sniff_csv *_scan arrow_scan* python_* query query_table getenv set_config
        nextval json_execute_serialized_sql"""
    ),
    "clickhouse": _words(
        """url* file* s3* remote* mysql postgresql mongodb executable hdfs* jdbc odbc sleep_* sqlite redis gcs
        oss cosn azure* iceberg* deltalake* hudi* paimon* ytsaurus arrowflight"""
    ),
    "trino": _words("query raw_query"),
    "tsql": _words("openrowset opendatasource openquery openxml xp_* sp_* fn_xe_* fn_get_audit_file"),
    "oracle": _words(
        """utl_* httpuritype bfilename dbms_xml* dbms_scheduler dbms_java* dbms_pipe dbms_lock dbms_ldap*
        drithsx"""
    ),
}
_STATEMENTS = frozenset({"CHECKPOINT", "COMMIT", "RECONFIGURE", "REVERT", "ROLLBACK", "SHUTDOWN"})
"""Of SQL Server, which wants no semicolon before them; sqlglot takes them for names of what is before."""
_UNICODE_NAME = re.compile(r"(?<![\w$])[uU]&$")
_DENIED_ANYWHERE = _words("xp_cmdshell load_file pg_read_file")


def require_one_select(sql: str, dialect: str) -> None:
    """Check that `sql` is one query that only reads.

    Args:
        sql: Text with its placeholders bound (`:name`).
        dialect: sqlglot's name of the SQL.

    Raises:
        ConfigurationError: It is something else, holds something else, or cannot be read.
    """
    items = list(tokens(sql, dialect))
    if dialect == "postgres" and any(
        after.kind == "identifier" and _UNICODE_NAME.search(before.text) for before, after in pairwise(items)
    ):
        raise _refused("a name is written in code points", "write its letters")
    statement = one_statement(for_parser(items), dialect)
    if not isinstance(statement, _QUERIES) and not _is_mysql_values(statement):
        raise _refused(f"{_name(statement)} is not a query")
    for node in statement.walk():
        if isinstance(node, _FORBIDDEN):
            raise _refused(f"the query contains {_name(node)}")
        if isinstance(node, exp.Func):
            _check_function(node, dialect)
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Placeholder):
            raise _refused(
                "a variable stands where a table's name belongs", "write the name; only values can vary"
            )
        if dialect == "tsql" and isinstance(node, exp.Identifier) and not node.quoted:
            _check_name(node)
    if dialect == "mysql" and any(
        token.kind == "comment" and _MYSQL_LIMIT_HINT.match(token.text) for token in items
    ):
        raise _refused("a hint would change the time limit", "take the hint out")


def _check_name(name: exp.Identifier) -> None:
    if name.name.upper() in _STATEMENTS:
        raise _refused(f"{name.name.upper()} is a statement", "put names that are words of SQL in brackets")


def one_statement(text: str, dialect: str) -> exp.Expr:
    """The one statement of a text that `for_parser` has made readable.

    Raises:
        ConfigurationError: There is none, there are several, or sqlglot cannot read it.
    """
    first = _FIRST_WORD.match(text)
    # Anything else sqlglot would hand back unread, and log.
    if first and first["word"].upper() not in _FIRST_WORDS:
        raise _refused(f"{first['word'].upper()[:_LONGEST_WORD]} is not a query")
    try:
        statements = [statement for statement in sqlglot.parse(text, read=dialect) if statement is not None]
    except ParseError as error:
        raise _unreadable(error) from None
    except (SqlglotError, RecursionError):
        raise _refused("the query cannot be read", "check its quotes and parentheses") from None
    if len(statements) != 1:
        raise _refused(f"there are {len(statements)} statements" if statements else "the query is empty")
    return statements[0]


def _check_function(function: exp.Func, dialect: str) -> None:
    names = {function.name} if isinstance(function, exp.Anonymous) else {*function.sql_names(), function.name}
    # A package of Oracle, a schema of SQL Server: the name before the dot counts too.
    if isinstance(function.parent, exp.Dot):
        names.add(function.parent.this.name)
    denied = _DENIED.get(dialect, _DENIED_ANYWHERE)
    for name in names:
        if denied.fullmatch(name) or _DENIED_ANYWHERE.fullmatch(name):
            raise _refused(
                f"the function {name.lower()} is not allowed", "reports read tables and views only"
            )


def _is_mysql_values(statement: exp.Expr) -> bool:
    return isinstance(statement, exp.Anonymous) and statement.name.upper() == "VALUES"


def _unreadable(error: ParseError) -> ConfigurationError:
    first = error.errors[0] if error.errors else {}
    near = " ".join(f"{first.get('start_context', '')}{first.get('highlight', '')}"[-40:].split())
    return _refused(
        f"the query cannot be read at line {first.get('line', 1)}", f"look at what stands around: {near}"
    )


def _refused(problem: str, valid: str = _ONE_SELECT) -> ConfigurationError:
    return ConfigurationError(problem, valid=valid)


def _name(node: exp.Expr) -> str:
    """A statement as people call it: `DELETE`, `SELECT … INTO`."""
    if isinstance(node, exp.Into):
        return "SELECT … INTO"
    if isinstance(node, exp.Lock):
        return "a lock (FOR UPDATE, FOR SHARE)"
    return node.key.upper()
