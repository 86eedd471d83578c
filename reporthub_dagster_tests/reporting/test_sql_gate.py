"""One SELECT passes; everything that writes, locks or leaves the database does not."""

from __future__ import annotations

import pytest

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.sql_gate import require_one_select

DIALECTS = ["mysql", "postgres", "sqlite"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("SELECT a FROM t WHERE b = :x AND c = :end", id="binds"),
        pytest.param("SELECT :select, :from, :values, :not FROM t", id="binds-named-like-keywords"),
        pytest.param("SELECT 1;", id="semicolon"),
        pytest.param("SELECT 1; -- done", id="semicolon-and-comment"),
        pytest.param("-- report\nSELECT 1 /* ; DELETE FROM t */", id="comments"),
        pytest.param("SELECT '; DELETE FROM t'", id="forbidden-words-in-a-string"),
        pytest.param('SELECT a AS "delete", b AS updated FROM t', id="forbidden-words-as-names"),
        pytest.param("(SELECT 1)", id="parentheses"),
        pytest.param("WITH a AS (SELECT 1 AS x) SELECT * FROM a", id="with"),
        pytest.param(
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
            id="recursive",
        ),
        pytest.param("SELECT 1 UNION ALL SELECT 2 ORDER BY 1 LIMIT 1", id="union"),
        pytest.param("(SELECT 1) UNION (SELECT 2)", id="union-of-parentheses"),
        pytest.param("SELECT 1 EXCEPT SELECT 2", id="except"),
        pytest.param("SELECT SUM(a) OVER (PARTITION BY b ORDER BY c) FROM t", id="window"),
        pytest.param("SELECT REPLACE(a, 'x', 'y'), COALESCE(b, 0) FROM t", id="functions"),
    ],
)
def test_a_query_passes(dialect: str, sql: str) -> None:
    require_one_select(sql, dialect)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        pytest.param("postgres", "SELECT pg_sleep(1), current_setting('x')", id="postgres-sleep"),
        pytest.param("mysql", "SELECT SLEEP(1), BENCHMARK(1, MD5('a'))", id="mysql-sleep"),
        pytest.param("postgres", "VALUES (1), (2)", id="postgres-values"),
        pytest.param("postgres", 'SELECT a & "b", "u" FROM t', id="postgres-ampersand"),
        pytest.param("tsql", "SELECT [commit] AS [shutdown] FROM t", id="tsql-words-in-brackets"),
        pytest.param("mysql", "VALUES ROW(1)", id="mysql-values"),
        pytest.param("sqlite", "SELECT glob('a*', b) FROM t", id="sqlite-glob-is-an-operator"),
        pytest.param("mysql", "SELECT 5--1", id="mysql-two-dashes"),
        pytest.param("mysql", "SELECT /*+ NO_MERGE(t) */ a FROM t", id="mysql-hint"),
        pytest.param(
            "mysql", 'SELECT a FROM t USE INDEX (i) WHERE b = "x" LIMIT 5, 10', id="mysql-own-syntax"
        ),
        pytest.param(
            "postgres", "SELECT DISTINCT ON (a) a->>'x' FROM t WHERE b @> '{}' AND c ~* 'x'", id="operators"
        ),
        pytest.param(
            "postgres", "SELECT a = ANY ('{}'), now() - CAST(:n AS INTERVAL)", id="what-templates-write"
        ),
    ],
)
def test_a_dialects_own_query_passes(dialect: str, sql: str) -> None:
    require_one_select(sql, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("", id="nothing"),
        pytest.param("-- only a comment", id="only-a-comment"),
        pytest.param("SELECT 1; SELECT 2", id="two-selects"),
        pytest.param("SELECT 1; DROP TABLE t", id="select-and-drop"),
        pytest.param("SELECT 1 -- \n; DROP TABLE t", id="drop-after-a-comment"),
        pytest.param("DELETE FROM t", id="delete"),
        pytest.param("INSERT INTO t SELECT 1", id="insert"),
        pytest.param("UPDATE t SET a = 1", id="update"),
        pytest.param("CREATE TABLE u AS SELECT 1", id="create"),
        pytest.param("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", id="delete-in-with"),
        pytest.param("WITH x AS (SELECT 1) DELETE FROM t", id="with-and-delete"),
        pytest.param("SELECT * INTO u FROM t", id="select-into"),
        pytest.param("SELECT * FROM t FOR UPDATE", id="for-update"),
        pytest.param("SELECT * FROM (SELECT * FROM t FOR SHARE) x", id="for-share-inside"),
        pytest.param("EXPLAIN ANALYZE DELETE FROM t", id="explain"),
        pytest.param("SET a = 1", id="set"),
        pytest.param("PRAGMA query_only = 0", id="pragma"),
        pytest.param("ATTACH 'x' AS y", id="attach"),
        pytest.param("CALL p()", id="call"),
        pytest.param("SHOW TABLES", id="show"),
        pytest.param("SELECT (1", id="open-parenthesis"),
        pytest.param("SELECT 'a", id="open-string"),
        pytest.param("SELECT" + "(" * 5000, id="too-deep"),
        pytest.param("SELECT * FROM :x", id="table-as-a-variable"),
        pytest.param("SELECT a FROM t JOIN :x ON 1 = 1", id="joined-table-as-a-variable"),
    ],
)
def test_anything_else_is_refused(dialect: str, sql: str) -> None:
    with pytest.raises(ConfigurationError):
        require_one_select(sql, dialect)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        pytest.param("mysql", "SELECT a INTO OUTFILE '/tmp/x' FROM t", id="mysql-outfile"),
        pytest.param(
            "postgres", """SELECT U&"pg\\005fread_file"('/etc/passwd')""", id="postgres-code-points"
        ),
        pytest.param("tsql", "SELECT 1 COMMIT", id="tsql-statement-without-a-semicolon"),
        pytest.param("tsql", "SELECT 1 FROM t SHUTDOWN", id="tsql-statement-as-a-tables-name"),
        pytest.param("clickhouse", "SELECT * FROM sqlite('/x.db', 't')", id="clickhouse-file"),
        pytest.param("clickhouse", "SELECT * FROM deltaLake('http://x')", id="clickhouse-lake"),
        pytest.param("oracle", "SELECT dbms_ldap.init('x', 1) FROM dual", id="oracle-ldap"),
        pytest.param(
            "duckdb",
            "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
            id="duckdb-sql-in-json",
        ),
        pytest.param("mysql", "SELECT 1 INTO @a", id="mysql-into-variable"),
        pytest.param("mysql", "SELECT * FROM t LOCK IN SHARE MODE", id="mysql-lock"),
        pytest.param("mysql", "SELECT /*!50000 1 INTO OUTFILE '/tmp/x' */", id="mysql-executable-comment"),
        pytest.param("mysql", "SELECT /*+ SET_VAR(max_execution_time=0) */ 1", id="mysql-hint-set-var"),
        pytest.param("mysql", "SELECT /*+ MAX_EXECUTION_TIME(0) */ 1", id="mysql-hint-time"),
        pytest.param("mysql", "SELECT 5--1 INTO OUTFILE '/tmp/x'", id="mysql-two-dashes-hide-nothing"),
        pytest.param("postgres", "COPY t TO PROGRAM 'id'", id="postgres-copy"),
        pytest.param("postgres", "DO $$ BEGIN END $$", id="postgres-do"),
        pytest.param("postgres", "SELECT 1 --\r; DELETE FROM t", id="postgres-comment-ends-at-return"),
        pytest.param("postgres", "SELECT NEXT VALUE FOR s", id="next-value-for"),
        pytest.param("tsql", "EXEC xp_cmdshell 'id'", id="tsql-exec"),
        pytest.param("tsql", "SELECT * FROM OPENROWSET('a', 'b', 'c')", id="tsql-openrowset"),
        pytest.param("oracle", "SELECT utl_http.request('http://x') FROM dual", id="oracle-package"),
        pytest.param("duckdb", "SELECT * FROM read_csv('/etc/passwd')", id="duckdb-file"),
        pytest.param("clickhouse", "SELECT * FROM url('http://x', CSV)", id="clickhouse-url"),
        pytest.param(
            "trino", "SELECT * FROM TABLE(pg.system.query(query => 'SELECT 1'))", id="trino-pass-through"
        ),
    ],
)
def test_a_dialects_own_side_doors_are_shut(dialect: str, sql: str) -> None:
    with pytest.raises(ConfigurationError):
        require_one_select(sql, dialect)


