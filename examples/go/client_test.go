package reporthub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answering is a Client of a server that answers everything in one way.
func answering(t *testing.T, status int, body string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/login")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return &Client{URL: server.URL}
}

func TestAnErrorSaysWhetherToRetry(t *testing.T) {
	for name, wanted := range map[string]struct {
		status    int
		body      string
		code      string
		retryable bool
	}{
		"a proxy without its server":  {503, "<html>", "HTTP 503", true},
		"too many requests":           {429, "", "HTTP 429", true},
		"no token":                    {401, "", "HTTP 401", false},
		"a redirect to a login page":  {302, "", "HTTP 302", false},
		"a document that is refused":  {400, `{"errors": [{"message": "Cannot query field"}]}`, "HTTP 400", false},
		"an answer that is no answer": {200, "<html>", "Answer", false},
		"an answer without data":      {200, `{"data": {}}`, "Answer", false},
		"errors beside the data":      {200, `{"errors": [{"message": "no"}], "data": null}`, "Answer", false},
		"a location that is down":     {200, launchAnswer("PipelineNotFoundError"), "PipelineNotFoundError", true},
		"an error inside Dagster":     {200, launchAnswer("PythonError"), "PythonError", true},
		"a read-only webserver":       {200, launchAnswer("UnauthorizedError"), "UnauthorizedError", false},
		"a bad config":                {200, launchAnswer("RunConfigValidationInvalid"), "RunConfigValidationInvalid", false},
		"an answer of another day":    {200, launchAnswer("SomethingNewError"), "SomethingNewError", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answering(t, wanted.status, wanted.body).Execute(context.Background(), Request{ConfigID: 1})
			var found *Error
			if !errors.As(err, &found) || found.Code != wanted.code || Retryable(err) != wanted.retryable {
				t.Fatalf("got %v, retryable %v", err, Retryable(err))
			}
		})
	}
}

func launchAnswer(typename string) string {
	return `{"data": {"launchRun": {"__typename": "` + typename + `", "message": "for people"}}}`
}

func TestAServerThatIsAwayOrSilentIsRetryable(t *testing.T) {
	away := answering(t, 200, "")
	away.URL = "http://127.0.0.1:1/graphql"
	if _, err := away.Run(context.Background(), "r"); !Retryable(err) {
		t.Errorf("nobody listens: %v", err)
	}
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer silent.Close()
	defer close(over)
	client := &Client{URL: silent.URL, HTTP: &http.Client{Timeout: 50 * time.Millisecond}}
	if _, err := client.Run(context.Background(), "r"); !Retryable(err) {
		t.Errorf("no answer: %v", err)
	}
}

func TestACallerWhoCancelsIsNotAskedToRetry(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := answering(t, 200, "").Run(ctx, "r")
	if !errors.Is(err, context.Canceled) || Retryable(err) {
		t.Fatalf("got %v, retryable %v", err, Retryable(err))
	}
}

func TestTheTokenIsSentAndNotShown(t *testing.T) {
	var sent string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	_, err := (&Client{URL: server.URL, Token: "s3cret"}).Run(context.Background(), "r")
	if sent != "Bearer s3cret" || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("sent %q, error %v", sent, err)
	}
}

func TestARequestNamesAnExecutionOrAReport(t *testing.T) {
	_, err := answering(t, 200, "").Execute(context.Background(), Request{ExecutedBy: "ana"})
	if err == nil || Retryable(err) {
		t.Fatalf("got %v", err)
	}
}

func TestOnlyWhatIsSaidIsSent(t *testing.T) {
	id := "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	if config := (Request{ExecutionID: id}).config(); len(config) != 1 || config["execution_id"] != id {
		t.Errorf("got %v", config)
	}
	tags := Request{ExecutionID: id, ConfigID: 12, ScheduleID: 3, ExecutedBy: "ana"}.tags()
	if len(tags) != 4 || tags["reporthub/config_id"] != "12" || tags["reporthub/schedule_id"] != "3" {
		t.Errorf("got %v", tags)
	}
}
