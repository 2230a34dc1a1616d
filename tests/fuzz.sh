#!/usr/bin/env bash
# Fuzzes every reader of bytes that anyone may have written, each for some seconds: tests/fuzz.sh [SECONDS [TARGET …]].
# What is found is kept in tests/fuzz/artifacts, what was learned in tests/fuzz/corpus; neither is committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
shift || true

if ! rustup run nightly rustc --version >/dev/null 2>&1; then
    echo 'fuzz: cargo-fuzz needs a nightly Rust: rustup toolchain install nightly --profile minimal' >&2
    exit 2
fi
if ! command -v cargo-fuzz >/dev/null; then
    echo 'fuzz: cargo-fuzz is missing: cargo install cargo-fuzz --locked' >&2
    exit 2
fi
if ! command -v c++ >/dev/null; then
    echo 'fuzz: libFuzzer needs a C++ compiler: sudo apt-get install -y g++' >&2
    exit 2
fi

if (($# == 0)); then
    mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir tests/fuzz)
    set -- "${targets[@]}"
fi
for target; do
    echo "== $target, $seconds s"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" -- -max_total_time="$seconds" -max_len=8192 -print_final_stats=1
done
