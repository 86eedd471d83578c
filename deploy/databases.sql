-- Two databases on one server: the shared tables, and Dagster's own.
CREATE DATABASE IF NOT EXISTS reports CHARACTER SET utf8mb4;
CREATE DATABASE IF NOT EXISTS dagster CHARACTER SET utf8mb4;
GRANT ALL ON reports.* TO 'reporthub'@'%';
GRANT ALL ON dagster.* TO 'reporthub'@'%';
