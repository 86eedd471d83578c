package reporthub

import "context"

const mostRuns = 100

const runDocument = `query ($run: ID!) {
  runOrError(runId: $run) { __typename ... on Run { id status } ... on Error { message } }
}`

const runsDocument = `query ($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { id status } }
    ... on Error { message }
  }
}`

const terminateDocument = `mutation ($run: String!) {
  terminateRun(runId: $run) { __typename ... on Error { message } ... on TerminateRunFailure { message } }
}`

// Run is a Dagster run: an attempt at an execution. Whether the report was made and delivered is what
// Executions.Status says; a run may succeed because another one had done the work.
type Run struct {
	ID string
	// Status is Dagster's: QUEUED, NOT_STARTED, STARTING, STARTED, SUCCESS, FAILURE, CANCELING, CANCELED.
	Status string
}

// Ended says that nothing more will happen.
func (r Run) Ended() bool {
	return r.Status == "SUCCESS" || r.Status == "FAILURE" || r.Status == "CANCELED"
}

// Run looks a run up.
func (c *Client) Run(ctx context.Context, runID string) (Run, error) {
	var found struct {
		answer
		Run
	}
	if err := c.ask(ctx, runDocument, map[string]any{"run": runID}, &found); err != nil {
		return Run{}, err
	}
	if found.Typename != "Run" {
		return Run{}, found.err()
	}
	return found.Run, nil
}

// Runs lists the runs of an execution, the latest first.
func (c *Client) Runs(ctx context.Context, executionID string) ([]Run, error) {
	var found struct {
		answer
		Results []Run
	}
	filter := map[string]any{"tags": tagList(map[string]string{executionTag: executionID})}
	variables := map[string]any{"filter": filter, "limit": mostRuns}
	if err := c.ask(ctx, runsDocument, variables, &found); err != nil {
		return nil, err
	}
	if found.Typename != "Runs" {
		return nil, found.err()
	}
	return found.Results, nil
}

// Cancel ends every run of an execution that has not ended, and returns how many there were. The row becomes
// cancelled a moment later. An execution that has no run yet is cancelled in its row: Executions.CancelQueued.
func (c *Client) Cancel(ctx context.Context, executionID string) (int, error) {
	runs, err := c.Runs(ctx, executionID)
	if err != nil {
		return 0, err
	}
	cancelled := 0
	for _, run := range runs {
		if run.Ended() {
			continue
		}
		var ended answer
		if err := c.ask(ctx, terminateDocument, map[string]any{"run": run.ID}, &ended); err != nil {
			return cancelled, err
		}
		if ended.Typename != "TerminateRunSuccess" {
			return cancelled, ended.err()
		}
		cancelled++
	}
	return cancelled, nil
}
