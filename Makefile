# Two commands matter: `make up` starts Perennial, `make test` proves it. Each does its own set-up (Debian, Rust, git;
# with Node also the web console).
.PHONY: up dist executor test lint simulate torture soak fuzz bench setup-build setup-test
.DEFAULT_GOAL := up
SHELL := /bin/bash

# rustup's own place is not in PATH in every shell; and rustup looks for toolchains under HOME, which may be another one
# than the one it was installed under. Both are found from where cargo is.
cargo := $(or $(shell command -v cargo),$(wildcard $(or $(CARGO_HOME),$(HOME)/.cargo)/bin/cargo))
export PATH := $(PATH):$(dir $(cargo))
ifeq ($(shell $(dir $(cargo))rustc --version 2>/dev/null),)
ifneq ($(wildcard $(dir $(cargo))../../.rustup),)
export RUSTUP_HOME := $(abspath $(dir $(cargo))../../.rustup)
endif
endif

failpoints := --features perennial/failpoints

up: setup-build
	cargo run --release --locked --bin perennial -- up $(ARGS)

# The program as it is shipped: target/dist/perennial.
dist: setup-build
	cargo build --profile dist --locked --bin perennial

# The program that runs in sandboxes, beside the server that makes them.
executor: setup-build
	mkdir -p target/release
	install "$$(scripts/static-executor.sh)" target/release/perennial-executor

test: setup-test lint
	cargo build --workspace --locked $(failpoints)
	scripts/static-executor.sh
	cargo test --workspace --locked --no-fail-fast $(failpoints)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked $(failpoints),perennial-executor/standalone -- -D warnings

# Ring 1 for longer: make simulate SEEDS=1000000 [FIRST=1]. Optimised; a failure names its seed and the faults it takes.
SEEDS ?= 100000
FIRST ?= 1
simulate: setup-build
	PERENNIAL_SEEDS=$(SEEDS) PERENNIAL_FIRST_SEED=$(FIRST) \
	cargo test --locked --release -p perennial-tests --test simulation no_seed_breaks_a_promise -- --nocapture

# The kill rigs with their full counts, then the soak: all of them, or some parts: make torture ONLY="faults mail" (scripts/torture.sh
# --list names them, and how long each takes). Results are checked in, and a part that is run replaces its own only.
ONLY ?=
torture: setup-test
	scripts/torture.sh $(ONLY)
	$(if $(ONLY),,$(MAKE) soak)

# What a claim costs after so many minutes of turns while somebody's transaction stays open on the database.
MINUTES ?= 60
soak: setup-test
	cargo build --profile dist --locked -p perennial-tests --bin perennial-bench
	mkdir -p tests/results
	target/dist/perennial-bench --only soak --minutes $(MINUTES) --json tests/results/soak.json

# libFuzzer against the wire of a tunnel, for so many seconds; needs a nightly toolchain and cargo-fuzz.
FUZZ_SECONDS ?= 300
fuzz:
	cargo +nightly fuzz run --fuzz-dir tunnel/fuzz frames -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536

# Fold, render and codec; then the install as a whole against the least that could do the same, in one run.
bench: setup-test
	cargo bench --locked -p perennial-engine
	cargo build --profile dist --locked -p perennial -p perennial-tests --bin perennial --bin perennial-bench
	PERENNIAL_BIN=$(CURDIR)/target/dist/perennial target/dist/perennial-bench --json tests/results/bench.json $(ARGS)

setup-build:
	scripts/setup.sh --build

setup-test:
	scripts/setup.sh --test
