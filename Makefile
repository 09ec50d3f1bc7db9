# The few commands a person needs; CI runs the same ones through .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What demo and bench build: release for people, dev where a quick build matters more.
PROFILE ?= release
DEMO_ARGS ?=
BENCH_ARGS ?=

.PHONY: help tools drivers demo test bench bench-copy micro fuzz fuzz-http differential torture images-test alerts upgrade reference clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: tools ## start etcd, three shards, two managers and two routers, load data, stay until Ctrl-C
	@PROFILE=$(PROFILE) scripts/run.sh demo $(DEMO_ARGS)

test: drivers ## formatting, lints and all tests; installs what they need
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --workspace --bins --features manager/failpoints,router/failpoints
	cargo test --workspace --features manager/failpoints,router/failpoints

bench: tools ## PostgreSQL, PgBouncer and the router side by side; a table in target/bench/report.md
	@scripts/tools.sh bench
	@PROFILE=$(PROFILE) scripts/run.sh bench $(BENCH_ARGS)

bench-copy: tools ## copies of a reshard beside psql | psql; fails below 80 % of it
	cargo bench -p manager --bench copy -- $(BENCH_ARGS)

micro: tools ## the crates' own benchmarks, and instructions counted against their baseline
	@scripts/tools.sh bench
	cargo bench --workspace

fuzz: tools ## random bytes and statements for FUZZ_SECONDS (60) a target; FUZZ_SEED repeats a case
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) cargo test -p router --test fuzz

fuzz-http: tools ## requests made from the OpenAPI documents (schemathesis), against a manager and a router; no 500, no hang
	@scripts/tools.sh http
	cargo build --workspace --bins
	cargo test -p tests --test e2e -- --ignored fuzz_http --nocapture

differential: tools ## random statements through the router and on one server, for DIFFERENTIAL_SECONDS (300)
	cargo build --workspace --bins
	DIFFERENTIAL_SECONDS=$(or $(DIFFERENTIAL_SECONDS),300) \
		cargo test -p tests --test e2e -- differential --nocapture

torture: tools ## the leader killed at every step, faults of all parts, many cutovers, under load; TORTURE=before:fence for some
	cargo build --workspace --bins --features manager/failpoints,router/failpoints
	cargo test -p tests --test e2e -- --ignored reshard:: --nocapture --test-threads=1

images-test: ## build the images and run the Compose file in an engine of its own; as root
	@PROFILE=$(or $(IMAGE_PROFILE),dev) scripts/images/test.sh

alerts: drivers ## each alert provoked once, in a real Prometheus against a live system
	cargo build --workspace --bins --features manager/failpoints,router/failpoints
	cargo test -p tests --test e2e -- --ignored observe:: --nocapture

upgrade: drivers ## programs of an older commit replaced by these under load, and back: FROM=COMMIT
	scripts/upgrade.sh "$(FROM)"

reference: tools ## write the types and defaults of docs/configuration.md from the programs
	cargo build --workspace --bins --features manager/failpoints,router/failpoints
	WRITE_REFERENCE=1 cargo test -p tests --test e2e -- the_reference_of_the_configuration

clean: ## remove everything that was built
	cargo clean

tools:
	@scripts/tools.sh

drivers:
	@scripts/tools.sh drivers
