#!/usr/bin/env bash
# The archive over S3: a server of the protocol (moto, in a Python environment of its own), a bucket, and the test of a build
# with the feature s3, which brings an HTTP client and TLS and is therefore not part of `make test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

venv=target/s3-venv
environment "$venv" tests/requirements-s3.txt

log=$(mktemp)
"$venv/bin/moto_server" -H 127.0.0.1 -p 0 >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -f "$log"' EXIT
for _ in $(seq 600); do
    url=$(grep -o 'http://127.0.0.1:[0-9]*' "$log" | head -n1 || true)
    [ -n "$url" ] && break
    kill -0 "$server" || { cat "$log" >&2; exit 1; }
    sleep 0.1
done

export AWS_ENDPOINT=$url AWS_ALLOW_HTTP=true AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=trial AWS_SECRET_ACCESS_KEY=trial
"$venv/bin/python" - <<'PYTHON'
import os, boto3
boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"]).create_bucket(Bucket="venue")
PYTHON
IRONBELL_S3=s3://venue cargo test --locked -p ironbell-archive --features s3 --test archive
