# Each target works on a fresh Debian machine with Rust and make: it installs what else it needs, and says so.

export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run test build lint setup

help:
	@echo "make run     a cluster on this machine with the demo data, and the proxy in front of it"
	@echo "make test    build everything and run all tests"
	@echo "make lint    check the formatting, and the code with clippy"
	@echo "make build   release programs in $(TARGET_DIR)/release"

# Always with --workspace: the features of shared dependencies are then the same in every command, and nothing is
# compiled twice. The development profile optimizes the dependencies, so that its programs are fast enough to try.
run: setup
	cargo build --workspace --bins
	$(TARGET_DIR)/debug/miroir dev --demo $(ARGS)

test:
	@scripts/setup test
	scripts/test

build: setup
	cargo build --workspace --bins --release

lint:
	@scripts/setup lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

setup:
	@scripts/setup
