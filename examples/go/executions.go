package reporthub

import (
	"context"
	"database/sql"
	"time"
)

// The statements of Executions, in MySQL's words.
const (
	QueueStatement = `INSERT INTO report_executions (id, config_id, schedule_id, status, started_at, executed_by)
VALUES (?, ?, NULLIF(?, 0), 'queued', CURRENT_TIMESTAMP, ?)`
	StatusQuery = `SELECT status, started_at, completed_at, rows_returned, file_generated_path, file_size_bytes, error_message
FROM report_executions WHERE id = ?`
	CancelQueuedStatement = `UPDATE report_executions SET status = 'cancelled', completed_at = CURRENT_TIMESTAMP
WHERE id = ? AND status = 'queued'`
)

// Executions is the configuration API's own way to report_executions, which is the truth about an execution.
// Open DB with parseTime=true and with the time zone in which the installation keeps its times.
type Executions struct {
	DB *sql.DB
}

// Status is what became of an execution.
type Status struct {
	// Status is queued, running, completed, failed or cancelled. completed means delivered to everybody.
	Status      string
	StartedAt   time.Time
	CompletedAt sql.NullTime
	Rows        sql.NullInt64
	FilePath    sql.NullString
	FileSize    sql.NullInt64
	// Error says what went wrong, and which row to change.
	Error sql.NullString
}

// Queue writes the request's row, which alone is a request: the schedule sensor launches what is queued.
// Execute saves the wait for its next tick.
func (e Executions) Queue(ctx context.Context, request Request) error {
	_, err := e.DB.ExecContext(
		ctx, QueueStatement, request.ExecutionID, request.ConfigID, request.ScheduleID, request.ExecutedBy,
	)
	return err
}

// Status reads an execution; sql.ErrNoRows when there is none, which is also so until the run of a request
// without a queued row has begun.
func (e Executions) Status(ctx context.Context, executionID string) (Status, error) {
	var s Status
	err := e.DB.QueryRowContext(ctx, StatusQuery, executionID).Scan(
		&s.Status, &s.StartedAt, &s.CompletedAt, &s.Rows, &s.FilePath, &s.FileSize, &s.Error,
	)
	return s, err
}

// CancelQueued cancels an execution that no run has begun, and says whether it was one.
func (e Executions) CancelQueued(ctx context.Context, executionID string) (bool, error) {
	result, err := e.DB.ExecContext(ctx, CancelQueuedStatement, executionID)
	if err != nil {
		return false, err
	}
	changed, err := result.RowsAffected()
	return changed == 1, err
}
