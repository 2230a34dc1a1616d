#!/usr/bin/env python3
"""Counts the instructions of a fixed subset by callgrind, and fails where one has risen by more than 5 %.

The counts do not depend on how busy the machine is or how fast its clock runs, so a test can hold them. They do
depend on the compiler and on what it compiles for: the baseline in instructions.json is kept for each pair of these. An
unknown pair is printed and does not fail. `instructions.py --accept` writes what was counted into the baseline; the
commit that does says why.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benches" / "instructions.json"
RISE_MAX = 0.05
SCENARIOS = ["routine-2%", "swing-25%"]


def said(*command):
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"instructions: {' '.join(command)}: {run.stderr.strip().splitlines()[-1:]}")
    return run.stdout


def key():
    """Compiler and target CPU."""
    told = said("rustc", "-vV")
    release = re.search(r"^release: (.*)$", told, re.M)[1]
    host = re.search(r"^host: (.*)$", told, re.M)[1]
    cpu = re.findall(r"target-cpu=(\S+)", os.environ.get("RUSTFLAGS", ""))
    return f"rustc {release}, {host}, {cpu[-1] if cpu else 'generic'}"


def counted():
    bench = ["cargo", "bench", "--locked", "-q", "-p", "ironbell-core", "--bench", "matching_throughput", "--"]
    options = ["--json", "--instructions", "--runs", "1", "--messages", "200000"]
    counts = {}
    for scenario in SCENARIOS:
        for row in json.loads(said(*bench, *options, "--scenario", scenario))["results"]:
            counts[f"{row['stages']}, {row['scenario']}"] = row["instructions"]
    return counts


def main():
    accept = sys.argv[1:] == ["--accept"]
    if sys.argv[1:] and not accept:
        sys.exit(__doc__)
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    pair, counts = key(), counted()
    known = baseline.get(pair)
    risen = []
    print(f"instructions a message, {pair}")
    for name, count in counts.items():
        before = (known or {}).get(name)
        change = "" if before is None else f"{before:9.1f} before, {count / before - 1:+.1%}"
        print(f"  {name:24} {count:9.1f} {change}")
        if before is not None and count > before * (1 + RISE_MAX):
            risen.append(name)
    if accept:
        baseline[pair] = counts
        BASELINE.write_text(json.dumps(baseline, indent=2, sort_keys=True) + "\n")
        print(f"accepted into {BASELINE.relative_to(ROOT)}")
    elif known is None:
        print("no baseline for this compiler and target: nothing to compare with; `make instructions ACCEPT=1` makes one")
    elif risen:
        sys.exit(
            f"instructions: more than {RISE_MAX:.0%} above the baseline: {'; '.join(risen)}. If that is worth it, say why in the "
            "commit that runs `make instructions ACCEPT=1`"
        )


main()
