"""What every command shares: errors in one line, exit codes, JSON documents, the shared database."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from getpass import getuser
from typing import Any, NoReturn, ParamSpec

import click

from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.settings import Settings

P = ParamSpec("P")
DONE, FAILED, FIX = 0, 1, 2


def errors_in_one_line(command: Callable[P, int]) -> Callable[P, NoReturn]:
    """Turn our errors into a line on stderr and an exit code; with `--json` also into the document."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        try:
            code = command(*args, **kwargs)
        except BrokenPipeError:
            raise  # who read stdout has gone: click ends quietly
        except (ReportHubError, OSError) as raised:
            error = raised if isinstance(raised, ReportHubError) else _of_files(raised)
            if kwargs.get("as_json"):
                with suppress(OSError):  # it may be stdout that cannot be written
                    print_json({"status": "failed", "error": str(error)})
            click.echo(f"reporthub: {error}", err=True)
            code = FIX if isinstance(error, ConfigurationError) else FAILED
        sys.exit(code)

    return run


def _of_files(error: OSError) -> ReportHubError:
    words = error.strerror or error
    if not error.filename:
        return PermanentError(f"what was to be written could not be: {words}")
    return ConfigurationError(
        f"a folder cannot be used: {error.filename}: {words}",
        column="REPORTHUB_HOME or REPORT_OUTPUT_PATH",
    )


def of_a_report(command: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Arguments of every command that is about one report and its window."""
    for option in (
        click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A template variable."),
        click.option("--end", default="", help="First moment after the window."),
        click.option("--start", default="", help="First moment of the window, in the schedule's zone."),
        click.option("--schedule-id", type=click.IntRange(min=1), help="Gives the zone and the window."),
        click.argument("config_id", type=click.IntRange(min=1)),
    ):
        command = option(command)
    return command


as_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


DELIVER_HELP = "all, none, me (a test run, by e-mail to you alone), or addresses in place of me."
executed_by_option = click.option(
    "--executed-by",
    default="",
    show_default="REPORTHUB_EXECUTED_BY, else your user",
    help="Who asks; an e-mail address to --deliver me.",
)


def asker(settings: Settings, executed_by: str) -> str:
    """Who asks: as the command says, or the environment, or the operating system."""
    return executed_by or settings.executed_by or getuser()


def open_hub(settings: Settings) -> Hub:
    """The shared database of an installation."""
    return Hub(settings.hub_url, settings.hub_zone)


def parameters_of(params: tuple[str, ...]) -> dict[str, str]:
    """`--param key=value` as a mapping.

    Raises:
        ConfigurationError: One of them has no `=`.
    """
    pairs = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise ConfigurationError("not KEY=VALUE", column="--param", value=param)
        pairs[name.strip()] = value
    return pairs


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout; what JSON has no type for is text, letters that stdout lacks are escaped."""
    escaped = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    click.echo(json.dumps(document, ensure_ascii=escaped, indent=2, default=str))


def progress_line(text: str) -> None:
    """Say what is being done, in one line that the next one overwrites; only at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)
