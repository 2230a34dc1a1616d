#!/usr/bin/env bash
# Plants a bug in a copy of the code of the journal or of the shards and sees that the test named for it fails: a test that
# cannot fail proves nothing. tests/mutants/*.patch are the bugs; the head of each says what it plants, who must catch it
# (Caught by:) and where that is, as cargo's arguments (Tests:, the journal's if it does not say).
# Without arguments all of them; with names those alone.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v patch >/dev/null; then
    echo 'mutants: patch is missing: sudo apt-get install -y patch' >&2
    exit 2
fi
if (($# == 0)); then
    set -- tests/mutants/*.patch
    set -- "${@##*/}"
    set -- "${@%.patch}"
fi

# A bug is caught every time or not at all.
export IRONBELL_SEED=${IRONBELL_SEED:-1}
# A target folder of its own: cargo cannot tell the artifacts of two copies of a workspace from each other.
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
tree=$folder/tree
export CARGO_TARGET_DIR=$folder/target
rm -rf "$tree"
mkdir -p "$tree"
tar --exclude=./target --exclude=./.git --exclude=./tests/fuzz/corpus -c . | tar -x -C "$tree" || exit 1
log=$folder/log

run_tests() {
    (cd "$tree" && timeout 900 cargo test --locked --quiet "${tests[@]}" "$@") >"$log" 2>&1
}

# Patched and restored files get a new time: cargo looks at nothing else.
restore() {
    local file
    for file in "${patched[@]}"; do
        cp "$file" "$tree/$file"
        touch "$tree/$file"
    done
}

failed=0
for name; do
    patch=tests/mutants/$name.patch
    test=$(sed -n 's/^Caught by: //p' "$patch")
    read -ra tests < <(sed -n 's/^Tests: //p' "$patch"; echo '-p ironbell-store --test store')
    mapfile -t patched < <(sed -n 's|^+++ b/||p' "$patch" | sort -u)
    if ! patch --quiet --forward --no-backup-if-mismatch -p1 -d "$tree" <"$patch" >"$log" 2>&1; then
        verdict='does not apply any more: plant it in the code as it is now'
    elif ! run_tests --no-run; then
        verdict='does not build'
    elif run_tests -- --exact "$test"; then
        verdict="is NOT caught by $test"
    elif grep -q "^test result: FAILED. 0 passed; 1 failed" "$log"; then
        echo "mutant $name: caught by $test"
        restore
        continue
    else
        verdict="was not tried: $test did not run to its end"
    fi
    echo "mutant $name: $verdict" >&2
    tail -n 20 "$log" >&2
    failed=$((failed + 1))
    restore
done
echo "$(($# - failed)) of $# mutants caught"
((failed == 0))
