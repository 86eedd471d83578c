-- The demo's rows of the shared tables, as a configuration API would have inserted them.

INSERT INTO report_datasources (id, name, connection_url, db_type, connection_config, is_active)
VALUES (1, 'flights', :flights_url, 'sqlite', '{"connect_timeout": 10}', 1);

-- A file below REPORTHUB_FILE_ROOTS, and an HTTP API: its key is a variable of the environment, its URL that of this run.
INSERT INTO report_datasources (id, name, connection_url, db_type, connection_config, is_active)
VALUES (2, 'airports', 'airports.csv', 'file', NULL, 1);

INSERT INTO report_datasources (id, name, connection_url, db_type, connection_config, is_active)
VALUES (3, 'planes', 'http://127.0.0.1/planes', 'http_api',
'{"auth": {"type": "api_key", "value": {"env": "DEMO_API_KEY"}}, "rows": "planes",
  "pages": {"type": "page", "size": 500}}', 1);

-- A window through `date_field`, a filter, chosen columns, a file-name template with a time variable.
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, file_name, parameters, timeout_seconds, max_rows, is_active)
VALUES (1, 'Flights from JFK',
'SELECT f.flight_date, f.scheduled_departure, f.carrier, a.name AS airline, f.flight, f.origin, f.dest,
       f.dep_delay, f.arr_delay, f.air_time, f.distance
FROM flights f
JOIN airlines a ON a.carrier = f.carrier
ORDER BY f.scheduled_departure, f.carrier, f.flight',
'csv', 1, NULL,
'{"date_field": "f.scheduled_departure",
  "filters": [{"field": "f.origin", "operator": "=", "type": "string", "value": "JFK"}],
  "display_columns": ["scheduled_departure", "airline", "flight", "dest", "dep_delay", "arr_delay", "distance"],
  "filename_template": "flights_{{origin}}_{{start_date}}_{end_date}"}',
120, 1000000, 1);

-- Quoted template variables, as most existing queries have them: bound, never pasted.
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, file_name, parameters, timeout_seconds, max_rows, is_active)
VALUES (2, 'Delays per carrier and month',
'SELECT strftime(''%Y-%m'', f.flight_date) AS month, a.name AS airline, count(*) AS flights,
       round(avg(f.dep_delay), 1) AS avg_departure_delay, round(avg(f.arr_delay), 1) AS avg_arrival_delay,
       round(100.0 * sum(f.arr_delay > 15) / count(*), 1) AS percent_late, sum(f.distance) AS miles
FROM flights f
JOIN airlines a ON a.carrier = f.carrier
WHERE f.flight_date >= ''{{start_date}}'' AND f.flight_date < ''{{end_date}}''
GROUP BY month, airline
ORDER BY month, airline',
'xlsx', 1, 'delays_{{start_date}}',
'{"format": {"totals": ["flights", "miles"], "column_formats": {"flights": "#,##0", "avg_departure_delay": "0.0", "avg_arrival_delay": "0.0", "percent_late": "0.0", "miles": "#,##0"}}}',
120, 100000, 1);

-- A bind parameter with a default.
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, file_name, parameters, timeout_seconds, max_rows, is_active)
VALUES (3, 'Busiest routes of a carrier',
'SELECT f.origin, f.dest AS destination, count(*) AS flights, round(avg(f.air_time)) AS minutes_in_the_air,
       round(avg(f.arr_delay), 1) AS avg_arrival_delay, round(100.0 * sum(f.arr_delay > 15) / count(*), 1) AS percent_late
FROM flights f
WHERE f.carrier = :carrier
GROUP BY f.origin, f.dest
ORDER BY flights DESC
LIMIT 25',
'pdf', 1, 'routes_{{carrier}}',
'{"carrier": "UA",
  "format": {"column_formats": {"flights": "#,##0", "minutes_in_the_air": "0", "avg_arrival_delay": "0.0", "percent_late": "0.0"}}}',
120, 1000, 1);

