"""The active reports in Dagster's catalog: an asset each, with what its executions are checked for.

They are read from the shared database when a code server loads the definitions. A report that came since has
its events from its first run on, and its description from the next load on.
"""

import gc
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

import dagster as dg

from reporthub_dagster.asset_events import asset_key_of, evaluations
from reporthub_dagster.db.catalog import Catalog, CatalogReport
from reporthub_dagster.db.session import is_absent
from reporthub_dagster.notice_mail import audience
from reporthub_dagster.reporting.backfill import config_id_of
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.report_checks import CHECKS
from reporthub_dagster.reporting.report_parameters import ReportParameters
from reporthub_dagster.resources import HubDatabase, kept_hub
from reporthub_dagster.run_metadata import sql_markdown
from reporthub_dagster.settings import Settings

_log = logging.getLogger(__name__)
_LAUNCH = """ops:
  compute_time_range:
    config:
      config_id: {config_id}
      deliver: none
"""
_OWNER = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}")


def report_catalog() -> dg.Definitions:
    """The assets and checks of the active reports; none, with a warning, where they cannot be read."""
    with _keeping_what_comes():
        reports = _active_reports()
        ui = (Settings.load().ui_url or "").rstrip("/") if reports else ""
        specs = [_spec(report, ui) for report in reports]
        checks = [_checks(reports)] if reports else []
        return dg.Definitions(assets=specs, asset_checks=checks)


@contextmanager
def _keeping_what_comes() -> Iterator[None]:
    """Let the collector leave alone what stays as long as the process: modules, and what is made here.

    To look for garbage in them again and again was a sixth of what loading 1,000 reports took.
    """
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _active_reports() -> tuple[CatalogReport, ...]:
    """Nothing is made: where the embedded database is not there yet, there are no reports."""
    try:
        if is_absent(Settings.load().hub_url):
            return ()
        hub = kept_hub()
        try:
            return Catalog(hub).reports(lambda problem: _log.warning("Left out of the catalog: %s", problem))
        finally:
            hub.release()
    except ReportHubError as error:
        _log.warning("The catalog has no reports until the definitions are loaded again: %s", error)
        return ()


def _spec(report: CatalogReport, ui: str) -> dg.AssetSpec:
    config = report.config
    formats, problems = _formats(report)
    return dg.AssetSpec(
        key=asset_key_of(report.key),
        description="\n\n".join([*_sentences(report, formats), _launchpad(report.config.id, ui), *problems]),
        group_name=_group(report.source),
        kinds={report.source.kind, *formats[:2]},
        owners=_owners(report),
        tags={"reporthub/config_id": str(config.id), "reporthub/datasource_id": str(report.source.id)},
        metadata={
            "config_id": config.id,
            "datasource": f"{report.source.name} (report_datasources {report.source.id})",
            "sql": dg.MetadataValue.md(_sql(report)),
            "max_rows": config.max_rows,
            "timeout_seconds": config.timeout_seconds,
        },
    )


def _group(source: DataSource) -> str:
    """The data source's name as Dagster allows it."""
    return re.sub(r"[^A-Za-z0-9]+", "_", source.name).strip("_") or f"source_{source.id}"


def _formats(report: CatalogReport) -> tuple[tuple[str, ...], list[str]]:
    """The formats, and what is wrong with them."""
    try:
        return ReportParameters(report.config).formats(), []
    except ConfigurationError as error:
        return (report.config.output_format,), [f"**To be mended:** {error}"]


def _sentences(report: CatalogReport, formats: Sequence[str]) -> Iterator[str]:
    config = report.config
    # What the list of assets shows, as plain text.
    yield f"{config.name}: {', '.join(formats)} from {report.source.name} (report_configs {config.id})."
    if report.schedules:
        times = (f"`{one.cron_expression}` {one.timezone}" for one in report.schedules)
        yield f"Comes at {', '.join(times)}."
    else:
        yield "Has no active schedule."
    if report.deliveries:
        yield f"Goes to {', '.join(f'{name} ({method})' for name, method in report.deliveries)}."
    else:
        yield "Has no active delivery: the files are only made."


def _launchpad(config_id: int, ui: str) -> str:
    """A link to the Launchpad, with the report filled in."""
    said = urlencode({"config": _LAUNCH.format(config_id=config_id)})
    return f"[Open it in the Launchpad]({ui}/locations/reporthub/jobs/execute_report/playground/setup?{said})"


def _sql(report: CatalogReport) -> str:
    try:
        queries = ReportParameters(report.config).queries()
    except ConfigurationError as error:
        return str(error)
    return "\n\n".join(sql_markdown(one.sql, {}, title=one.name) for one in queries)


def _owners(report: CatalogReport) -> list[str]:
    """Who is told of its failures; Dagster takes no address beyond plain ASCII."""
    config = report.config
    try:
        people = audience(config.id, config.parameters.get("notify"), config.created_by, None)
    except ConfigurationError:
        return []
    return [address for address in people if _OWNER.fullmatch(address)]


def _checks(reports: Sequence[CatalogReport]) -> dg.AssetChecksDefinition:
    """The checks of all reports; runs evaluate them, and whoever wants to know it anew may run this op."""
    specs = {
        f"report_{report.config.id}_{name}": dg.AssetCheckSpec(
            name, asset=asset_key_of(report.key), description=description
        )
        for report in reports
        for name, description in CHECKS.items()
    }

    # One for all: Dagster resolves the type of each that is made anew.
    verdict = dg.Out(dg.Nothing, is_required=False)

    @dg.op(out=dict.fromkeys(specs, verdict))
    def check_reports(context: dg.OpExecutionContext, hub: HubDatabase) -> Iterator[dg.AssetCheckResult]:
        """Judge the last execution that has ended of each report anew, by its row."""
        for asset_key in sorted({check.asset_key for check in context.selected_asset_check_keys}):
            for found in _last_evaluations(hub, config_id_of(asset_key.path[-1])):
                if found.asset_check_key in context.selected_asset_check_keys:
                    yield dg.AssetCheckResult(
                        asset_key=found.asset_key,
                        check_name=found.check_name,
                        passed=found.passed,
                        severity=found.severity,
                        description=found.description,
                        metadata=found.metadata,
                    )

    checks: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name={}, node_def=check_reports, check_specs_by_output_name=specs, can_subset=True
    )
    return checks


def _last_evaluations(hub: HubDatabase, config_id: int) -> Iterator[dg.AssetCheckEvaluation]:
    """Of a report's last execution that has ended; none where there is none."""
    ended = (one for one in hub.executions.latest(config_id=config_id) if one.completed_at)
    last = next(ended, None)
    return evaluations(hub, last.id) if last else iter(())
