"""The kernel's bars are there or the tests of scripts fail in CI, and are skipped elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reporthub_dagster.sandbox import bars
from reporthub_dagster.sandbox.local import LOCAL, LocalRunner
from reporthub_dagster_tests.sandbox.running import Scripts

SECRET = "half-of-the-vault"
"""In the environment of this process, and in a file that everybody may read."""


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    missing = bars.missing()
    if missing and os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def runner() -> Iterator[LocalRunner]:
    os.environ["SANDBOX_TEST_SECRET"] = SECRET
    LOCAL.close()
    yield LOCAL
    LOCAL.close()
    del os.environ["SANDBOX_TEST_SECRET"]


@pytest.fixture(scope="session")
def scripts(runner: LocalRunner) -> Iterator[Scripts]:
    with tempfile.TemporaryDirectory() as folder:
        yield Scripts(runner, Path(folder))
