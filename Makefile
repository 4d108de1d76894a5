# Two commands matter: `make up` starts Perennial, `make test` proves it. Each does its own set-up (Debian, Rust, git).
.PHONY: up test lint torture bench setup-build setup-test
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

test: setup-test lint
	cargo build --workspace --locked $(failpoints)
	cargo test --workspace --locked --no-fail-fast $(failpoints)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked $(failpoints) -- -D warnings

# The kill rig with its full counts: every failpoint several times, 200 random kills. The result is checked in.
torture: setup-test
	cargo build --workspace --locked $(failpoints)
	mkdir -p tests/results
	set -o pipefail; { echo "commit $$(git rev-parse --short HEAD), $$(rustc --version), $$(uname -sr), $$(nproc) cores"; \
	PERENNIAL_TORTURE=1 cargo test --locked -p perennial-tests --test e2e -- --nocapture 2>&1; } \
	| grep --line-buffered -E '^(commit|seed|failpoints:|random moments:|NOT RUN|test )' | tee tests/results/torture.txt

# Fold, render and codec; then what a user waits for, through the release binary.
bench: setup-build
	cargo bench --locked -p perennial-engine
	cargo build --release --locked --bin perennial
	PERENNIAL_BIN=$(CURDIR)/target/release/perennial cargo bench --locked -p perennial-tests --bench service

setup-build:
	scripts/setup.sh --build

setup-test:
	scripts/setup.sh --test
