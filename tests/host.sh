#!/usr/bin/env bash
# The host tier: playbooks and roles are linted, and the lab inventory is played on a machine that boots for the test.
#
#   tests/host.sh lint     yamllint, ansible-lint (production profile), the syntax of each playbook
#   tests/host.sh machine  a Debian machine in a container with an init of its own (systemd-nspawn): site.yml from empty, the
#                          node runs as a service, a second run changes nothing, verify passes and fails when it should
#
# As root: it makes a Debian root with mmdebstrap (kept under target/), boots a copy of it, and ends it again.
# Its last line says 'host: N passed, N failed'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-all}
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/host-venv
requirements=tests/requirements-host.txt
passed=0 failed=0

check() {
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "== failed: $name"
    fi
}

need() {
    local missing=()
    command -v python3 >/dev/null || missing+=(python3 python3-venv)
    if [[ $what != lint ]]; then
        command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
        command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
        command -v ssh >/dev/null || missing+=(openssh-client)
    fi
    if ((${#missing[@]})); then
        if ((EUID != 0)); then
            echo "host: missing: ${missing[*]}; install them as root" >&2
            exit 1
        fi
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}" >/dev/null
    fi
    if ! cmp -s "$requirements" "$venv/requirements.txt"; then
        echo "host: making $venv"
        [[ -x $venv/bin/python ]] || python3 -m venv "$venv"
        "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$venv/requirements.txt"
    fi
    export PATH=$venv/bin:$PATH ANSIBLE_NOCOLOR=1 NO_COLOR=1
}

lint() {
    cd ansible
    check "yamllint" yamllint --strict .
    check "ansible-lint, production profile" ansible-lint --quiet
    for playbook in playbooks/*.yml; do
        check "syntax of $playbook" ansible-playbook --inventory inventories/lab/hosts.yml --syntax-check "$playbook"
    done
    cd ..
}

# --- the machine

root=$target/host-root
port=22622
pid=

stop_machine() {
    [[ -n $pid ]] || return 0
    # SIGRTMIN+3 to the machine's init is an orderly power-off; a machine that does not end is killed.
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
}

make_root() {
    local suite
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    [[ -e $root.tar ]] || mmdebstrap --quiet --variant=minbase \
        --include=systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,procps,ca-certificates,util-linux \
        "$suite" "$root.tar"
    rm -rf "$root"
    mkdir -p "$root"
    tar -xf "$root.tar" -C "$root"
    # The lists of packages went with the making of the root, and are not as fresh as their folder.
    touch -d 2000-01-01 "$root/var/lib/apt/lists"
    # With a number of its own it is no first boot, which would enable whatever Debian enables.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    rm -f "$target"/host-key*
    ssh-keygen -q -t ed25519 -N '' -f "$target/host-key"
    local home
    home=$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")
    install -d -m 700 "$home/.ssh"
    install -m 600 "$target/host-key.pub" "$home/.ssh/authorized_keys"
    printf 'Port %s\nListenAddress 127.0.0.1\nPermitRootLogin prohibit-password\n' "$port" >"$root/etc/ssh/sshd_config.d/10-test.conf"
    # The socket unit would listen on port 22 of the tester's own network.
    systemctl --quiet --root="$root" mask ssh.socket systemd-networkd.service systemd-networkd.socket
    systemctl --quiet --root="$root" enable ssh.service
    # The network is the tester's own: names are found as there.
    rm -f "$root/etc/resolv.conf"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    [[ -d /etc/apt/apt.conf.d ]] && cp -L /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
}

boot() {
    systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --resolv-conf=off \
        >"$target/host-console.log" 2>&1 &
    pid=$!
    for _ in $(seq 300); do
        ssh -q "${ssh_options[@]}" -p "$port" root@127.0.0.1 true 2>/dev/null && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "host: the machine did not boot; see $target/host-console.log" >&2
    return 1
}

ssh_options=(-i "$target/host-key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes)

in_machine() {
    ssh -q "${ssh_options[@]}" -p "$port" root@127.0.0.1 "$@"
}

play() {
    (cd ansible && ansible-playbook --inventory inventories/lab/hosts.yml \
        --extra-vars "ansible_host=127.0.0.1 ansible_port=$port ansible_user=root ansible_ssh_private_key_file=$target/host-key" \
        --ssh-common-args "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" \
        --extra-vars "ironbell_binary=$binary" "$@")
}

site() {
    local started=$SECONDS
    play playbooks/site.yml || return 1
    echo "host: from an empty machine to a running node in $((SECONDS - started)) s"
}

unchanged() {
    local out
    out=$(play playbooks/site.yml "$@") || { echo "$out"; return 1; }
    grep -B 3 '^changed:' <<<"$out" >&2 || true
    grep -E '^lab-1 +: ' <<<"$out" | tee /dev/stderr | grep -q 'changed=0 .*failed=0'
}

runs_confined() {
    in_machine systemctl is-active --quiet ironbell.service &&
        in_machine "grep -q '^CapEff:.0000000000000000' /proc/\$(systemctl show -P MainPID ironbell)/status" &&
        in_machine "test \"\$(stat -c %U /proc/\$(systemctl show -P MainPID ironbell))\" = ironbell"
}

survives_a_restart() {
    local before after
    in_machine systemctl restart ironbell.service
    in_machine "journalctl -u ironbell -o cat" | grep -q 'stopped: drained, journal sealed' || return 1
    for _ in $(seq 100); do
        after=$(in_machine "runuser -u ironbell -- ironbell status --json --config /etc/ironbell/node.toml" 2>/dev/null) && break
        sleep 0.1
    done
    before=$(in_machine "runuser -u ironbell -- ironbell inspect ledger --config /etc/ironbell/node.toml")
    [[ -n $after ]] && grep -q USD <<<"$before"
}

backs_up() {
    in_machine systemctl start ironbell-archive.service && in_machine systemctl start ironbell-verify.service
}

verify_fails_on_what_is_not_so() {
    # A production profile asks for CPUs of its own, which this machine has none of.
    ! play playbooks/verify.yml --extra-vars verify_profile=production >"$target/host-verify.log" 2>&1 &&
        grep -q 'cpus-own' "$target/host-verify.log"
}

no_secret_is_told() {
    ! grep -rq 'only-a-lab' "$target/host-site.log" && in_machine "! grep -rqs only-a-lab /etc/ironbell /var/lib/ironbell"
}

machine() {
    if ((EUID != 0)); then
        echo "host: a machine is booted by root only" >&2
        exit 1
    fi
    binary=${IRONBELL_BINARY:-$target/release/ironbell}
    if [[ ! -x $binary ]]; then
        echo "host: there is no $binary; run \`make release\` first" >&2
        exit 1
    fi
    trap stop_machine EXIT
    make_root
    check "the machine boots" boot
    ((failed == 0)) || return 0
    check "site.yml on an empty machine" site > >(tee "$target/host-site.log") 2>&1
    check "a second run changes nothing" unchanged
    check "check mode says so too" unchanged --check
    check "verify passes" play playbooks/verify.yml
    check "verify fails on what is not so" verify_fails_on_what_is_not_so
    check "the node runs as a user without capabilities" runs_confined
    check "the node is restarted in good order" survives_a_restart
    check "snapshot, archive and verification by their units" backs_up
    check "no password is told, or left on the machine" no_secret_is_told
    stop_machine
}

need
case $what in
    lint) lint ;;
    machine) machine ;;
    all)
        lint
        machine
        ;;
    *)
        echo "host: say lint or machine" >&2
        exit 2
        ;;
esac
echo "host: $passed passed, $failed failed"
((failed == 0))
