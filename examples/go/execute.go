package reporthub

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
)

const (
	executionTag = "reporthub/execution_id"
	job          = "execute_report"
	firstOp      = "compute_time_range"
)

const launchDocument = `mutation ($launch: ExecutionParams!) {
  launchRun(executionParams: $launch) {
    __typename
    ... on LaunchRunSuccess { run { id status } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}`

// Request is one execution that somebody wants. Either ExecutionID names a row of report_executions, or
// ConfigID a report; with both, ExecutionID is the id of the row that the run writes.
type Request struct {
	ExecutionID string
	ConfigID    int64
	// ScheduleID gives zone and window; 0 means none.
	ScheduleID int64
	// ExecutedBy is kept in report_executions, and tags the run.
	ExecutedBy string
	// Start and End are the window's, such as "2025-01-31 08:00" in the schedule's zone; empty: computed.
	Start, End string
	// Parameters are values for the query's variables.
	Parameters map[string]any
	// Deliver is "all", "none", or for a test run "me", who is ExecutedBy, or addresses separated by commas;
	// empty means all.
	Deliver string
}

// Launch is a run that was asked for.
type Launch struct {
	// ExecutionID is set in any case: repeat the call with it and nothing runs twice.
	ExecutionID string
	RunID       string
	// Repeated says that an earlier call had launched the run.
	Repeated bool
}

// Execute asks for a run of an execution, once: when the execution has a run, that one is returned. Two calls
// in the same moment may both launch; the run that comes second finds the execution taken and does nothing.
func (c *Client) Execute(ctx context.Context, request Request) (Launch, error) {
	if request.ExecutionID == "" && request.ConfigID == 0 {
		return Launch{}, &Error{Code: "Request", Message: "neither ExecutionID nor ConfigID is given"}
	}
	if request.ExecutionID == "" {
		id, err := NewID()
		if err != nil {
			return Launch{}, err
		}
		request.ExecutionID = id
	} else if runs, err := c.Runs(ctx, request.ExecutionID); err != nil {
		return Launch{ExecutionID: request.ExecutionID}, err
	} else if len(runs) > 0 {
		return Launch{ExecutionID: request.ExecutionID, RunID: runs[0].ID, Repeated: true}, nil
	}
	runID, err := c.launch(ctx, job, firstOp, request.config(), request.tags())
	return Launch{ExecutionID: request.ExecutionID, RunID: runID}, err
}

// launch starts a run of a job whose first op takes the config.
func (c *Client) launch(ctx context.Context, job, op string, config map[string]any, tags map[string]string) (string, error) {
	var launched struct {
		answer
		Run Run
	}
	params := map[string]any{
		"selector": map[string]any{
			"repositoryLocationName": c.location(), "repositoryName": "__repository__", "jobName": job,
		},
		"runConfigData":     map[string]any{"ops": map[string]any{op: map[string]any{"config": config}}},
		"executionMetadata": map[string]any{"tags": tagList(tags)},
	}
	if err := c.ask(ctx, launchDocument, map[string]any{"launch": params}, &launched); err != nil {
		return "", err
	}
	if launched.Typename != "LaunchRunSuccess" {
		return "", launched.err()
	}
	return launched.Run.ID, nil
}

// config is what is said to the first op; what is empty is left to its default.
func (r Request) config() map[string]any {
	config := map[string]any{"execution_id": r.ExecutionID}
	for name, value := range map[string]string{
		"executed_by": r.ExecutedBy, "start": r.Start, "end": r.End, "deliver": r.Deliver,
	} {
		if value != "" {
			config[name] = value
		}
	}
	for name, value := range map[string]int64{"config_id": r.ConfigID, "schedule_id": r.ScheduleID} {
		if value != 0 {
			config[name] = value
		}
	}
	if len(r.Parameters) > 0 {
		config["parameters"] = r.Parameters
	}
	return config
}

func (r Request) tags() map[string]string {
	tags := map[string]string{executionTag: r.ExecutionID}
	if r.ExecutedBy != "" {
		tags["reporthub/executed_by"] = r.ExecutedBy
	}
	if r.ConfigID != 0 {
		tags["reporthub/config_id"] = strconv.FormatInt(r.ConfigID, 10)
	}
	if r.ScheduleID != 0 {
		tags["reporthub/schedule_id"] = strconv.FormatInt(r.ScheduleID, 10)
	}
	return tags
}

func tagList(tags map[string]string) []map[string]string {
	list := make([]map[string]string, 0, len(tags))
	for key, value := range tags {
		list = append(list, map[string]string{"key": key, "value": value})
	}
	return list
}

// NewID makes the id of a new execution, a random UUID (RFC 9562, version 4).
func NewID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("reporthub: no random bytes: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
