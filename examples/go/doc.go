// Package reporthub asks ReportHub for reports, as a configuration API does: it queues executions in the
// shared database, launches, watches and cancels their runs over Dagster's GraphQL API, and reads what became
// of them from report_executions.
//
// Every call may be repeated: an execution has an id, and asking twice for the same one is asking once. An
// error says whether repeating makes sense:
//
//	launch, err := client.Execute(ctx, reporthub.Request{ExecutionID: id})
//	if reporthub.Retryable(err) {
//		// The same call, later: a server or the code location is away.
//	}
package reporthub
