// Command report runs a report and waits for the run: what a program does with the client, in one page.
//
//	DAGSTER_URL=http://127.0.0.1:3000 go run ./cmd/report -config 3 -start 2013-01-01 -end 2014-01-01
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"example.com/reporthub"
)

const patience = 10 * time.Minute

func main() {
	var request reporthub.Request
	flag.Int64Var(&request.ConfigID, "config", 0, "the report: report_configs.id")
	flag.StringVar(&request.Start, "start", "", "first moment of the window; empty: computed")
	flag.StringVar(&request.End, "end", "", "first moment after the window; empty: computed")
	flag.StringVar(&request.Deliver, "deliver", "all", "all, none, or for a test run: me, who is -by, or addresses")
	flag.StringVar(&request.ExecutedBy, "by", "go", "who asks: a name or an e-mail address")
	flag.Parse()
	client := &reporthub.Client{URL: os.Getenv("DAGSTER_URL") + "/graphql", Token: os.Getenv("DAGSTER_TOKEN")}
	if err := run(client, request); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run asks until it is answered, then watches. Whether everybody has the report is in report_executions:
// a program with the database asks Executions.Status.
func run(client *reporthub.Client, request reporthub.Request) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	launch, err := client.Execute(ctx, request)
	for reporthub.Retryable(err) && pause(ctx) {
		fmt.Fprintln(os.Stderr, "asking again:", err)
		request.ExecutionID = launch.ExecutionID // the same execution: twice is once
		launch, err = client.Execute(ctx, request)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s/runs/%s\nexecution %s: ", os.Getenv("DAGSTER_URL"), launch.RunID, launch.ExecutionID)
	for {
		found, err := client.Run(ctx, launch.RunID)
		switch {
		case err == nil && found.Ended():
			fmt.Println(found.Status)
			if found.Status != "SUCCESS" {
				return fmt.Errorf("report %d: the run's page says why", request.ConfigID)
			}
			return nil
		case err != nil && !reporthub.Retryable(err):
			return err
		case !pause(ctx):
			return ctx.Err()
		}
	}
}

// pause waits a moment; false when the time is up.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Second):
		return true
	}
}
