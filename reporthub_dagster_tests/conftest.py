"""Fixtures that every test may ask for; each server's are in its own module."""

from __future__ import annotations

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