-- Two queries and three formats: a workbook of two sheets, a document and a page with both tables.
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, file_name, parameters, timeout_seconds, max_rows, is_active)
VALUES (4, 'Punctuality',
'SELECT a.name AS airline, count(*) AS flights, round(avg(f.dep_delay), 1) AS avg_departure_delay,
       round(avg(f.arr_delay), 1) AS avg_arrival_delay, round(100.0 * sum(f.arr_delay > 15) / count(*), 1) AS percent_late
FROM flights f
JOIN airlines a ON a.carrier = f.carrier
GROUP BY a.name
ORDER BY percent_late DESC',
'xlsx', 1, 'punctuality_{{start_date}}',
'{"formats": ["xlsx", "pdf", "html"],
  "format": {"column_formats": {"flights": "#,##0", "avg_departure_delay": "0.0", "avg_arrival_delay": "0.0", "percent_late": "0.0"}},
  "date_field": "f.scheduled_departure",
  "queries": [
    {"name": "Airlines"},
    {"name": "Worst days",
     "sql": "SELECT f.flight_date, count(*) AS flights, round(avg(f.dep_delay), 1) AS avg_departure_delay, round(100.0 * sum(f.arr_delay > 15) / count(*), 1) AS percent_late FROM flights f GROUP BY f.flight_date ORDER BY avg_departure_delay DESC LIMIT 20"}]}',
120, 1000, 1);

-- Three sources in one report: the database is asked for what is needed of it, the join asks all three, and a
-- script makes one row of the small ones.
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, file_name, parameters, timeout_seconds, max_rows, is_active)
VALUES (5, 'Seats per destination',
'SELECT coalesce(a.name, f.dest) AS airport, a.tzone AS time_zone, sum(f.flights) AS flights, sum(f.flights * p.seats) AS seats,
       round(100.0 * sum(CASE WHEN p."model.manufacturer" LIKE ''Airbus%'' THEN f.flights ELSE 0 END) / sum(f.flights), 1) AS percent_airbus
FROM flights f
JOIN planes p ON p.tailnum = f.tailnum
LEFT JOIN airports a ON a.faa = f.dest
GROUP BY ALL
ORDER BY seats DESC, airport',
'xlsx', 1, 'seats_{{start_date}}',
'{"sources": {
    "flights": {"datasource": 1, "query": "SELECT dest, tailnum, count(*) AS flights FROM flights WHERE flight_date >= ''{{start_date}}'' AND flight_date < ''{{end_date}}'' GROUP BY dest, tailnum"},
    "airports": 2,
    "planes": 3},
  "format": {"title": true, "window": true, "column_formats": {"flights": "#,##0", "seats": "#,##0", "percent_airbus": "0.0", "percent_of_seats": "0.0"}},
  "script": "rest = data.iloc[25:]\nsmall = pd.DataFrame({''airport'': [f''{len(rest)} others''], ''flights'': [rest[''flights''].sum()], ''seats'': [rest[''seats''].sum()]})\nresult = pd.concat([data.head(25), small], ignore_index=True)\nseats = result[''seats''].astype(float)\nresult[''percent_of_seats''] = (100 * seats / seats.sum()).round(1)\nprint(f''{len(data)} destinations'')"}',
120, 1000, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (6, 5, 'Fleet folder', 'file_share', :share_config, 3, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (1, 1, 'Operations folder', 'file_share', :share_config, 3, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (2, 2, 'Network planning', 'email',
'{"subject": "{{report_name}} from {{start_date}}", "from_email": "reports@example.com", "from_name": "ReportHub demo",
  "body": "Hello,\n\nhere is {{report_name}} for {{start_date}} to {{end_date}}: {{row_count}} rows in {{file_name}}.\n"}', 3, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (3, 2, 'Planning folder', 'file_share', :share_config, 3, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (4, 3, 'Management', 'email',
'{"subject": "{{report_name}} {{carrier}}", "from_email": "reports@example.com",
  "body": "The routes of {{carrier}} are in {{file_name}}.",
  "body_html": "<p>The routes of <b>{{carrier}}</b> are in {{file_name}}.</p>"}', 3, 1);

INSERT INTO report_deliveries (id, config_id, delivery_name, method, delivery_config, max_retry, is_active)
VALUES (5, 4, 'Quality', 'email',
'{"subject": "{{report_name}} {{start_date}} to {{end_date}}", "from_email": "reports@example.com", "from_name": "ReportHub demo",
  "body": "Hello,\n\nattached: {{file_names}}.\n"}', 3, 1);

INSERT INTO report_delivery_recipients (delivery_id, recipient_type, recipient_value, is_active)
VALUES (5, 'email', 'dewi.quality@example.com', 1);

INSERT INTO report_delivery_recipients (delivery_id, recipient_type, recipient_value, is_active)
VALUES (2, 'email', 'ana.planning@example.com', 1);

INSERT INTO report_delivery_recipients (delivery_id, recipient_type, recipient_value, is_active)
VALUES (2, 'email', 'budi.planning@example.com', 1);

INSERT INTO report_delivery_recipients (delivery_id, recipient_type, recipient_value, is_active)
VALUES (4, 'email', 'chen.board@example.com', 1);
