# The few commands a person needs; CI runs the same ones through .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What demo and bench build: release for people, dev where a quick build matters more.
PROFILE ?= release
DEMO_ARGS ?=
BENCH_ARGS ?=

.PHONY: help tools drivers demo test bench bench-copy micro clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: tools ## start etcd, three shards, two managers and two routers, load data, stay until Ctrl-C
	@PROFILE=$(PROFILE) scripts/run.sh demo $(DEMO_ARGS)

test: drivers ## formatting, lints and all tests; installs what they need
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --workspace --bins
	cargo test --workspace

bench: tools ## PostgreSQL, PgBouncer and the router side by side; a table in target/bench/report.md
	@scripts/tools.sh bench
	@PROFILE=$(PROFILE) scripts/run.sh bench $(BENCH_ARGS)

bench-copy: tools ## copies of a reshard beside psql | psql; fails below 80 % of it
	cargo bench -p manager --bench copy -- $(BENCH_ARGS)

micro: tools ## the crates' own benchmarks, and instructions counted against their baseline
	@scripts/tools.sh bench
	cargo bench --workspace

clean: ## remove everything that was built
	cargo clean

tools:
	@scripts/tools.sh

drivers:
	@scripts/tools.sh drivers
