# Everything that is built or fetched goes here, outside the clone: a second clone, or a second run, starts warm.
export CUSTODY_CACHE ?= $(HOME)/.cache/custody
export CARGO_TARGET_DIR ?= $(CUSTODY_CACHE)/target

OPEN_READER := $(CUSTODY_CACHE)/open-reader
LOADER := $(CUSTODY_CACHE)/loader
COMPOSE ?= docker compose

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build test demo web bench bench-reports fire fuzz fmt lint kafka opa s3 spark open-reader compose

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: web ## Build the custody binary as it is shipped
	cargo build --release --bin custody

# The binary is whole without it, and says so to whoever opens a page.
web: ## Build the web interface, which the next build takes into the binary
	@if command -v npm >/dev/null; then \
	  cmp -s dashboards/web/package-lock.json dashboards/web/node_modules/.of || { \
	    npm --prefix dashboards/web ci --silent --no-audit --no-fund && \
	    cp dashboards/web/package-lock.json dashboards/web/node_modules/.of; } && \
	  npm --prefix dashboards/web run --silent build; \
	else \
	  [ -z "$(CI)" ] || exit 1; printf '\n*** NO NPM: the web interface is NOT BUILT\n\n' >&2; \
	fi

# The demo's broker begins anew each time, and so does its ledger.
demo: web ## Build and run the whole product on an embedded broker, with live sample gateways
	cargo build --bin custody
	rm -rf custody-demo
	$(CARGO_TARGET_DIR)/debug/custody demo

bench: build ## Measure ingest against the limit of the machine and a loader in Python, commits and decoding
	@cmp -s tests/open/loader-requirements.txt $(LOADER)/requirements.txt || { \
	  echo "fetching what tests/open/loader.py needs into $(LOADER)" >&2; \
	  python3 -m venv --clear $(LOADER); \
	  $(LOADER)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/open/loader-requirements.txt; \
	  cp tests/open/loader-requirements.txt $(LOADER)/requirements.txt; }
	tests/kafka/with-broker.sh $(CARGO_TARGET_DIR)/release/custody bench ingest \
	  --peer "$(LOADER)/bin/python tests/open/loader.py"
	tests/kafka/with-broker.sh $(CARGO_TARGET_DIR)/release/custody bench freshness
	$(CARGO_TARGET_DIR)/release/custody bench commits
	$(CARGO_TARGET_DIR)/release/custody bench decode

# The ledger is made once, and can be thrown away.
BENCH_EVENTS ?= 10000000
BENCH_LEDGER := $(CUSTODY_CACHE)/bench-$(BENCH_EVENTS)
bench-reports: build open-reader ## Measure every report beside DuckDB on a generated ledger (BENCH_EVENTS=100000000)
	[ -d $(BENCH_LEDGER)-reference ] || $(CARGO_TARGET_DIR)/release/custody bench generate $(BENCH_LEDGER) --events $(BENCH_EVENTS)
	CUSTODY_QUERY__MEMORY_MB_MAX=3072 $(CARGO_TARGET_DIR)/release/custody \
	  --config $(BENCH_LEDGER)-reference/custody.toml bench reports --period 2026-Q3 --runs 3 \
	  --peer "$(OPEN_READER)/bin/python tests/open/reports_duckdb.py --timeout 120 --config $(BENCH_LEDGER)-reference/custody.toml"

# Each target for ten minutes; one second each is part of `make test`.
fuzz: ## Run hostile input through every decoder and file format
	CUSTODY_FUZZ_SECONDS=$${CUSTODY_FUZZ_SECONDS:-600} cargo test --workspace --lib fuzz -- --nocapture

# Twenty-five rounds are part of `make test`.
fire: ## Kill members of a group, maintenance and the broker a thousand times under load
	CUSTODY_FIRE_ROUNDS=$${CUSTODY_FIRE_ROUNDS:-1000} cargo test --workspace --test system fire -- --nocapture

fmt: ## Format all Rust code
	cargo fmt --all

lint: ## Check formatting, and clippy with warnings as errors
	cargo fmt --all --check
	MAKEFLAGS= cargo clippy --workspace --all-targets -- -D warnings

