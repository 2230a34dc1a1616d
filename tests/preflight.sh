#!/usr/bin/env bash
# Says whether this machine can build and run a node, and what to do when it cannot. Changes nothing.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
ok() { printf 'preflight: %-10s ok, %s\n' "$1" "$2"; }
bad() {
    printf 'preflight: %-10s %s\n           %-10s do: %s\n' "$1" "$2" '' "$3" >&2
    failed=1
}

rust_min=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
if rustc=$(rustc --version 2>/dev/null); then
    rust_have=$(cut -d' ' -f2 <<<"$rustc")
    if [[ $(printf '%s\n' "$rust_min" "${rust_have%%-*}" | sort -V | head -n1) == "$rust_min" ]]; then
        ok rustc "$rust_have"
    else
        bad rustc "$rust_have is older than $rust_min" "rustup update stable"
    fi
else
    bad rustc "not found" "install Rust $rust_min or later as the README says (https://rustup.rs), then open a new shell"
fi

if command -v cc >/dev/null; then
    ok cc "$(command -v cc)"
    # Asking the kernel is the only honest check: io_uring may be off by sysctl, by seccomp or by the
    # kernel's build. io_uring_setup(0, NULL) is an invalid call wherever the system call is allowed.
    probe=$(mktemp) || exit 1
    trap 'rm -f "$probe"' EXIT
    if cc -x c -o "$probe" - 2>/dev/null <<'C'; then
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(void) { return syscall(425, 0, (void *)0) == -1 && (errno == EINVAL || errno == EFAULT) ? 0 : errno == ENOSYS ? 2 : 3; }
C
        "$probe"
        case $? in
        0) ok io_uring "allowed" ;;
        2) bad io_uring "this kernel ($(uname -r)) has none" "run Linux 5.19 or later" ;;
        *) bad io_uring "forbidden here" "sudo sysctl kernel.io_uring_disabled=0, or lift the container's seccomp filter" ;;
        esac
    else
        bad cc "cannot compile and link a C program" "sudo apt-get install -y gcc libc6-dev"
    fi
else
    bad cc "not found (Rust links with it)" "sudo apt-get install -y gcc libc6-dev"
fi

memlock_kib=$(ulimit -l)
if [[ $memlock_kib == unlimited ]] || ((memlock_kib >= 8192)); then
    ok memlock "$memlock_kib KiB"
else
    bad memlock "$memlock_kib KiB, a node needs 8192" \
        "ulimit -l 8192; if that is refused, add '$(id -un) - memlock 8192' to /etc/security/limits.conf and log in again"
fi

exit "$failed"
