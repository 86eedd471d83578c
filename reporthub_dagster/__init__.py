"""ReportHub: scheduled reports as Dagster runs."""

import os

# Arrow reads this when it is imported. Its own choice, mimalloc, keeps 30 MB more of what batches have freed.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
