"""What an op asks of its own run: which execution, report and date it is for, and what it has to do."""

from __future__ import annotations

import re
import time

import dagster as dg

from reporthub_dagster.reporting.errors import ConfigurationError

BACKFILL_TAG = "dagster/backfill"
"""Dagster's own: the backfill that a run belongs to."""
CONFIG_DIMENSION = "config"
DATE_DIMENSION = "date"

_ID = re.compile(r"[0-9A-Za-z-]{1,36}")


def execution_id_of(context: dg.OpExecutionContext, asked: str) -> str:
    """The id that a launch names, else the root run's: a re-execution is another attempt at the same.

    Raises:
        ConfigurationError: The id is not one; it also names a folder.
    """
    if asked and not _ID.fullmatch(asked):
        raise ConfigurationError(
            "not an execution id", column="execution_id", value=asked, valid="valid: a UUID"
        )
    return asked or context.run.root_run_id or context.run_id


def partition_of(context: dg.OpExecutionContext) -> tuple[str, str]:
    """The report's key and the date of a run of `report_file`.

    Raises:
        ConfigurationError: The run has no such partition.
    """
    key = context.partition_key if context.has_partition_key else None
    if not isinstance(key, dg.MultiPartitionKey):
        raise ConfigurationError(
            "the run has no partition", column="partition", value=key, valid="choose a report and a date"
        )
    return key.keys_by_dimension[CONFIG_DIMENSION], key.keys_by_dimension[DATE_DIMENSION]


def is_run_here(context: dg.OpExecutionContext, *ops: str) -> bool:
    """Whether one of these ops of the graph belongs to this run, which may be a retry from failure."""
    chosen = context.run.step_keys_to_execute
    return chosen is None or any(key.rpartition(".")[2] in ops for key in chosen)


def seconds_so_far(context: dg.OpExecutionContext) -> float | None:
    """How long this run has been going on; None where Dagster does not know when it began."""
    record = context.instance.get_run_record_by_id(context.run_id)
    if record is None or record.start_time is None:
        return None
    return round(time.time() - record.start_time, 3)


def backfill_of(context: dg.OpExecutionContext) -> str:
    """What the runs of one wish have in common: Dagster's backfill, else the first attempt's run.

    A retry does not carry the tags of its backfill, its first attempt does.
    """
    first = context.run.root_run_id or context.run_id
    root = context.instance.get_run_by_id(first) or context.run
    return root.tags.get(BACKFILL_TAG, first)
