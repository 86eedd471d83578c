"""The `reporthub` command: one command per job that a person has, errors in one line.

Exit codes: 0 done, 1 failed, 2 a person must fix a row or a setting. With `--json` stdout holds one JSON
document and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

import click
from dotenv import load_dotenv

from reporthub_dagster.commands import operating, past, reports, trials


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reporthub-dagster")
def main() -> None:
    """Scheduled reports: rows of a shared database become files in people's hands."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that is not UTF-8 shows what it can
            stream.reconfigure(errors="backslashreplace")
    load_dotenv(Path.cwd() / ".env")


for command in (
    operating.init,
    operating.check,
    reports.run,
    reports.preview,
    reports.redeliver,
    reports.executions,
    past.backfill,
    past.backfills,
    operating.schedules,
    operating.status,
    trials.try_one_delivery,
    trials.try_one_datasource,
    operating.purge,
    operating.worker,
    operating.script_runner,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
