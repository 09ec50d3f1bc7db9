# The few commands a person needs; CI runs the same ones through .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the demo builds: release for people, dev where a quick build matters more.
PROFILE ?= release
DEMO_ARGS ?=

.PHONY: help tools drivers demo test bench clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-8s %s\n", $$1, $$2 }'

demo: tools ## start etcd, three shards, two managers and two routers, load data, stay until Ctrl-C
	@PROFILE=$(PROFILE) scripts/demo.sh $(DEMO_ARGS)

test: drivers ## formatting, lints and all tests; installs what they need
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --workspace --bins
	cargo test --workspace

bench: tools ## run the benchmarks
	cargo bench --workspace

clean: ## remove everything that was built
	cargo clean

tools:
	@scripts/tools.sh

drivers:
	@scripts/tools.sh drivers