@pytest.mark.parametrize(
    ("dialect", "function"),
    [
        *(("mysql", name) for name in ("load_file", "sys_exec", "get_lock", "release_all_locks", "nextval")),
        *(
            ("postgres", name)
            for name in ("pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file")
        ),
        *(("postgres", name) for name in ("lo_import", "lo_export", "dblink", "dblink_exec", "query_to_xml")),
        *(
            ("postgres", name)
            for name in ("database_to_xml", "set_config", "pg_terminate_backend", "nextval")
        ),
        *(
            ("postgres", name)
            for name in ("pg_advisory_lock", "pg_try_advisory_lock", "pg_reload_conf", "setval")
        ),
        *(("sqlite", name) for name in ("load_extension", "readfile", "writefile", "edit")),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "SELECT {}('a')",
        "SELECT * FROM {}('a') AS f",
        "SELECT x.{}('a')",
        "SELECT 1 FROM t WHERE a = (SELECT {}('a'))",
    ],
)
def test_a_function_that_leaves_the_database_is_refused_by_name(
    dialect: str, function: str, form: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"function {function} is not allowed"):
        require_one_select(form.format(function.upper()), dialect)


def test_a_quoted_function_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="pg_read_file is not allowed"):
        require_one_select("SELECT \"pg_read_file\"('/etc/passwd')", "postgres")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        pytest.param("SHOW TABLES", "SHOW is not a query", id="statement"),
        pytest.param("SELECT 1; SELECT 2", "there are 2 statements", id="two"),
        pytest.param("WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x", "contains DELETE", id="inside"),
        pytest.param("SELECT a FROM t FOR UPDATE", "contains a lock", id="lock"),
        pytest.param(
            "SELECT a\nFROM t\nWHERE (b = 1", "cannot be read at line 3.*around: .*WHERE", id="syntax"
        ),
        pytest.param("SELECT a FROM :x", "where a table's name belongs", id="table"),
    ],
)
def test_a_refusal_says_what_is_wrong_in_one_line(sql: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        require_one_select(sql, "postgres")

    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_refused_statements_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigurationError):
        require_one_select("GRANT ALL ON t TO u IDENTIFIED BY 'secret'", "mysql")

    assert caplog.text == ""
