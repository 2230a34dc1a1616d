#!/usr/bin/env bash
# Spans of control-plane work and a collector that receives them: the tests of a build with the feature otlp, which brings
# OpenTelemetry's crates and is therefore not part of `make test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo clippy --locked -p ironbell-appliance --features otlp --lib --bin ironbell --test node_otlp -- -D warnings
cargo test --locked -p ironbell-appliance --features otlp --lib --test node_otlp
