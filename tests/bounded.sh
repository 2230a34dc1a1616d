#!/usr/bin/env bash
# Runs one test program, in a session of its own: no longer than half an hour, and nothing it started outlives it. A node
# that a failed test left behind would hold the output open for ever, and ports and memory with it.
set -uo pipefail

# A background job of a script leads no process group, so setsid keeps its process, whose id is then the session's.
setsid timeout --kill-after=10 1800 "$@" &
session=$!
trap 'pkill -TERM --session "$session"' INT TERM
wait "$session"
status=$?

if left=$(pgrep --list-full --session "$session" | grep -v "<defunct>"); then
    echo "== ${1##*/} left these running; they are ended:" >&2
    echo "$left" >&2
    pkill -KILL --session "$session"
fi
((status == 124)) && echo "== ${1##*/} did not end within half an hour" >&2
exit "$status"
