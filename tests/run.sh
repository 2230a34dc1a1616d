#!/usr/bin/env bash
# Everything that must hold, in one go: formatting, lints, and every test of every crate. It goes on after a
# failure, so that one run shows them all, and its last line counts them: 'N passed, N failed[, N skipped]'.
# Formatting, lints and the count of instructions are one test each; so does a build or a test program that ends without a result.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
skipped=0

check 'formatting (make fmt)' cargo fmt --all --check
check 'lints (make lint)' cargo clippy --workspace --all-targets --locked -- -D warnings
check 'instructions (make instructions)' benches/instructions.py

# Each test program runs through tests/bounded.sh, which ends it after a while and whatever it leaves behind.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$PWD/tests/bounded.sh"

# IRONBELL_SKIP='name …' leaves out the tests whose names contain one of these; they are counted.
skips=()
for name in ${IRONBELL_SKIP:-}; do skips+=(--skip "$name"); done
test_command=(cargo test --workspace --locked --no-fail-fast "$@" -- ${skips[@]+"${skips[@]}"})
echo "== ${test_command[*]}"
"${test_command[@]}" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# libtest closes every test program with: test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …
read -r test_passed test_failed test_ignored < <(
    awk '/^test result: /{p+=$4; f+=$6; i+=$8+$12} END{print p+0, f+0, i+0}' "$log"
)
# A program that dies of a signal leaves no such line, but cargo counts it: error: 2 targets failed:
read -r targets_failed results_failed < <(
    awk '/^error: [0-9]+ targets? failed:$/{t=$2} /^test result: FAILED/{r+=1} END{print t+0, r+0}' "$log"
)
if ((targets_failed > results_failed)); then
    test_failed=$((test_failed + targets_failed - results_failed))
elif ((status != 0 && test_failed == 0)); then
    # It did not even build.
    test_failed=1
fi
passed=$((passed + test_passed)) failed=$((failed + test_failed)) skipped=$((skipped + test_ignored))

summary="$passed passed, $failed failed"
if ((skipped > 0)); then
    summary+=", $skipped skipped"
fi
echo "$summary"
((failed == 0))
