package reporthub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	mostBytes      = 16 << 20
	defaultTimeout = 30 * time.Second
)

// Client talks to one Dagster webserver. The zero value of every field but URL is a good choice.
type Client struct {
	// URL of the GraphQL endpoint, such as https://dagster.example.com/graphql.
	URL string
	// Token is sent as a bearer token, for a proxy that asks for one.
	Token string
	// Location is the name of the code location; "reporthub" when empty.
	Location string
	// HTTP sends the requests; when nil, one that waits 30 seconds and follows no redirect.
	HTTP *http.Client
}

// Following a redirect would turn a POST into a GET, and a login page is no answer.
var standardHTTP = &http.Client{
	Timeout:       defaultTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask sends a GraphQL document and decodes its one field into out.
func (c *Client) ask(ctx context.Context, document string, variables map[string]any, out any) error {
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		return &Error{Code: "Request", Message: err.Error(), Err: err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return &Error{Code: "Request", Message: err.Error(), Err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = standardHTTP
	}
	response, err := client.Do(request)
	if err != nil {
		return &Error{Code: "Network", Message: err.Error(), Retryable: true, Err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostBytes))
	if err != nil {
		return &Error{Code: "Network", Message: err.Error(), Retryable: true, Err: err}
	}
	return decode(response.StatusCode, text, out)
}

func decode(status int, text []byte, out any) error {
	var envelope struct {
		Data   map[string]json.RawMessage
		Errors []struct{ Message string }
	}
	malformed := json.Unmarshal(text, &envelope)
	if status != http.StatusOK {
		message := http.StatusText(status)
		if len(envelope.Errors) > 0 {
			message = envelope.Errors[0].Message
		}
		return &Error{Code: fmt.Sprintf("HTTP %d", status), Message: message, Retryable: retryableStatus(status)}
	}
	if malformed != nil {
		return &Error{Code: "Answer", Message: fmt.Sprintf("not JSON: %.80q", text), Err: malformed}
	}
	if len(envelope.Errors) > 0 {
		return &Error{Code: "Answer", Message: envelope.Errors[0].Message}
	}
	for _, field := range envelope.Data {
		if err := json.Unmarshal(field, out); err != nil {
			return &Error{Code: "Answer", Message: err.Error(), Err: err}
		}
		return nil
	}
	return &Error{Code: "Answer", Message: "no data"}
}

func retryableStatus(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

func (c *Client) location() string {
	if c.Location == "" {
		return "reporthub"
	}
	return c.Location
}
