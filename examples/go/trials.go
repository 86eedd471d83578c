package reporthub

import "context"

// TestDatasource launches a run that connects to a row of report_datasources, authenticates and runs a trivial
// query. The run succeeds when all of it did; its page shows each step, its time, and what to change.
func (c *Client) TestDatasource(ctx context.Context, datasourceID int64) (runID string, err error) {
	config := map[string]any{"datasource_id": datasourceID}
	return c.launch(ctx, "test_datasource", "try_one_datasource", config, nil)
}

// TestDelivery launches a run that connects to a row of report_deliveries and authenticates; no report goes out.
// With an address in to, a small file marked as a test goes there from an e-mail delivery.
func (c *Client) TestDelivery(ctx context.Context, deliveryID int64, to string) (runID string, err error) {
	config := map[string]any{"delivery_id": deliveryID}
	if to != "" {
		config["to"] = to
	}
	return c.launch(ctx, "test_delivery", "try_one_delivery", config, nil)
}