# What a test needs beside Rust. On a developer's machine the tests that cannot have it skip, and say so; where CI is set
# there is no skipping.
wanted = $(1) || { [ -z "$(CI)$(CUSTODY_REQUIRE_KAFKA)" ] || exit 1; printf '\n*** %s\n\n' "$(2)" >&2; }

FETCHED := $(addprefix fetched-,kafka s3 spark opa open-reader opensearch chromium kcat)
.PHONY: $(FETCHED)
fetched-kafka:
	@[ -n "$${KAFKA_BOOTSTRAP:-}" ] || $(call wanted,tests/kafka/fetch.sh >/dev/null,NO KAFKA: the tests that need a real broker will be SKIPPED)
fetched-s3:
	@$(call wanted,tests/s3/fetch.sh >/dev/null,NO S3 SERVER: the tests of object stores will be SKIPPED)
fetched-spark:
	@tests/open/spark-fetch.sh >/dev/null || printf '\n*** NO SPARK: the test that reads the ledger with it will be SKIPPED\n\n' >&2
fetched-opa:
	@tests/opa/fetch.sh >/dev/null || printf '\n*** NO OPA: the test with a real policy engine will be SKIPPED\n\n' >&2
fetched-open-reader:
	@$(call wanted,$(MAKE) --no-print-directory open-reader,NO PYTHON READER: the test that reads the ledger with other engines will be SKIPPED)
fetched-opensearch:
	@$(call wanted,tests/siem/opensearch/fetch.sh >/dev/null,NO OPENSEARCH: the test that forwards to a real one will be SKIPPED)
fetched-chromium:
	@$(call wanted,command -v chromium >/dev/null,NO CHROMIUM: the tests of the web interface in a browser will be SKIPPED)
fetched-kcat:
	@$(call wanted,command -v kcat >/dev/null,NO KCAT: the test that reads with it what is forwarded to Kafka will be SKIPPED)

# What waits for the network is fetched while the processors check the code.
test: ## The one test command: formatting, clippy, every test, with a real Kafka and another Delta reader
	@$(MAKE) --no-print-directory --jobs=4 lint compose web $(FETCHED)
	@! command -v npm >/dev/null || npm --prefix dashboards/web run --silent check
	python3 -B -m unittest discover -s tests/siem
	python3 -B -m unittest discover -s tests/open
	cargo test --workspace
	@! command -v npm >/dev/null || \
	  CUSTODY_SCREENSHOTS=$${CUSTODY_SCREENSHOTS:-$(CARGO_TARGET_DIR)/screenshots} npm --prefix dashboards/web run --silent test

kafka: ## Fetch the Apache Kafka that the tests run against, and print its folder
	@tests/kafka/fetch.sh

s3: ## Fetch the S3-compatible server that the tests run against, and print its path
	@tests/s3/fetch.sh

spark: ## Fetch Apache Spark with Delta, which reads the ledger in a test, and print its Python
	@tests/open/spark-fetch.sh

opa: ## Build the Open Policy Agent that the tests run against, and print its path
	@tests/opa/fetch.sh

open-reader: ## Fetch the Delta readers that are not Custody (Python)
	@cmp -s tests/open/requirements.txt $(OPEN_READER)/requirements.txt || { \
	  echo "fetching the readers of tests/open into $(OPEN_READER)" >&2; \
	  python3 -m venv --clear $(OPEN_READER); \
	  $(OPEN_READER)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/open/requirements.txt; \
	  cp tests/open/requirements.txt $(OPEN_READER)/; }

# Where there is no Docker, or an old one that does not know inline configuration, a current Compose is built.
compose: ## Check docker-compose.yml
	@compose='$(COMPOSE)'; \
	if ! $$compose version >/dev/null 2>&1 && ! compose=$$(tests/compose/fetch.sh); then \
	  printf '\n*** NO COMPOSE (%s): docker-compose.yml is NOT CHECKED\n\n' '$(COMPOSE)' >&2; \
	else \
	  $$compose -f docker-compose.yml --profile gateways --profile dashboards config --quiet && echo "docker-compose.yml: valid"; \
	fi
