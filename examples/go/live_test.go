//go:build live

package reporthub

// These tests talk to a webserver and a database that run; reporthub_dagster_tests/dagster/test_graphql.py
// starts both and passes their addresses.

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
)

const patience = 2 * time.Minute

func live(t *testing.T) (*Client, Executions) {
	t.Helper()
	db, err := sql.Open("mysql", os.Getenv("REPORTHUB_TEST_DSN"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &Client{URL: os.Getenv("REPORTHUB_TEST_URL")}, Executions{DB: db}
}

func newID(t *testing.T) string {
	t.Helper()
	id, err := NewID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// execute does what the caller of Execute should: the same call again while that makes sense.
func execute(client *Client, request Request) (Launch, error) {
	for end := time.Now().Add(patience); ; {
		launch, err := client.Execute(context.Background(), request)
		if !Retryable(err) || time.Now().After(end) {
			return launch, err
		}
		request.ExecutionID = launch.ExecutionID
	}
}

// waitFor polls until the execution has the status.
func waitFor(t *testing.T, executions Executions, id, wanted string) Status {
	t.Helper()
	var status Status
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		status, err = executions.Status(context.Background(), id)
		if err == nil && status.Status == wanted {
			return status
		}
	}
	t.Fatalf("not %s: %+v %v", wanted, status, err)
	return status
}

// waitForItsQuery polls until the slow report has asked the database: no daemon runs here, and a run that is cancelled
// between two steps needs one to close its row.
func waitForItsQuery(t *testing.T, db *sql.DB) {
	t.Helper()
	var asked int
	query := "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(60)%'"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := db.QueryRow(query).Scan(&asked); err != nil {
			t.Fatal(err)
		}
		if asked > 0 {
			return
		}
	}
	t.Fatal("the query never came")
}

func TestAQueuedRowIsExecutedOnceHoweverOftenItIsAskedFor(t *testing.T) {
	client, executions := live(t)
	ctx := context.Background()
	request := Request{ExecutionID: newID(t), ConfigID: 1, ScheduleID: 1, ExecutedBy: "ana"}
	if err := executions.Queue(ctx, request); err != nil {
		t.Fatal(err)
	}
	first, err := execute(client, request)
	if err != nil || first.RunID == "" {
		t.Fatalf("first call: %+v %v", first, err)
	}
	second, err := execute(client, request)
	if err != nil || !second.Repeated || second.RunID != first.RunID {
		t.Fatalf("second call: %+v %v", second, err)
	}
	status := waitFor(t, executions, request.ExecutionID, "completed")
	if !status.Rows.Valid || status.FilePath.String == "" || !status.CompletedAt.Valid || status.Error.Valid {
		t.Errorf("status: %+v", status)
	}
	if cancelled, err := executions.CancelQueued(ctx, request.ExecutionID); cancelled || err != nil {
		t.Errorf("what is completed was cancelled: %v", err)
	}
}

func TestTwoCallsAtOnceMakeOneExecution(t *testing.T) {
	client, executions := live(t)
	ctx := context.Background()
	request := Request{ExecutionID: newID(t), ConfigID: 1, ExecutedBy: "twice"}
	var calls sync.WaitGroup
	for i := 0; i < 2; i++ {
		calls.Add(1)
		go func() {
			defer calls.Done()
			if _, err := execute(client, request); err != nil {
				t.Error(err)
			}
		}()
	}
	calls.Wait()
	waitFor(t, executions, request.ExecutionID, "completed")
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		runs, err := client.Runs(ctx, request.ExecutionID)
		if err != nil || time.Now().After(end) {
			t.Fatalf("runs: %v %v", runs, err)
		}
		ended := true
		for _, run := range runs {
			ended = ended && run.Ended()
		}
		if ended {
			break
		}
	}
	var sent int
	query := "SELECT SUM(success_count) FROM report_delivery_logs WHERE execution_id = ?"
	if err := executions.DB.QueryRow(query, request.ExecutionID).Scan(&sent); err != nil || sent != 3 {
		t.Errorf("sent to %d, wanted 3: %v", sent, err)
	}
}

func TestACancelledExecutionEnds(t *testing.T) {
	client, executions := live(t)
	ctx := context.Background()
	launch, err := execute(client, Request{ConfigID: 2, ExecutedBy: "budi"})
	if err != nil {
		t.Fatal(err)
	}
	waitForItsQuery(t, executions.DB)
	if cancelled, err := client.Cancel(ctx, launch.ExecutionID); cancelled != 1 || err != nil {
		t.Fatalf("cancelled %d: %v", cancelled, err)
	}
	status := waitFor(t, executions, launch.ExecutionID, "cancelled")
	if !strings.Contains(status.Error.String, "cancelled by a person") {
		t.Errorf("status: %+v", status)
	}
}

func TestADataSourceAndADeliveryAreTried(t *testing.T) {
	client, _ := live(t)
	ctx := context.Background()
	for name, try := range map[string]func() (string, error){
		"datasource": func() (string, error) { return client.TestDatasource(ctx, 1) },
		"delivery":   func() (string, error) { return client.TestDelivery(ctx, 1, "") },
	} {
		runID, err := try()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		run := Run{}
		for end := time.Now().Add(patience); !run.Ended() && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if run, err = client.Run(ctx, runID); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if run.Status != "SUCCESS" {
			t.Errorf("%s: %+v", name, run)
		}
	}
}

func TestAQueuedRowIsCancelledInTheDatabase(t *testing.T) {
	_, executions := live(t)
	ctx := context.Background()
	request := Request{ExecutionID: newID(t), ConfigID: 1, ExecutedBy: "ana"}
	if err := executions.Queue(ctx, request); err != nil {
		t.Fatal(err)
	}
	if cancelled, err := executions.CancelQueued(ctx, request.ExecutionID); !cancelled || err != nil {
		t.Fatalf("not cancelled: %v", err)
	}
	waitFor(t, executions, request.ExecutionID, "cancelled")
}

func TestAnUnknownExecutionHasNoStatus(t *testing.T) {
	client, executions := live(t)
	if _, err := executions.Status(context.Background(), "nobody"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("got %v", err)
	}
	_, err := client.Run(context.Background(), "nobody")
	var found *Error
	if !errors.As(err, &found) || found.Code != "RunNotFoundError" || Retryable(err) {
		t.Errorf("got %v", err)
	}
}

func TestABadConfigIsPermanentAndNamesTheField(t *testing.T) {
	client, _ := live(t)
	config := map[string]any{"config_id": "twelve"}
	_, err := client.launch(context.Background(), job, firstOp, config, nil)
	var found *Error
	if !errors.As(err, &found) || found.Code != "RunConfigValidationInvalid" || Retryable(err) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(found.Message, "config_id") {
		t.Errorf("the field is not named: %v", err)
	}
}

// The code server does not run while this test does.
func TestALocationThatIsDownIsRetryable(t *testing.T) {
	client, _ := live(t)
	_, err := client.Execute(context.Background(), Request{ConfigID: 1})
	if !Retryable(err) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
}
