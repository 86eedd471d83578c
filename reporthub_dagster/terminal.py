"""What a run says on the terminal of the person who started it: the ops' own sentences, on stderr."""

from __future__ import annotations

import logging
import sys

import dagster as dg

from reporthub_dagster.settings import Settings


class _Sentences(logging.Handler):
    """Prints what ops log and leaves out what Dagster logs about its steps.

    On a terminal a line of progress is overwritten by the next one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        if meta.get("dagster_event") is not None:
            return
        text = str(meta.get("orig_message", record.getMessage()))
        if text.endswith("rows so far") and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
        else:
            sys.stderr.write(f"\r\x1b[K{text}\n" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()


def _terminal_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.getLogger("reporthub.terminal")
    logger.setLevel(Settings.load().log_level)
    logger.propagate = False
    logger.handlers = [_Sentences()]
    return logger


terminal_logger = dg.logger({}, description="The ops' own sentences, for a person at a terminal.")(
    _terminal_logger
)
