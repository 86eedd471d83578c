package reporthub

import (
	"context"
	"errors"
	"fmt"
)

// Error is every error of a Client.
type Error struct {
	// Code is the __typename of Dagster's answer, "HTTP 503" and the like, "Network", "Answer" or "Request".
	Code string
	// Message is for people. It holds no secret.
	Message string
	// Retryable says that the same call may work later; otherwise a person must change something first.
	Retryable bool
	// Err is the cause, where there is one.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("reporthub: %s: %s", e.Code, e.Message) }

// Unwrap makes errors.Is(err, context.DeadlineExceeded) work.
func (e *Error) Unwrap() error { return e.Err }

// Retryable says whether the same call may work later.
func Retryable(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Retryable && !errors.Is(err, context.Canceled)
}

// retryableAnswers are the answers of Dagster that pass. A code location that is down, or that is being
// replaced, answers like one that has no such job.
var retryableAnswers = map[string]bool{
	"PipelineNotFoundError": true,
	"PythonError":           true,
	"TerminateRunFailure":   true,
}

// answer is what every type that is not the wanted one has in common.
type answer struct {
	Typename string `json:"__typename"`
	Message  string
	Errors   []struct{ Message string }
}

func (a answer) err() error {
	message := a.Message
	for _, one := range a.Errors {
		if message != "" {
			message += "; "
		}
		message += one.Message
	}
	return &Error{Code: a.Typename, Message: message, Retryable: retryableAnswers[a.Typename]}
}
