from __future__ import annotations

import contextlib
import datetime as dt
import io
import math
import re
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reporthub_dagster.sandbox.frames import KIND, frame_of, table_of
from reporthub_dagster.sandbox.running import ScriptError
from reporthub_dagster.storage import spool
from reporthub_dagster_tests.renderers.values import VALUES
from reporthub_dagster_tests.sandbox.hostile import scripts_of
from reporthub_dagster_tests.sandbox.running import PARAMS, Scripts, table

ORDINARY = scripts_of("ordinary")


def by_plain_pandas(script: str, rows: pa.Table) -> pa.Table:
    names: dict[str, Any] = {"data": frame_of(rows), "params": MappingProxyType(PARAMS), "pd": pd, "np": np}
    names |= {"datetime": dt, "re": re, "__name__": "script"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script, "plain", "exec", dont_inherit=True), names)
    found = table_of(names["result"], rows.schema)
    return found.rename_columns(spool.distinct_names(found.column_names))


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_scripts_work_unchanged(scripts: Scripts, name: str) -> None:
    given = scripts.run(ORDINARY[name]).tables[0]
    expected = by_plain_pandas(ORDINARY[name], table())
    assert given.schema.equals(expected.schema, check_metadata=True)
    assert given.equals(expected) or repr(given.to_pylist()) == repr(expected.to_pylist())
    assert given.num_columns


def test_a_script_that_changes_nothing_changes_nothing(scripts: Scripts) -> None:
    given = scripts.run("result = data").tables[0]
    assert given.schema.equals(table().schema, check_metadata=True)
    assert given.equals(table())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_every_value_goes_through_a_script_and_stays_what_it_is(value: Any) -> None:
    rows = pa.Table.from_arrays(
        [pa.array([value.value, None], value.field.type)], schema=pa.schema([value.field])
    )
    back = table_of(frame_of(rows), rows.schema)
    expected = rows.column(0).to_pylist()
    if isinstance(value.value, float) and math.isnan(value.value):
        expected = [None, None]  # pandas has one word for both
    assert back.column(0).to_pylist() == expected or spool.text_kind(rows.schema.field(0)) == "decimal"
    assert [_number(one) for one in back.column(0).to_pylist()] == [_number(one) for one in expected]


def _number(value: Any) -> Any:
    try:
        number = Decimal(value) if isinstance(value, str) else value
    except ArithmeticError:
        return value
    return "NaN" if isinstance(number, Decimal) and number.is_nan() else number


def test_the_mark_of_text_is_the_spools() -> None:
    assert KIND == spool.KIND


def test_sums_of_decimals_are_exact(scripts: Scripts) -> None:
    rows = pa.table(
        {"v": pa.array([Decimal("0.10")] * 3 + [Decimal("12345678901234567.01")], pa.decimal128(20, 2))}
    )
    given = scripts.run("result = pd.DataFrame({'v': [data['v'].sum()]})", rows).tables[0]
    assert given.column("v").to_pylist() == [Decimal("12345678901234567.31")]


def test_integers_beside_null_keep_every_digit(scripts: Scripts) -> None:
    rows = pa.table(
        {"v": pa.array([2**63 - 1, None], pa.int64()), "u": pa.array([2**64 - 1, None], pa.uint64())}
    )
    given = scripts.run("result = data.assign(w=data['v'] - 1)", rows).tables[0]
    assert given.to_pydict() == {"v": [2**63 - 1, None], "u": [2**64 - 1, None], "w": [2**63 - 2, None]}


def test_numbers_beyond_64_bits_are_decimals(scripts: Scripts) -> None:
    given = scripts.run("result = pd.DataFrame({'v': [2**70, None]}, dtype=object)").tables[0]
    assert given.column("v").to_pylist() == [Decimal(2**70), None]


@pytest.mark.parametrize(
    ("script", "columns"),
    [
        ("data.sort_values('price')[5:][['n']]", ["n"]),
        ("data.set_index('name')[['n']]", ["name", "n"]),
        ("data[['price']].describe()", ["index", "price"]),
        ("data.groupby('category')['n'].agg(['sum', 'max'])", ["category", "sum", "max"]),
        ("data.groupby('category').agg({'n': ['sum', 'max']})", ["category", "n_sum", "n_max"]),
        ("data['n']", ["n"]),
        ("pd.Series([1, 2])", ["result"]),
        ("pd.DataFrame({1: [1], 'b': [2]})", ["1", "b"]),
        ("data.groupby('category')[['n']].sum().set_axis(['category'], axis=1)", ["category", "category_2"]),
    ],
)
def test_an_index_that_says_something_becomes_columns(
    scripts: Scripts, script: str, columns: list[str]
) -> None:
    assert scripts.run(f"result = {script}").tables[0].column_names == columns


def test_several_queries_are_a_dict_by_name(scripts: Scripts) -> None:
    inputs = {"Sales": pa.table({"v": [1, 2]}), "Costs": pa.table({"v": [3]})}
    given = scripts.run(
        "both = pd.concat(data.values())\nresult = {'Sales': both, 'Costs': data['Costs'] * 2}", inputs
    )
    assert [one.to_pydict() for one in given.tables] == [{"v": [1, 2, 3]}, {"v": [6]}]


def test_a_query_that_the_result_leaves_out_is_not_in_it(scripts: Scripts) -> None:
    inputs = {"Sales": pa.table({"v": [1, 2]}), "Costs": pa.table({"v": [3]})}
    assert len(scripts.run("result = {'Costs': data['Costs']}", inputs).tables) == 1


@pytest.mark.parametrize("result", ["data['Sales']", "{'Other': data['Sales']}", "{}", "[1]"])
def test_several_queries_need_to_know_whose_rows_are_whose(scripts: Scripts, result: str) -> None:
    inputs = {"Sales": pa.table({"v": [1]}), "Costs": pa.table({"v": [3]})}
    with pytest.raises(ScriptError, match="several queries; give a dict of frames by name: Sales, Costs"):
        scripts.run(f"result = {result}", inputs)


def test_rows_beyond_max_rows_are_left_out(scripts: Scripts) -> None:
    given = scripts.run("result = pd.DataFrame({'v': range(200_000)})", max_rows=70_000)
    assert given.more
    assert given.tables[0].num_rows == 70_000


def test_no_rows_keep_their_columns_and_types(scripts: Scripts) -> None:
    given = scripts.run("result = data", table(0)).tables[0]
    assert given.schema.equals(table().schema, check_metadata=True)


def test_params_are_read_only(scripts: Scripts) -> None:
    with pytest.raises(ScriptError, match="line 1: TypeError"):
        scripts.run("params['start_date'] = 'x'")


def test_the_line_is_the_scripts_own_and_the_innermost(scripts: Scripts) -> None:
    with pytest.raises(ScriptError, match=r"^line 2: KeyError: 'nope'$"):
        scripts.run("def f(row):\n    return row['nope']\n\nresult = data.apply(f, axis=1)")


def test_warnings_are_prints(scripts: Scripts) -> None:
    assert "UserWarning: mind" in scripts.run("import warnings\nwarnings.warn('mind')\nresult = data").printed
