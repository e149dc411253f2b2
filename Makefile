# `make` lists the targets. Everything a target needs is set up first (scripts/setup).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(CARGO_HOME)/bin:$(PATH)

ADDRESS := http://127.0.0.1:8080
WASM := --target wasm32-unknown-unknown
# Gzipped bytes that the page may cost before the worker is there, and the worker with all of Burn in it.
PAGE_BUDGET := 200000
WORKER_BUDGET := 3000000

.PHONY: help setup serve build gallery test check unit budget large ray e2e bench fmt clean

help: ## List the targets
	@echo "CycleGAN in the browser and on the command line."
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing for serve and test
	@scripts/setup test

serve: ## Build the release page and serve it on http://127.0.0.1:8080
	@scripts/setup serve
	@echo "Building; then open $(ADDRESS) (Ctrl-C ends it)."
	@trunk serve --release --no-autoreload

build: ## Build the release page into dist/, ready for any static host
	@scripts/setup serve
	@trunk build --release

gallery: ## Render the pictures of the page's models with the weights in static/models (see examples/gallery.rs)
	cargo run --locked --release --example gallery

test: ## Every check and test: format, lints, unit, page size, browser
	@scripts/setup test
	@$(MAKE) --no-print-directory check unit budget e2e

check: ## Format and lints, native and wasm32
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked $(WASM) --lib --bin page --bin worker -- -D warnings

unit: ## Native tests, those that need PyTorch included
	cargo test --locked -- --include-ignored

large: ## A picture of 4096×4096 in bands against the whole, and its memory (minutes; no part of test)
	cargo test --locked --release --test large -- --nocapture

ray: ## The recipe for many machines, with a worker killed in the middle (sets up Ray; no part of test)
	@cargo build --locked --bin cyclegan
	@examples/ray/run.sh target/debug/cyclegan

budget: ## Release page, and the sizes it must keep
	trunk build --release
	@size() { cat dist/$$1 | gzip -9 | wc -c; }; \
	within() { printf '%-8s %9d bytes gzipped, at most %d\n' $$1 $$2 $$3; [ $$2 -gt 0 ] && [ $$2 -le $$3 ]; }; \
	within page "$$(size 'page-*_bg.wasm')" $(PAGE_BUDGET); \
	within worker "$$(size 'worker*_bg.wasm')" $(WORKER_BUDGET)

e2e: ## Browser tests against dist/ (screenshots in tests/e2e/out/)
	@npm test --silent --prefix tests/e2e

# Rows and their letters: benches/peers/README.md.
ROWS ?= a,b,c,d,e,f,g,k
bench: ## Speed and memory against the peers, in one table (ROWS=a,c for some rows; DIST=… for another built page)
	@if [ -z "$${DIST:-}" ] && [[ "$(ROWS)" = *[cde]* ]]; then \
	  { [ -e dist/index.html ] && [ -z "$$(find src static index.html Cargo.toml -newer dist/index.html)" ]; } || \
	  $(MAKE) --no-print-directory build; fi
	@benches/peers/run.sh --rows "$(ROWS)" $${DIST:+--dist "$$DIST"} $${ROUNDS:+--rounds "$$ROUNDS"}

fmt: ## Format the code
	cargo fmt

clean: ## Delete build results
	cargo clean
	rm -rf dist tests/e2e/out
