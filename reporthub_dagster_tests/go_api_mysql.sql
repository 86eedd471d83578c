CREATE TABLE report_datasources (
  id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL UNIQUE, connection_url TEXT NOT NULL,
  db_type ENUM('mysql','postgresql','oracle','sqlserver','mongodb','bigquery','snowflake') NOT NULL,
  connection_config JSON NULL, is_active BOOLEAN NOT NULL DEFAULT TRUE,
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  created_by VARCHAR(100) NULL, updated_by VARCHAR(100) NULL,
  vault_path VARCHAR(200) NULL
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_configs (
  id INT AUTO_INCREMENT PRIMARY KEY, report_name VARCHAR(200) NOT NULL, report_query TEXT NOT NULL,
  output_format VARCHAR(50) NOT NULL DEFAULT 'csv', datasource_id INT NOT NULL, file_name VARCHAR(100) NULL,
  parameters JSON NULL, timeout_seconds INT NOT NULL DEFAULT 300, max_rows INT NOT NULL DEFAULT 10000,
  is_active BOOLEAN NOT NULL DEFAULT TRUE, version INT NOT NULL DEFAULT 1,
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  created_by VARCHAR(100) NULL, updated_by VARCHAR(100) NULL,
  INDEX (report_name), FOREIGN KEY (datasource_id) REFERENCES report_datasources (id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_schedules (
  id INT AUTO_INCREMENT PRIMARY KEY, config_id INT NOT NULL, cron_expression VARCHAR(100) NOT NULL,
  timezone VARCHAR(50) NOT NULL DEFAULT 'UTC', is_active BOOLEAN NOT NULL DEFAULT TRUE,
  last_run_at TIMESTAMP NULL, next_run_at TIMESTAMP NULL,
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  created_by VARCHAR(100) NULL, updated_by VARCHAR(100) NULL,
  FOREIGN KEY (config_id) REFERENCES report_configs (id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_deliveries (
  id INT AUTO_INCREMENT PRIMARY KEY, config_id INT NOT NULL, delivery_name VARCHAR(200) NOT NULL,
  method ENUM('email','sftp','webhook','s3','file_share') NOT NULL, delivery_config JSON NOT NULL,
  max_retry INT NOT NULL DEFAULT 3, retry_interval_minutes INT NOT NULL DEFAULT 5,
  is_active BOOLEAN NOT NULL DEFAULT TRUE,
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  created_by VARCHAR(100) NULL, updated_by VARCHAR(100) NULL,
  FOREIGN KEY (config_id) REFERENCES report_configs (id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_delivery_recipients (
  id INT AUTO_INCREMENT PRIMARY KEY, delivery_id INT NOT NULL, recipient_type VARCHAR(20) NOT NULL DEFAULT 'email',
  recipient_value VARCHAR(500) NOT NULL, recipient_config JSON NULL, is_active BOOLEAN NOT NULL DEFAULT TRUE,
  created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  FOREIGN KEY (delivery_id) REFERENCES report_deliveries (id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_executions (
  id VARCHAR(36) PRIMARY KEY, config_id INT NOT NULL, schedule_id INT NULL,
  status ENUM('queued','running','completed','failed','cancelled','paused') NOT NULL DEFAULT 'running',
  started_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, completed_at TIMESTAMP NULL,
  executed_by VARCHAR(100) NOT NULL, execution_context JSON NULL, query_execution_time_ms INT NULL,
  rows_returned INT NULL, file_generated_path TEXT NULL, file_size_bytes BIGINT NULL, error_message TEXT NULL,
  FOREIGN KEY (config_id) REFERENCES report_configs (id), FOREIGN KEY (schedule_id) REFERENCES report_schedules (id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_delivery_logs (
  id BIGINT AUTO_INCREMENT PRIMARY KEY, config_id INT NULL, delivery_id INT NULL, schedule_id INT NULL,
  execution_id VARCHAR(36) NOT NULL, status ENUM('pending','success','failed','retry') NOT NULL,
  sent_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, completed_at TIMESTAMP NULL,
  recipient_count INT NOT NULL DEFAULT 0, success_count INT NOT NULL DEFAULT 0, failure_count INT NOT NULL DEFAULT 0,
  retry_count INT NOT NULL DEFAULT 0, error_message TEXT NULL, delivery_details JSON NULL,
  file_size_bytes BIGINT NULL, processing_time_ms INT NULL, INDEX (execution_id)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE report_config_audits (
  id BIGINT AUTO_INCREMENT PRIMARY KEY, config_id INT NULL,
  action ENUM('create','update','delete','activate','deactivate') NOT NULL, field_name VARCHAR(100) NULL,
  before_value TEXT NULL, after_value TEXT NULL, change_summary JSON NULL, performed_by VARCHAR(100) NOT NULL,
  performed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, session_id VARCHAR(100) NULL, ip_address VARCHAR(45) NULL
) DEFAULT CHARSET = utf8mb4;
