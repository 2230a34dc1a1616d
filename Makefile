# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help preflight release parquet package demo test setup test-host test-boot test-package test-lobster test-s3 test-otlp mutants fuzz bench bench-parts instructions fmt lint

help: ## List what can be made.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/make \1	\2/p' Makefile | expand -t 20

preflight: ## Check that this machine can build and run a node.
	@tests/preflight.sh

release: preflight ## Build the node and its exporter, optimised.
	cargo build --release --locked -p ironbell-appliance -p ironbell-exporter

demo: release ## Build, then trade on a node, kill it, recover it, and show the figures.
	$(or $(CARGO_TARGET_DIR),target)/release/ironbell demo $(ARGS)

setup: ## Install what the tests need (as root), or say what to install.
	@tests/setup.sh

test: setup preflight ## Run every check and every test.
	@tests/run.sh

test-host: release ## Lint the Ansible roles, play them on a machine that boots for it, and boot a real kernel (as root).
	@tests/host.sh
	@tests/boot.sh

test-boot: release ## The last part of it alone: boot a machine in QEMU, isolate its CPUs, ask the doctor.
	@tests/boot.sh

test-package: ## Build the Debian package twice, compare, and install it into a Debian of its own (as root).
	@tests/package.sh

test-lobster: release ## Replay real LOBSTER data: make test-lobster DIR=folder with one message and one orderbook file.
	@test -n "$(DIR)" || { echo 'say where the data is: make test-lobster DIR=folder' >&2; exit 2; }
	@message=("$(DIR)"/*message*.csv) orderbook=("$(DIR)"/*orderbook*.csv); \
	test "$${#message[@]}" = 1 -a "$${#orderbook[@]}" = 1 -a -f "$${message[0]}" -a -f "$${orderbook[0]}" || \
	    { echo '$(DIR) must hold one *message*.csv and one *orderbook*.csv' >&2; exit 2; }; \
	$(or $(CARGO_TARGET_DIR),target)/release/ironbell replay-lobster "$${message[0]}" "$${orderbook[0]}"

test-s3: preflight ## Archive to a server that speaks S3 and restore from it, in a build with the feature s3.
	@tests/s3.sh

test-otlp: preflight ## Export spans to a collector, in a build with the feature otlp.
	@tests/otlp.sh

parquet: preflight ## Build ironbell-parquet, which writes a journal as Parquet tables.
	cargo build --release --locked -p ironbell-parquet

package: preflight ## Build the Debian package, with manuals, completions and bills of materials: target/package/.
	@engine/appliance/package/build.sh

mutants: preflight ## Plant bugs in the code of journal and shards, one after the other, and see that its tests fail.
	@tests/mutants.sh

fuzz: ## Fuzz what reads the journal's files, a minute each (nightly Rust): make fuzz SECONDS=600.
	@tests/fuzz.sh $(or $(SECONDS),60)

bench: release ## Measure the standard set in under ten minutes: one table, benches/results/latest.json and .html.
	$(or $(CARGO_TARGET_DIR),target)/release/ironbell bench suite

instructions: preflight ## Count instructions of a fixed subset beside the committed baseline; ACCEPT=1 writes it.
	@benches/instructions.py $(if $(ACCEPT),--accept)

bench-parts: preflight ## Measure the parts by themselves: matching, supersteps, the journal beside bare writes, codecs.
	cargo bench --locked -p ironbell-core --bench matching_throughput -- $(if $(shell command -v valgrind),--instructions)
	cargo bench --locked -p ironbell-runtime --bench superstep_scaling -- $(if $(shell command -v valgrind),--instructions)
	cargo bench --locked -p ironbell-appliance --bench idle_node
	cargo bench --locked -p ironbell-store --bench journal_commit
	cargo bench --locked -p ironbell-hsm --bench signing --features ml-dsa
	cargo bench --locked -p ironbell-wire

fmt: ## Format all Rust code.
	cargo fmt --all

lint: ## Run clippy as the tests do.
	cargo clippy --workspace --all-targets --locked -- -D warnings
