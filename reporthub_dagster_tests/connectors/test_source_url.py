from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from reporthub_dagster.connectors.source_url import url_of
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import DataSource

URL_TEXT = st.text("ab1é%40:/@?&=[],#+ \n", max_size=30)


@given(URL_TEXT)
@example("u:p%40ss%3Aw%2Frd@db.example:3306/shop?charset=utf8mb4&ssl_ca=/ca.pem")
@example("u:p/w#d@[::1]:5432/shop?host=a&host=b&empty=")
@example("u:p@h:99999/shop")
@example("@/")
@example("u:@h")
def test_a_url_is_read_as_sqlalchemy_reads_it(rest: str) -> None:
    text = f"mysql+pymysql://{rest}".strip()
    try:
        theirs = make_url(text)
    except ValueError:
        theirs = None
    if theirs is None or "@" in (theirs.host or "") or (theirs.port or 0) > 65_535:
        with pytest.raises(ConfigurationError):
            url_of(_source(text), frozenset({"mysql"}))
        return
    ours = url_of(_source(text), frozenset({"mysql"}))
    assert (ours.host, ours.port, ours.username, ours.password, ours.database) == (
        *(theirs.host, theirs.port, theirs.username, theirs.password, theirs.database),
    )
    several = {
        key: value if isinstance(value, str) else ",".join(value) for key, value in theirs.query.items()
    }
    assert ours.query == several


def test_a_reader_of_mysql_brings_no_sqlalchemy_along() -> None:
    code = (
        "import sys; from reporthub_dagster.connectors.registry import CONNECTORS; CONNECTORS.get('mysql'); "
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _source(url: str) -> DataSource:
    return DataSource(7, "shop", "mysql", url, {})
