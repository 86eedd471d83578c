"""Fixtures that every test may ask for; each server's are in its own module."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("reporthub", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("reporthub")

pytest_plugins = [
    "reporthub_dagster_tests.servers.mariadb",
    "reporthub_dagster_tests.servers.postgresql",
    "reporthub_dagster_tests.servers.s3",
    "reporthub_dagster_tests.servers.sftp",
    "reporthub_dagster_tests.servers.smb",
    "reporthub_dagster_tests.servers.rabbitmq",
    "reporthub_dagster_tests.servers.redis",
    "reporthub_dagster_tests.servers.smtp",
    "reporthub_dagster_tests.servers.web",
    "reporthub_dagster_tests.installation",
]

LONGEST = (
    "worker/test_production.py",
    "dagster/test_crashes.py",
    "dagster/test_whole_job.py",
    "dagster/test_graphql.py",
)
"""Files that begin first, so that no core is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front; the order within a file stays."""
    items.sort(
        key=lambda item: next((n for n, name in enumerate(LONGEST) if item.path.match(name)), len(LONGEST))
    )
