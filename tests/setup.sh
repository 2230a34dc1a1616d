#!/usr/bin/env bash
# Brings in what the tests need beyond a Rust toolchain: tshark, an independent decoder of our packets; SoftHSM2, a
# PKCS#11 token without a device, and OpenSSL, which checks its signatures; etcd, which keeps who is primary of a pair; a
# browser for the lab's reports; iproute2, ethtool and nftables, which make virtual networks and cut their cables; procps; valgrind, which
# counts instructions; journald, which the node logs to; promtool and a node exporter, which hold the alerts against what is exposed; groff,
# which sets manual pages; and a Python environment with independent readers of our market data and of our latency logs.
# As root it installs what is missing with apt-get; otherwise it says what to install, and fails.
# A second run finds everything in place and ends at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v tshark >/dev/null || missing+=(tshark)
command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
command -v mkfs.xfs >/dev/null || [ -x /usr/sbin/mkfs.xfs ] || missing+=(xfsprogs)
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
command -v openssl >/dev/null || missing+=(openssl)
command -v etcd >/dev/null || missing+=(etcd-server)
command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing+=(iproute2)
command -v pgrep >/dev/null || missing+=(procps)
command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=(nftables)
command -v setpriv >/dev/null || missing+=(util-linux)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    missing+=(chromium fonts-dejavu-core)
command -v valgrind >/dev/null || missing+=(valgrind)
command -v ethtool >/dev/null || [ -x /usr/sbin/ethtool ] || missing+=(ethtool)
command -v groff >/dev/null || missing+=(groff-base)
command -v unshare >/dev/null || missing+=(util-linux)
command -v mount >/dev/null || missing+=(mount)
{ [ -x /usr/lib/systemd/systemd-journald ] || [ -x /lib/systemd/systemd-journald ]; } && command -v journalctl >/dev/null ||
    missing+=(systemd)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)

if ((${#missing[@]})); then
    if ((EUID != 0)); then
        echo "setup: missing: ${missing[*]}" >&2
        echo "setup: install them with: sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    bring "${missing[@]}"
fi

# journald names its files after the machine.
if [[ ! -s /etc/machine-id ]]; then
    systemd-machine-id-setup >/dev/null || { echo "setup: run systemd-machine-id-setup as root" >&2; exit 1; }
fi

mkdir -p target
environment target/test-venv tests/requirements.txt

# Programs of packages that would start a service if they were installed: they are only unpacked.
tools=target/test-tools
if [[ ! -x $tools/promtool || ! -x $tools/prometheus-node-exporter ]]; then
    echo "setup: unpacking promtool and prometheus-node-exporter"
    mkdir -p "$tools"
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    fetch() { (cd "$unpacked" && apt-get download -q -o APT::Sandbox::User=root prometheus prometheus-node-exporter >/dev/null); }
    # The lists of packages may never have been fetched, or be older than what they name.
    fetch || { ((EUID == 0)) && apt-get update -q >/dev/null && fetch; } || {
        echo "setup: apt-get cannot download prometheus and prometheus-node-exporter; run apt-get update as root" >&2
        exit 1
    }
    for package in "$unpacked"/*.deb; do dpkg-deb --extract "$package" "$unpacked/files"; done
    install -t "$tools" "$unpacked/files/usr/bin/promtool" "$unpacked/files/usr/bin/prometheus-node-exporter"
fi
