from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reporthub_dagster.db.models import ReportConfig
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.planning import connector_for, destination_for
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.go_api import GoApi


def test_a_report_is_read_as_its_row_has_it(hub: Hub, go: GoApi) -> None:
    go.insert(
        "report_configs",
        id=2,
        report_name="Trx 😀",
        report_query="SELECT '{{start_date}}'",
        output_format="xlsx",
        datasource_id=1,
        file_name="trx",
        parameters={"date_field": "t.created_at", "filters": []},
        timeout_seconds=60,
        max_rows=500,
    )
    config = Repository(hub).report_config(2)
    assert (config.name, config.query, config.output_format) == (
        "Trx 😀",
        "SELECT '{{start_date}}'",
        "xlsx",
    )
    assert config.parameters == {"date_field": "t.created_at", "filters": []}
    assert (config.timeout_seconds, config.max_rows, config.is_active) == (60, 500, True)


def test_defaults_of_the_tables_apply(hub: Hub, go: GoApi) -> None:
    config = Repository(hub).report_config(1)
    assert (config.output_format, config.timeout_seconds, config.max_rows) == ("csv", 300, 10_000)
    assert config.parameters == {}


def test_a_missing_row_is_named(hub: Hub, go: GoApi) -> None:
    with pytest.raises(ConfigurationError, match="report_configs 99, column id: there is no such row"):
        Repository(hub).report_config(99)


@pytest.mark.parametrize(
    ("column", "value"),
    [("timeout_seconds", 0), ("timeout_seconds", 3601), ("max_rows", 0), ("max_rows", 1_000_001)],
)
def test_a_limit_out_of_range_names_row_column_and_value(
    hub: Hub, go: GoApi, column: str, value: int
) -> None:
    go.execute(f"UPDATE report_configs SET {column} = {value} WHERE id = 1")
    with pytest.raises(ConfigurationError, match=rf"report_configs 1, column {column}.*\(value {value}\)"):
        Repository(hub).report_config(1)


def test_a_json_column_that_holds_something_else_is_named(hub: Hub, go: GoApi) -> None:
    go.execute("UPDATE report_configs SET parameters = '[1, 2]' WHERE id = 1")
    with pytest.raises(ConfigurationError, match="report_configs 1, column parameters: not a JSON object"):
        Repository(hub).report_config(1)


@pytest.mark.parametrize("hub_url", ["sqlite"], indirect=True)  # the servers refuse such text themselves
def test_text_that_is_no_json_breaks_its_own_row_only(hub: Hub, go: GoApi) -> None:
    go.insert("report_configs", id=2, report_name="b", report_query="q", datasource_id=1, parameters="{oops")
    repository = Repository(hub)
    with pytest.raises(ConfigurationError, match="report_configs 2, column parameters"):
        repository.report_config(2)
    assert repository.report_config(1).name == "Sales"
    assert repository.active_ids(ReportConfig) == (1, 2)


def test_a_document_stored_as_a_json_string_is_read(hub: Hub, go: GoApi) -> None:
    go.execute("""UPDATE report_configs SET parameters = :text WHERE id = 1""", text='"{\\"a\\": 1}"')
    assert Repository(hub).report_config(1).parameters == {"a": 1}


def test_a_delivery_has_its_active_recipients_in_order(hub: Hub, go: GoApi) -> None:
    go.insert("report_deliveries", id=5, config_id=1, delivery_name="d", method="email", delivery_config={})
    for row, (value, active) in enumerate(
        (("b@x.test", True), ("gone@x.test", False), ("a@x.test", True)), 1
    ):
        go.insert(
            "report_delivery_recipients", id=row, delivery_id=5, recipient_value=value, is_active=active
        )
    delivery = Repository(hub).delivery(5)
    assert [recipient.value for recipient in delivery.recipients] == ["b@x.test", "a@x.test"]
    assert (delivery.max_retry, delivery.retry_interval_minutes) == (3, 5)


