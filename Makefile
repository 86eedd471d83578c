# Every target makes what it needs: uv in .tools (unless uv is installed), the environment from uv.lock.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
RUN := $(UV) run --frozen --no-sync
ENVIRONMENT := .venv/.synced
ENGINES := .venv/.engines

export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo dev test check bench format

help: ## Show the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(ENVIRONMENT) ## Run five reports on real data: SQLite, a csv, an HTTP API; local folder, local mail sink
	@$(RUN) python -m demo

dev: $(ENVIRONMENT) ## Start Dagster's UI on http://127.0.0.1:3000 on the same instance as the demo
	@$(RUN) python -m demo.dev

test: $(ENGINES) ## Run the tests; they start their own servers
	$(RUN) pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(ENVIRONMENT) ## Lint, types, layers, lock file
	$(UV) lock --check
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

bench: $(ENGINES) ## Measure what we claim against a named rival
	$(RUN) python -m benchmarks.data_path
	$(RUN) python -m benchmarks.sources
	$(RUN) python -m benchmarks.files
	$(RUN) python -m benchmarks.memory
	$(RUN) python -m benchmarks.tick
	$(RUN) python -m benchmarks.renderers
	$(RUN) python -m benchmarks.dispatch
	$(RUN) python -m benchmarks.deliveries
	$(RUN) python -m benchmarks.scripts
	$(RUN) python -m benchmarks.catalog

format: $(ENVIRONMENT) ## Format the code
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

$(ENVIRONMENT): pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --frozen --quiet
	@touch $@

# Servers that only tests start are large: the demo does without.
$(ENGINES): $(ENVIRONMENT)
	$(UV) sync --frozen --quiet --group engines
	$(UV) sync --frozen --quiet --script reporthub_dagster_tests/servers/bigquery_emulator.py
	$(UV) sync --frozen --quiet --script reporthub_dagster_tests/servers/snowflake_emulator.py
	@touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