def test_inactive_deliveries_are_not_listed(hub: Hub, go: GoApi) -> None:
    for row, active in ((5, True), (6, False), (7, True)):
        go.insert(
            "report_deliveries",
            id=row,
            config_id=1,
            delivery_name="d",
            method="email",
            delivery_config={},
            is_active=active,
        )
    assert Repository(hub).active_delivery_ids(1) == (5, 7)


def test_a_kind_that_the_enum_lacks_is_taken_from_the_options(hub: Hub, go: GoApi) -> None:
    go.execute("""UPDATE report_datasources SET connection_config = '{"kind": "sqlite", "timeout": 3}'""")
    source = Repository(hub).data_source(1)
    assert (source.kind, source.options) == ("sqlite", {"timeout": 3})
    assert source.kind_column == "connection_config.kind"


def test_a_way_to_deliver_that_the_enum_lacks_is_taken_from_the_options(hub: Hub, go: GoApi) -> None:
    options = {"kind": "Dropbox", "url": "https://h/x"}
    row = {"config_id": 1, "delivery_name": "d", "method": "webhook"}
    go.insert("report_deliveries", id=5, delivery_config=options, **row)
    go.insert("report_deliveries", id=6, delivery_config={"url": "https://h/x"}, **row)

    named, usual = (Repository(hub).delivery(row) for row in (5, 6))

    assert (named.method, named.options) == ("dropbox", {"url": "https://h/x"})
    assert usual.method == "webhook"
    place = "report_deliveries 5, column delivery_config.kind: there is no destination of this kind"
    with pytest.raises(ConfigurationError, match=place):
        destination_for(named, DestinationSettings())


@pytest.mark.parametrize("column", ["connection_config.kind", "db_type"])
def test_a_kind_without_a_connector_is_named_where_the_row_says_it(column: str) -> None:
    row = DataSource(3, "s", "mango", "mango://h", {}, kind_column=column)

    with pytest.raises(
        ConfigurationError, match=rf"report_datasources 3, column {column}: there is no .*mysql"
    ):
        connector_for(row)


def test_records_hide_what_may_be_secret(hub: Hub, go: GoApi) -> None:
    go.execute("UPDATE report_datasources SET connection_url = 'mysql://u:canary-7731@h/d'")
    assert "canary-7731" not in repr(Repository(hub).data_source(1))


@pytest.mark.parametrize("hub_url", ["sqlite"], indirect=True)  # the servers have a type for it
@pytest.mark.parametrize(
    "written",
    ["2025-01-31 08:00:00", "2025-01-31T08:00:00", "2025-01-31T08:00:00Z", "2025-01-31 15:00:00+07:00"],
)
def test_times_that_others_wrote_to_sqlite_are_read(hub: Hub, go: GoApi, written: str) -> None:
    go.execute("UPDATE report_schedules SET last_run_at = :at", at=written)
    assert Repository(hub).schedule(1).last_run_at == datetime(2025, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("hub_url", ["sqlite"], indirect=True)  # the servers refuse it themselves
def test_a_time_that_is_none_is_named(hub: Hub, go: GoApi) -> None:
    go.execute("UPDATE report_schedules SET last_run_at = 'yesterday'")
    with pytest.raises(ConfigurationError, match="report_schedules 1, column last_run_at: not a time"):
        Repository(hub).schedule(1)


@pytest.mark.parametrize(("written", "read"), [("CSV", "csv"), (" xlsx ", "xlsx"), ("", "csv")])
def test_formats_are_read_as_people_write_them(hub: Hub, go: GoApi, written: str, read: str) -> None:
    go.execute("UPDATE report_configs SET output_format = :format", format=written)
    assert Repository(hub).report_config(1).output_format == read


@pytest.mark.parametrize("empty", [None, "[]", "{}"])
def test_empty_parameters_are_none(hub: Hub, go: GoApi, empty: str | None) -> None:
    go.execute("UPDATE report_configs SET parameters = :empty", empty=empty)
    assert Repository(hub).report_config(1).parameters == {}
